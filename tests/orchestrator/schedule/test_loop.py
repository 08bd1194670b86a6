import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.errors import HoursSpentError, RayLostError, RunCancelledError, StoreUnavailableError, SupersededError
from orchestrator.fit.job import FitJob
from orchestrator.ingest.bring import Arrival
from orchestrator.resources.share import Machine, Resources
from orchestrator.run.inputs import InputImage, Rejected
from orchestrator.run.progress import Stage
from orchestrator.schedule.actions import EndImage
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.loop import Loop
from orchestrator.schedule.ports import Answered, Share, Unanswered
from orchestrator.schedule.questions import Collect, Question
from orchestrator.schedule.queue import Finished, QueueStanding
from orchestrator.score.bank import BankPart
from tests.orchestrator.schedule.test_banks import PARTS, SPECS
from tests.orchestrator.schedule.world import RETRIES, World, arm, plan_of, settings
from workers.fingerprints import BankSpec

TWO_ARMS = settings(arm("one", full_fits=2), arm("two", "dip", "deep-decoder-32", full_fits=1))


class Crew:
    """Does all work at once, and answers in the order of asking. ``trouble`` maps a call's
    number to what goes wrong.
    """

    def __init__(self, world: World) -> None:
        self.world, self.numbers = world, itertools.count()
        self.answers: dict[int, Any] = {}
        self.calls: list[str] = []
        self.waiting: list[FitJob] = []
        self.ended: list[Finished] = []
        self.taken: list[FitJob] = []
        self.bounds: list[int] = []
        self.session: int | None = None
        self.lose_sessions = 0
        self.trouble: dict[str, Unanswered | Exception] = {}
        self.drained = False

    def _refer(self, answer: Any) -> int:
        number = next(self.numbers)
        self.answers[number] = answer
        return number

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        # Sessions never end by themselves, and the call for finished fits is answered when there is nothing else.
        quick = [each for each in references if self.answers.get(each) not in ("session", "finished")]
        calls = [each for each in references if self.answers.get(each) == "finished"]
        return quick[:1] or calls[:1]

    def answer(self, reference: Any) -> Answered | Unanswered:
        answer = self.answers.pop(reference)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Unanswered):
            return answer
        if answer == "finished":
            self._work()
            ended, self.ended = self.ended, []
            return Answered(ended)
        if isinstance(answer, Question):
            if isinstance(answer, Collect):
                self.world.rows[answer.image.id] += 1
            return Answered(self.world.answer_to(answer))
        return Answered(None)

    def _work(self) -> None:
        while self.session is not None and self.waiting:
            job = self.waiting.pop(0)
            if self.lose_sessions:
                self.lose_sessions -= 1
                self.taken = [job]
                self.answers[self.session] = Unanswered("Tune broke")
                return
            self.world.results[self.world._id(job)] = True
            self.ended.append(Finished(job, "done"))

    def ask(self, question: Question) -> Any:
        trouble = self.trouble.pop(type(question).__name__, None)
        return self._refer(question if trouble is None else trouble)

    def compute(self, part: BankPart) -> Any:
        self.calls.append("compute")
        return self._refer(self.trouble.pop("compute", "part"))

    def cancel_computing(self) -> None:
        self.calls.append("cancel_computing")

    def start_session(self, number: int) -> Any:
        self.session = self._refer("session")
        self.calls.append(f"session {number}")
        return self.session

    def finished(self) -> Any:
        return self._refer(self.trouble.pop("finished", "finished"))

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        if not self.drained:
            self.waiting = [*jobs, *self.waiting] if first else [*self.waiting, *jobs]

    def drop(self, image: str) -> None:
        self.calls.append(f"drop {image}")
        self.waiting = [job for job in self.waiting if job.image.id != image]

    def drain(self) -> None:
        self.drained = True
        self.waiting = []
        self.calls.append("drain")

    def under_way(self) -> int:
        return len(self.ended)

    def standing(self) -> QueueStanding:
        return QueueStanding(0, 0.0, {0.0: len(self.waiting)} if self.waiting else {}, 0)

    def set_bound(self, bound: int) -> None:
        self.bounds.append(bound)

    def set_may_idle(self, may_idle: bool) -> None:
        self.calls.append(f"may idle {may_idle}")

    def wants_session(self, number: int) -> bool:
        return bool(self.waiting) and self.session is None

    def give_back(self, number: int) -> list[FitJob]:
        self.session = None
        taken, self.taken = self.taken, []
        return taken

    def close(self) -> None:
        self.calls.append("close")


class Claim:
    """A claim that is stopped, or taken over, after a number of looks."""

    def __init__(self) -> None:
        self.stop: str | None = None
        self.stop_after: tuple[int, str] | None = None
        self.looks = 0
        self.reports: list[Any] = []
        self.used_before = 0.0

    def check(self) -> None:
        self.looks += 1
        if self.stop_after is not None and self.looks > self.stop_after[0]:
            if self.stop_after[1] == "superseded":
                raise SupersededError("another driver has it")
            self.stop = self.stop_after[1]

    def report(self, *what: Any) -> None:
        self.reports.append(what)

    def used(self, usage: dict[str, float]) -> dict[str, float]:
        return {"machine_hours": self.used_before + usage["machine_hours"]}


class Watch:
    """Machines that do not change, seen at every other look."""

    def __init__(self) -> None:
        self.looks = 0
        self.usage = {"gpu_hours": 0.0, "machine_hours": 1.0}
        self.found: list[Any] = []

    def look(self, gpus_in_use: float) -> bool:
        self.looks += 1
        return self.looks % 2 == 1

    def wait(self, seconds: float) -> None:
        pass


class Listener:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[Stage] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def update(self, stages: Sequence[Stage]) -> None:
        self.stages = list(stages)


class Gauges:
    def show(self, *what: Any) -> None:
        pass


class Scene:
    """A loop over a world's scheduler, with a crew that does all at once."""

    def __init__(
        self,
        images: int = 3,
        missing: dict[BankSpec, list[BankPart]] | None = None,
        arrivals: "Arrivals | None" = None,
        hours: float | None = None,
    ) -> None:
        coming = 0 if arrivals is None else arrivals.coming
        self.world = World(plan_of(TWO_ARMS, images), random.Random(0), coming=coming)
        self.crew, self.claim, self.listener = Crew(self.world), Claim(), Listener()
        self.ended: list[EndImage] = []
        self.others_finish = False
        banks = Banks(
            PARTS if missing else {}, missing or {}, retries=RETRIES, tally=self.world.tally, find=lambda spec: ([], [])
        )
        self.loop = Loop(
            scheduler=self.world.scheduler,
            banks=banks,
            tally=self.world.tally,
            crew=self.crew,
            ledger=self,
            listener=self.listener,
            claim=self.claim,  # type: ignore[arg-type]
            gauges=Gauges(),  # type: ignore[arg-type]
            watch=Watch(),  # type: ignore[arg-type]
            share=Share(Resources(2, 1, "cpu", 0.0, 1e9)),
            parallel=None,
            hours=hours,
            joined=False,
            arrivals=arrivals,
            clock=itertools.count(step=10).__next__,
        )

    def end(self, ended: EndImage) -> bool:
        if self.others_finish:
            return False
        self.ended.append(ended)
        self.world.rows[ended.image.id] += 1
        return True

    def run(self) -> None:
        self.loop.run(lambda: None)


@dataclass
class Arrivals:
    """Images of which one arrives each time that they are asked for; the first file cannot be used."""

    def __init__(self, images: Sequence[InputImage]) -> None:
        self._arrivals: list[Arrival] = [Rejected("a.txt", "it is gone"), *images]
        self.coming, self.waited = len(self._arrivals), list[float]()

    def take(self, seconds: float = 0.0) -> list[Arrival]:
        self.waited.append(seconds)
        if not self.coming:
            return []
        self.coming -= 1
        return [self._arrivals.pop(0)]


def test_images_are_worked_on_as_they_arrive() -> None:
    images = plan_of(TWO_ARMS, 3).images
    arrivals = Arrivals(images)
    scene = Scene(images=4, arrivals=arrivals)
    scene.run()
    assert scene.listener.notes[0] == "a.txt: rejected: it is gone"
    assert scene.world.rows == {image.id: 1 for image in images}
    # Only the first is waited for: later on, other work is.
    assert arrivals.waited[0] > 0
    assert not any(arrivals.waited[1:])


def test_every_image_goes_through_all_stages_and_the_queue_is_closed() -> None:
    scene = Scene()
    scene.run()
    scene.world.assert_all_ended()
    assert scene.crew.calls[-1] == "close"
    assert {stage.name: (stage.done, stage.total) for stage in scene.listener.stages} == {
        "score": (3, 3),
        "cohort": (18, 18),
        "full size": (9, 9),
        "images": (3, 3),
    }
    assert scene.claim.reports[-1][0] == [vars(stage) for stage in scene.listener.stages]
    assert scene.crew.bounds[0] == 4


def test_banks_are_computed_and_sessions_do_not_idle_meanwhile() -> None:
    scene = Scene(missing={SPECS[0]: PARTS[SPECS[0]][:2]})
    scene.crew.trouble["compute"] = Unanswered("it died", lost=True)
    scene.run()
    scene.world.assert_all_ended()
    assert scene.crew.calls.count("compute") == 3
    assert scene.crew.calls[2] == "may idle False"


def test_a_question_that_fails_ends_its_image_and_no_other() -> None:
    scene = Scene()
    scene.crew.trouble["Decide"] = Unanswered("ValueError: no")
    scene.run()
    scene.world.assert_all_ended()
    (ended,) = scene.ended
    assert ended.reason == "ValueError: no"
    assert f"drop {ended.image.id}" in scene.crew.calls
    assert scene.listener.notes == [f"{ended.image.name}: failed: ValueError: no"]


def test_an_image_that_another_driver_has_finished_is_not_said_to_have_failed() -> None:
    scene = Scene()
    scene.others_finish = True
    scene.crew.trouble["Collect"] = Unanswered("NotFoundError: the store holds no result.json")
    scene.run()
    assert not scene.ended
    assert scene.listener.notes == [
        "image2.png: another driver has finished it; NotFoundError: the store holds no result.json here"
    ]


def test_a_worker_that_is_lost_is_asked_again() -> None:
    scene = Scene()
    scene.crew.trouble["Collect"] = Unanswered("gone", lost=True)
    scene.run()
    scene.world.assert_all_ended()
    assert not scene.ended


def test_a_session_that_fails_is_replaced_and_its_fits_go_on() -> None:
    scene = Scene()
    scene.crew.lose_sessions = 2
    scene.run()
    scene.world.assert_all_ended()
    assert [call for call in scene.crew.calls if call.startswith("session")] == ["session 0", "session 1", "session 2"]
    assert scene.listener.notes == ["Tune stopped and is started again: Tune broke"] * 2


def test_a_store_in_trouble_ends_the_loop() -> None:
    scene = Scene()
    scene.crew.trouble["Score"] = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError, match="away"):
        scene.run()


def test_a_queue_that_is_lost_ends_the_loop() -> None:
    scene = Scene()
    scene.crew.trouble["finished"] = Unanswered("the actor died", lost=True)
    with pytest.raises(RayLostError, match=r"the queue of fits was lost \(the actor died\)"):
        scene.run()


def test_a_run_that_is_cancelled_stops_at_once() -> None:
    scene = Scene()
    scene.claim.stop_after = (2, "now")
    with pytest.raises(RunCancelledError, match="cancelled"):
        scene.run()


@pytest.mark.parametrize(("before", "hours"), [(0.0, 1.0), (2.5, 3.5), (9.0, 3.5)])
def test_a_run_whose_machine_hours_are_spent_stops_and_reports_them(before: float, hours: float) -> None:
    scene = Scene(hours=hours)
    scene.claim.used_before = before
    with pytest.raises(HoursSpentError, match=rf"its {hours:g} machine hours are spent .*--set resources\.hours=N"):
        scene.run()
    assert scene.claim.reports


def test_a_run_goes_on_while_it_has_hours_left() -> None:
    scene = Scene(hours=3.6)
    scene.claim.used_before = 2.5
    scene.run()
    scene.world.assert_all_ended()


def test_a_run_that_is_drained_ends_when_nothing_is_under_way() -> None:
    scene = Scene(9)
    scene.claim.stop_after = (3, "drain")
    with pytest.raises(RunCancelledError, match="what was under way has ended"):
        scene.run()
    assert "drain" in scene.crew.calls
    assert "cancel_computing" in scene.crew.calls
    assert scene.listener.notes == ["cancelled: no new work; what is under way goes on to its end"]


def test_a_driver_whose_run_was_taken_over_stops() -> None:
    scene = Scene()
    scene.claim.stop_after = (2, "superseded")
    with pytest.raises(SupersededError):
        scene.run()


def test_signals_are_heeded_at_every_turn() -> None:
    scene = Scene()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.loop.run(interrupt)


def test_machines_that_join_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.schedule.loop.autoscaler_says", list)
    scene = Scene()
    scene.loop._joined = True
    found = type("Found", (), {"node": "n", "machine": Machine(8, 2**30)})()
    scene.loop._watch.found = [found]
    scene.run()
    assert scene.crew.bounds[0] == 24
