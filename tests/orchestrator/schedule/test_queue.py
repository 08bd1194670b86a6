import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.queue import PATIENCE_S, Crash, Finished, JobQueue, QueueStanding
from workers.names import PriorName

LOST = Crash("worker", "lost")
IMAGE = InputImage("a.png", "a-1", "a-1.png", None, "a.png", 64, 64, 3)


def job(number: int) -> FitJob:
    return FitJob(IMAGE, "crop", PriorName(f"{number}-{'0' * 25}"))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, timeout=120))


def test_fits_are_handed_out_in_order_and_urgent_ones_first() -> None:
    async def story() -> None:
        queue = JobQueue()
        await queue.put([job(1), job(2)], first=False)
        await queue.put([job(3), job(4)], first=True)
        assert [await queue.take(0) for _ in range(4)] == [job(3), job(4), job(1), job(2)]
        assert await queue.take(0) == "wait"

    run(story())


def test_of_an_image_that_has_ended_no_fit_starts_any_more() -> None:
    async def work() -> None:
        queue = JobQueue()
        other = replace(job(2), image=replace(IMAGE, id="b-1"))
        await queue.put([job(1), other, job(3)], first=False)
        await queue.drop(IMAGE.id)
        assert await queue.take(0) == other
        assert await queue.take(0) == "wait"

    run(work())


def test_what_is_done_for_several_images_goes_on_when_one_of_them_has_ended() -> None:
    async def work() -> None:
        queue = JobQueue()
        other = replace(IMAGE, id="b-1")
        together = replace(job(2), together=(IMAGE, other))
        await queue.put([job(1), together, job(3)], first=False)
        await queue.drop(IMAGE.id)
        assert await queue.take(0) == together
        assert await queue.take(0) == "wait"

    run(work())


def test_a_session_leaves_when_all_is_done_or_others_need_its_cpus_but_never_before_the_work() -> None:
    async def story() -> None:
        now = 0.0
        queue = JobQueue(clock=lambda: now)
        await queue.put([job(1), job(2)], first=False)
        await queue.set_may_idle(False)
        now = 100.0
        assert await queue.take(0) == job(1)
        now += PATIENCE_S + 1
        assert await queue.take(0) == job(2)
        now += PATIENCE_S
        assert await queue.take(0) == "wait"
        now += 1
        assert await queue.take(0) == "leave"
        await queue.set_may_idle(True)
        assert await queue.take(0) == "wait"
        await queue.close()
        assert await queue.take(0) == "leave"

    run(story())


def test_a_session_is_wanted_only_where_work_waits_and_nobody_takes_it() -> None:
    async def story() -> None:
        queue = JobQueue()
        assert not await queue.wants_session(0)
        await queue.put([job(1), job(2)], first=False)
        assert await queue.wants_session(0)
        assert not await queue.wants_session(1)
        await queue.take(0)
        await queue.leave(0)
        assert await queue.wants_session(1)
        await queue.leave(0)  # an old session reports again that it left
        assert not await queue.wants_session(2)

    run(story())


def test_what_a_dead_session_had_taken_is_given_back_and_nothing_of_another_session() -> None:
    async def story() -> None:
        queue = JobQueue()
        await queue.put([job(n) for n in range(4)], first=False)
        assert await queue.wants_session(0)
        await queue.take(0)
        await queue.take(0)
        await queue.take(1)
        await queue.finish(Finished(job(0), "done"))
        assert await queue.give_back(0) == [job(1)]
        assert await queue.give_back(0) == []
        await queue.finish(Finished(job(1), "done"))  # too late: it is somebody else's now
        assert await queue.finished() == [Finished(job(0), "done")]
        assert await queue.wants_session(2)

    run(story())


def test_a_fit_that_paused_can_be_put_again_to_go_further() -> None:
    async def story() -> None:
        queue = JobQueue()
        first, rest = replace(job(1), until=100), job(1)
        await queue.put([first], first=False)
        assert await queue.take(0) == first
        await queue.put([rest], first=False)
        await queue.finish(Finished(first, "paused", iteration=100))
        assert await queue.finished() == [Finished(first, "paused", iteration=100)]
        assert await queue.take(0) == rest
        await queue.finish(Finished(rest, "stopped", iteration=150, held_out_error=0.1))
        assert await queue.finished() == [Finished(rest, "stopped", iteration=150, held_out_error=0.1)]

    run(story())


def test_what_ended_is_told_once_and_waited_for() -> None:
    async def story() -> None:
        queue = JobQueue()
        await queue.put([job(1), job(2)], first=False)
        await queue.take(0)
        await queue.take(0)
        waiting = asyncio.create_task(queue.finished())
        await asyncio.sleep(0)
        await queue.finish(Finished(job(1), "failed", crash=LOST))
        assert await waiting == [Finished(job(1), "failed", crash=LOST)]
        await queue.finish(Finished(job(2), "done"))
        await queue.finish(Finished(job(2), "done"))
        assert await queue.finished() == [Finished(job(2), "done")]

    run(story())


def test_a_drained_queue_starts_nothing_and_lets_what_runs_come_to_its_end() -> None:
    async def story() -> None:
        queue = JobQueue()
        await queue.put([job(1), job(2)], first=False)
        assert await queue.take(0) == job(1)
        assert await queue.under_way() == 1
        await queue.drain()
        assert await queue.take(0) == "wait"
        await queue.put([job(3)], first=True)
        assert await queue.take(0) == "wait"
        await queue.finish(Finished(job(1), "done"))
        assert await queue.under_way() == 1
        assert await queue.finished() == [Finished(job(1), "done")]
        assert await queue.under_way() == 0

    run(story())


def test_no_more_fits_are_handed_out_than_the_bound_until_one_has_ended() -> None:
    async def story() -> None:
        queue = JobQueue(bound=2)
        await queue.put([job(n) for n in range(5)], first=False)
        assert [await queue.take(0) for _ in range(3)] == [job(0), job(1), "wait"]
        # Another session has no more: it is the run's bound.
        assert await queue.take(1) == "wait"
        await queue.finish(Finished(job(0), "done"))
        assert [await queue.take(0) for _ in range(2)] == [job(2), "wait"]
        # What waits here can still be overtaken.
        await queue.put([job(9)], first=True)
        await queue.set_bound(4)
        assert [await queue.take(0) for _ in range(3)] == [job(9), job(3), "wait"]
        # Machines have gone: what has been handed out stays so.
        await queue.set_bound(1)
        await queue.finish(Finished(job(1), "done"))
        assert await queue.take(0) == "wait"
        assert await queue.give_back(0) == [job(2), job(9), job(3)]
        assert [await queue.take(1) for _ in range(2)] == [job(4), "wait"]

    run(story())


def test_a_session_whose_fits_only_wait_for_the_bound_is_not_without_work() -> None:
    async def story() -> None:
        now = 0.0
        queue = JobQueue(bound=1, clock=lambda: now)
        await queue.set_may_idle(False)
        await queue.put([job(1), job(2)], first=False)
        assert await queue.take(0) == job(1)
        for _ in range(3):
            now += PATIENCE_S + 1
            assert await queue.take(0) == "wait"
        await queue.drop(IMAGE.id)
        # From here on it is, and its patience begins.
        now += PATIENCE_S
        assert await queue.take(0) == "wait"
        now += 1
        assert await queue.take(0) == "leave"

    run(story())


def test_a_closed_queue_is_emptied_before_its_session_leaves() -> None:
    async def story() -> None:
        queue = JobQueue(bound=1)
        await queue.put([job(1), job(2)], first=False)
        await queue.close()
        assert [await queue.take(0) for _ in range(2)] == [job(1), "wait"]
        await queue.finish(Finished(job(1), "done"))
        assert [await queue.take(0) for _ in range(2)] == [job(2), "leave"]

    run(story())


def test_it_is_known_how_many_fits_run_and_what_the_others_wait_for() -> None:
    async def story() -> None:
        queue = JobQueue()
        assert await queue.standing() == QueueStanding(0, 0.0, {}, 0)
        eighths = [replace(job(n), gpus=0.125) for n in range(3)]
        half, alone, cpu = replace(job(3), gpus=0.5), replace(job(4), gpus=0.25, alone=True), job(5)
        last = replace(job(6), alone=True)
        await queue.put([*eighths, half, alone, cpu, last], first=False)
        for _ in range(6):
            await queue.take(0)
        # Handed out is not yet running: one that is to be alone needs a GPU of its own.
        assert await queue.standing() == QueueStanding(0, 0.0, {0.125: 3, 0.5: 1, 1.0: 1, 0.0: 1}, 1)
        for begun in (eighths[0], half, alone):
            await queue.begin(begun)
            await queue.begin(begun)  # a second report changes nothing
        assert await queue.standing() == QueueStanding(3, 0.125 + 0.5 + 1.0, {0.125: 2, 0.0: 1}, 1)
        await queue.take(0)
        # It is to be alone on a machine, but with no GPU.
        assert await queue.standing() == QueueStanding(3, 1.625, {0.125: 2, 0.0: 2}, 0)
        await queue.begin(last)
        await queue.begin(cpu)
        assert await queue.standing() == QueueStanding(5, 1.625, {0.125: 2}, 0)

    run(story())


def test_what_has_ended_or_was_given_back_runs_no_more() -> None:
    async def story() -> None:
        queue = JobQueue()
        jobs = [replace(job(n), gpus=0.25) for n in range(4)]
        await queue.put(jobs, first=False)
        for session, begun in enumerate(jobs):
            await queue.take(session % 2)
            await queue.begin(begun)
        assert await queue.standing() == QueueStanding(4, 1.0, {}, 0)
        await queue.finish(Finished(jobs[0], "failed", crash=LOST))
        assert await queue.standing() == QueueStanding(3, 0.75, {}, 0)
        assert await queue.give_back(1) == [jobs[1], jobs[3]]
        assert await queue.standing() == QueueStanding(1, 0.25, {}, 0)
        # Nothing begins any more for a session that has ended, nor for a fit that nobody took.
        await queue.begin(jobs[3])
        await queue.begin(job(9))
        assert await queue.standing() == QueueStanding(1, 0.25, {}, 0)
        # A retried fit waits for its machine anew.
        await queue.put([jobs[1]], first=True)
        assert (await queue.standing()).waiting == 1
        await queue.take(2)
        assert await queue.standing() == QueueStanding(1, 0.25, {0.25: 1}, 0)

    run(story())


def test_fits_that_share_a_gpu_are_taken_together() -> None:
    async def story() -> None:
        queue = JobQueue(side_by_side=3)
        shared = [replace(job(number), gpus=0.25) for number in range(8)]
        contest, whole = replace(job(8), gpus=0.25, contest="isnas"), replace(job(9), gpus=1.0)
        await queue.put([*shared[:6], contest, whole, shared[6]], first=False)
        assert await queue.take(0) == shared[0]
        assert await queue.take_beside(0, shared[0]) == (shared[1], shared[2])
        assert await queue.take(0) == shared[3]
        # What follows may be stopped by a contest.
        assert await queue.take_beside(0, shared[3]) == (shared[4], shared[5])
        for alone in (contest, whole, shared[6]):
            assert await queue.take(0) == alone
            assert await queue.take_beside(0, alone) == ()
        assert await queue.under_way() == 9
        await queue.finish(Finished(shared[1], "done"))
        assert sorted(map(str, await queue.give_back(0))) == sorted(
            map(str, [shared[0], *shared[2:6], contest, whole, shared[6]])
        )

    run(story())


def test_no_more_fits_share_a_gpu_than_there_is_room_for_and_none_a_cpu() -> None:
    async def story() -> None:
        queue = JobQueue(side_by_side=8)
        halves = [replace(job(number), gpus=0.5) for number in range(3)]
        await queue.put([*halves, job(3), job(4)], first=False)
        assert await queue.take(0) == halves[0]
        assert await queue.take_beside(0, halves[0]) == (halves[1],)
        assert await queue.take(0) == halves[2]
        assert await queue.take_beside(0, halves[2]) == ()
        assert await queue.take(0) == job(3)
        assert await queue.take_beside(0, job(3)) == ()
        bounded = JobQueue(bound=2, side_by_side=8)
        await bounded.put([replace(job(number), gpus=0.125) for number in range(4)], first=False)
        first = await bounded.take(0)
        assert isinstance(first, FitJob)
        assert len(await bounded.take_beside(0, first)) == 1

    run(story())
