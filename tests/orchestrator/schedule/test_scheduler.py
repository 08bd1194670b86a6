import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import Rejected
from orchestrator.run.rows import RowState
from orchestrator.schedule.actions import Ask
from orchestrator.schedule.crashes import MACHINES_THAT_MAY_BE_LOST, Crash
from orchestrator.schedule.questions import Collect, Decide, Score
from orchestrator.schedule.queue import Finished
from orchestrator.settings import Config
from tests.orchestrator.schedule.world import RETRIES, World, arm, plan_of, settings
from workers.names import PriorName

RUNS: dict[str, Config] = {
    "one arm": settings(arm("one", full_fits=2)),
    "at full size": settings(arm("one", view="full")),
    "one network": settings(arm("one", "dip")),
    "two arms that share fits": settings(arm("one", full_fits=2), arm("two", "dip", "deep-decoder-32", full_fits=1)),
    "halving": settings(arm("halved", halving="synchronous", full_fits=2), arm("whole", "dip", "dip-inpaint")),
    "contests": settings(arm("contest", halving="asha", full_fits=2), arm("whole", "dip", "deep-decoder-32")),
    "tiles": settings(arm("one", full_fits=2), arm("two", "dip", view="full"), fit={"iterations": 800, "tile": 64}),
    "tiles in rungs": settings(
        arm("one", view="full", halving="synchronous"), arm("two", full_fits=2), fit={"iterations": 800, "tile": 64}
    ),
    "lotteries": settings("lottery-imp", "lottery-random", "lottery-dense", arm("one", full_fits=1)),
    "lotteries of the pick": settings(
        "lottery-imp", "lottery-snip", arm("one"), lottery={"network": "picked", "rounds": 2}
    ),
    "lotteries together": settings("lottery-imp", "lottery-oes", "dip", lottery={"together": True, "rounds": 2}),
}


@pytest.mark.parametrize("run", RUNS)
def test_an_undisturbed_run_does_everything_once_and_counts_it(run: str) -> None:
    plan = plan_of(RUNS[run], 4)
    for seed in range(10):
        world = World(plan, random.Random(seed))
        world.run()
        world.assert_all_ended()
        assert not world.ended
        assert {stage.name: stage.done for stage in world.scheduler.stages(2)} == {
            stage.name: stage.total for stage in world.scheduler.stages(2)
        }
        contests = any(each.asynchronous for each in plan.arms)
        rungs = max(len(each.rungs) for each in plan.arms)
        assert all(count <= 1 + rungs for count in world.begun.values()) or contests


def test_images_begin_as_they_arrive_and_files_that_cannot_be_used_are_left_out() -> None:
    plan = plan_of(RUNS["one arm"], 3)
    first, second, _ = plan.images
    world = World(plan, coming=3, done_before=(second.id,))
    world.begin()
    assert (world.asked, world.scheduler.has_work) == ([], True)
    world.do(world.scheduler.on_arrival(first))
    world.begin()
    assert [ask.question.image for ask in world.asked] == [first]
    world.do(world.scheduler.on_arrival(Rejected("b.png", "the file has changed")))
    world.do(world.scheduler.on_arrival(second))
    assert world.notes == ["b.png: rejected: the file has changed"]
    world.run()
    assert world.rows == {first.id: 1}
    assert not world.scheduler.has_work
    assert all(stage.done == stage.total for stage in world.scheduler.stages(2))


@pytest.mark.parametrize("done_before", [0, 1])
def test_the_first_images_have_previews_whatever_was_done_before(done_before: int) -> None:
    plan = plan_of(settings(arm("one"), keep={"report_images": 2}), 3)
    world = World(plan, coming=3, done_before=tuple(image.id for image in plan.images[:done_before]))
    for image in plan.images:
        world.do(world.scheduler.on_arrival(image))
    assert [way._previews for way in world.scheduler._waiting] == [True, True, False][done_before:]


@examples(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(RUNS)),
    st.integers(0, 2**32),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.1, 0.4, 0.8]),
    st.booleans(),
)
def test_whatever_happens_in_whatever_order_every_image_ends_once(
    run: str, seed: int, images: int, trouble: float, late: bool
) -> None:
    world = World(plan_of(RUNS[run], images), random.Random(seed), trouble, late_results=late)
    world.run()
    world.assert_all_ended()


@examples(deadline=None, max_examples=100)
@given(st.sampled_from(sorted(RUNS)), st.integers(0, 2**32), st.integers(0, 60), st.sampled_from([0.0, 0.3]))
def test_a_run_that_is_drained_comes_to_rest_and_begins_nothing(
    run: str, seed: int, after: int, trouble: float
) -> None:
    world = World(plan_of(RUNS[run], 5), random.Random(seed), trouble)
    world.run(drain_after=after)
    assert not world.running
    assert not world.asked
    assert all(count == 1 for count in world.rows.values())


@examples(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(RUNS)), st.integers(0, 2**32))
def test_what_is_heard_twice_or_too_late_changes_nothing(run: str, seed: int) -> None:
    world = World(plan_of(RUNS[run], 3), random.Random(seed), 0.2)
    heard: list[Finished] = []
    told = world.scheduler.on_finished

    def twice(finished: Finished) -> Any:
        actions = told(finished)
        running = {(job.image.id, job.place, job.name) for job in (*world.waiting, *world.running)}
        again = (finished.job.image.id, finished.job.place, finished.job.name)
        started = any(again == world._id(job) for action in actions for job in getattr(action, "jobs", ()))
        if again not in running and not started and not finished.job.together:
            heard.append(finished)
            assert not told(finished)
        return actions

    world.scheduler.on_finished = twice  # type: ignore[method-assign]
    world.run()
    world.assert_all_ended()
    assert heard or all(each.is_lottery for each in world.plan.arms) or world.ended


def begun(config: Config) -> World:
    """A run of one image whose cohort is being fitted."""
    world = World(plan_of(config, 1), at_once=10)
    world.begin()
    world.answer(world.asked[0])
    world.running, world.waiting = world.waiting, []
    return world


def test_no_more_images_are_under_way_than_may_be() -> None:
    world = World(plan_of(RUNS["one arm"], 9), at_once=3)
    world.begin()
    assert [type(ask.question) for ask in world.asked] == [Score] * 3
    assert not world.scheduler.admit(3)
    world.do(world.scheduler.on_no_answer(world.asked[0], "no such file", lost=False, rejected=True))
    assert len(world.scheduler.admit(3)) == 1


def test_an_image_that_cannot_be_worked_on_is_rejected_and_its_rest_not_counted() -> None:
    world = World(plan_of(RUNS["one arm"], 2))
    world.begin()
    ask = world.asked.pop(0)
    world.do(world.scheduler.on_no_answer(ask, "it is damaged", lost=False, rejected=True))
    (end,) = world.ended.values()
    assert (end.state, end.reason) == (RowState.REJECTED, "it is damaged")
    assert {stage.name: stage.total for stage in world.scheduler.stages(2)} == {
        "score": 1,
        "cohort": 4,
        "full size": 2,
        "images": 1,
    }


def test_an_image_that_another_driver_has_finished_is_left_alone_and_its_work_not_counted() -> None:
    world = World(plan_of(RUNS["one arm"], 2))
    world.begin()
    world.do(world.scheduler.on_answer(world.asked.pop(0).question, None))
    assert world.notes == ["image0.png: another driver has finished it"]
    assert not world.ended
    assert {stage.name: stage.total for stage in world.scheduler.stages(2)} == {
        "score": 1,
        "cohort": 4,
        "full size": 2,
        "images": 1,
    }


def test_a_question_whose_worker_is_lost_is_asked_again_a_few_times() -> None:
    world = World(plan_of(RUNS["one arm"], 1))
    world.begin()
    for tries in range(1, RETRIES + 1):
        (again,) = world.scheduler.on_no_answer(world.asked[0], "gone", lost=True)
        assert again == Ask(world.asked[0].question, tries)
        world.asked = [again]
    world.do(world.scheduler.on_no_answer(world.asked[0], "gone", lost=True))
    assert next(iter(world.ended.values())).state is RowState.FAILED


def test_work_that_failed_is_not_asked_for_again() -> None:
    world = World(plan_of(RUNS["one arm"], 1))
    world.begin()
    world.do(world.scheduler.on_no_answer(world.asked[0], "ValueError: no", lost=False))
    assert next(iter(world.ended.values())).state is RowState.FAILED


def test_what_an_arm_had_under_way_for_an_image_that_has_ended_leads_nowhere() -> None:
    world = begun(RUNS["one arm"])
    decide = Ask(Decide(world.plan.images[0], world.plan.arms[0], (), ()))
    world.do(world.scheduler.on_no_answer(decide, "no", lost=False))
    assert world.scheduler.on_answer(decide.question, None) == []
    assert world.scheduler.on_no_answer(decide, "no", lost=True) == []
    assert world.scheduler.on_finished(Finished(world.running[0], "done")) == []
    assert world.rows.total() == 1


def test_a_store_in_trouble_is_no_fault_of_a_fit() -> None:
    world = begun(RUNS["one arm"])
    with pytest.raises(StoreUnavailableError, match="away"):
        world.scheduler.on_finished(Finished(world.running[0], "failed", Crash("store unavailable", "away")))
    with pytest.raises(StoreError, match="broken"):
        world.scheduler.on_finished(Finished(world.running[0], "failed", Crash("store", "broken")))


@pytest.mark.parametrize(("cause", "times"), [("worker", RETRIES), ("node", MACHINES_THAT_MAY_BE_LOST)])
def test_a_fit_that_crashes_is_taken_up_again_until_its_chances_are_gone(cause: Any, times: int) -> None:
    world = begun(RUNS["one arm"])
    job = world.running[0]
    for _ in range(times):
        world.crash(job, cause)
        assert world.waiting.pop(0) == job
        world.running.append(job)
    world.crash(job, cause)
    assert job not in world.waiting
    assert world.results[job.image.id, job.view, job.name] is False
    assert world.notes[-1] == f"image0.png: the fit of {job.name} failed: {cause} trouble"


def test_a_fit_that_ran_out_of_memory_is_given_a_machine_for_itself_once() -> None:
    world = begun(RUNS["one arm"])
    job = world.running[0]
    world.crash(job, "memory")
    again = world.waiting.pop(0)
    assert again.alone
    world.running.append(again)
    world.crash(again, "worker")
    assert world.waiting.pop(0).alone
    world.running.append(again)
    world.crash(again, "memory")
    assert world.results[job.image.id, job.view, job.name] is False


def test_a_result_of_another_attempt_counts_more_than_a_crash() -> None:
    world = begun(RUNS["one network"])
    (job,) = world.running
    world.failed = lambda job, reason: False  # type: ignore[method-assign]
    for _ in range(RETRIES + 1):
        world.running, world.waiting = [job], []
        world.finish(Finished(job, "failed", Crash("worker", "died")))
    world.results[world._id(job)] = True
    assert not [note for note in world.notes if "failed" in note]
    assert isinstance(world.asked[-1].question, Decide)


def test_images_that_are_nearly_done_go_before_those_that_have_just_begun() -> None:
    world = World(plan_of(RUNS["one arm"], 2), at_once=10)
    world.begin()
    for ask in list(world.asked):
        world.answer(ask)
    first = [job for job in world.waiting if job.image == world.plan.images[0]]
    for job in first:
        world.waiting.remove(job)
        world.running.append(job)
        world.results[world._id(job)] = True
        world.finish(Finished(job, "done"))
    world.answer(world.asked[0])
    assert [job.view for job in world.waiting[:3]] == ["full", "full", "crop"]


def test_a_search_on_all_images_is_made_once_and_every_chain_waits_for_it() -> None:
    world = World(plan_of(RUNS["lotteries together"], 3), at_once=10)
    world.begin()
    for ask in list(world.asked):
        world.answer(ask)
    searches = [job for job in world.waiting if job.together]
    assert len(searches) == 6  # two methods, three initialisations
    assert all(job.together == tuple(world.plan.images) for job in searches)


def test_a_collected_image_is_done() -> None:
    world = World(plan_of(RUNS["one network"], 1))
    world.run()
    assert isinstance(world.plan.images[0].name, str)
    assert world.scheduler.on_answer(Collect(world.plan.images[0], (), False), []) == []
    assert world.rows.total() == 1


def test_a_job_says_who_may_end_it() -> None:
    contest = settings(
        arm("contest", "dip", "dip-inpaint", "deep-decoder-32", halving="asha"), arm("whole", "dip", "deep-decoder-64")
    )
    jobs: dict[Any, FitJob] = {job.name: job for job in begun(contest).running}
    # A fit may not be ended if somebody outside of the contest needs it too.
    assert jobs[PriorName("dip")].contest is None
    assert jobs[PriorName("dip-inpaint")].contest == "contest"
    assert jobs[PriorName("deep-decoder-64")].contest is None
