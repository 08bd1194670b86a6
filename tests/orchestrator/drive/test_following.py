import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drive.following import LOOK_EVERY_S, Followed
from orchestrator.errors import RunFailedError, StoreUnavailableError, UserMistakeError
from orchestrator.run.attempt import RunState, Standing, now
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Stage
from orchestrator.run.record import RunRecord
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import ELSEWHERE

LAYOUT = RunLayout("r1")
RECORD = RunRecord("r1", "2026-01-31T14:25:01+00:00", 2, 0, False, {}, {})
HOLDER = f"-- {ELSEWHERE.name}"
WAITS = "2 fits wait for a machine with 1 CPU and 1 GPU each"
HALF = Stage("images", 1, 2)


class Drivers:
    """The claims that drivers on other machines leave in a store."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        store.put(LAYOUT.record, RECORD.to_json())

    def say(
        self,
        number: int,
        state: RunState = RunState.RUNNING,
        *,
        stages: Sequence[Stage] = (),
        log: Iterable[str] = (),
        waits_for: Sequence[str] = (),
    ) -> None:
        """Write the log and the state of the driver of a claim."""
        self.store.create(LAYOUT.claim(number).holder, json.dumps(asdict(replace(ELSEWHERE, number=number))).encode())
        standing = Standing(state, 1, now(), stages=[asdict(stage) for stage in stages], waits_for=waits_for)
        self.store.put(LAYOUT.claim(number).log, "".join(f"{line}\n" for line in log).encode())
        self.store.put(LAYOUT.claim(number).state, standing.to_json())


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.stages: list[list[Stage]] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def update(self, stages: Sequence[Stage]) -> None:
        self.stages.append(list(stages))


class Story:
    """The events meanwhile: a step each time that the follower sleeps; one sleep more than steps is a failure."""

    def __init__(self, *steps: Callable[[], None]) -> None:
        self._steps = list(steps)

    def sleep(self, seconds: float) -> None:
        assert seconds == LOOK_EVERY_S
        assert self._steps, "it should have come to its end"
        self._steps.pop(0)()

    def has_ended(self) -> bool:
        return not self._steps


@pytest.fixture
def drivers(tmp_path: Path) -> Drivers:
    return Drivers(LocalStore(tmp_path))


def nothing() -> None:
    pass


def followed(drivers: Drivers, *steps: Callable[[], None], **options: Any) -> tuple[RunRecord, Heard]:
    story, heard = Story(*steps), Heard()
    record = Followed(drivers.store, "r1", sleep=story.sleep, **options).until_it_ends(heard)
    assert story.has_ended()
    return record, heard


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.RUNNING])
def test_a_run_that_has_ended_is_told_at_once(drivers: Drivers, state: RunState) -> None:
    drivers.say(1, state, stages=[HALF], log=["run r1: 2 images", "a.png: done"])
    record, heard = followed(drivers)
    assert record.state is state
    assert heard.notes == [HOLDER, "run r1: 2 images", "a.png: done"]
    assert heard.stages == [[HALF]]


def test_a_run_is_followed_from_before_its_driver_until_its_end_and_nothing_told_twice(drivers: Drivers) -> None:
    record, heard = followed(
        drivers,
        nothing,
        lambda: drivers.say(1, log=["first"], waits_for=[WAITS]),
        lambda: drivers.say(1, stages=[HALF], log=["first", "second"], waits_for=[WAITS]),
        lambda: drivers.say(1, stages=[HALF], log=["first", "second"]),
        lambda: drivers.say(1, stages=[HALF], log=["first", "second"], waits_for=[WAITS]),
        lambda: drivers.say(1, RunState.FINISHED, stages=[Stage("images", 2, 2)], log=["first", "second", "third"]),
    )
    assert record.state is RunState.FINISHED
    # The reason of a wait is reported again when it waits again.
    assert heard.notes == ["waiting for a driver to begin r1", HOLDER, "first", WAITS, "second", WAITS, "third"]
    assert heard.stages == [[], [HALF], [HALF], [HALF], [Stage("images", 2, 2)]]


def test_what_a_run_waits_for_is_told_when_nothing_runs_any_more(drivers: Drivers) -> None:
    running = replace(HALF, running=1)
    drivers.say(1, stages=[running], waits_for=[WAITS])
    _, heard = followed(
        drivers,
        lambda: drivers.say(1, stages=[HALF], waits_for=[WAITS]),
        lambda: drivers.say(1, stages=[HALF], waits_for=[WAITS, "autoscaler: no capacity"]),
        lambda: drivers.say(1, stages=[running], waits_for=[WAITS, "there is 1 machine"]),
        lambda: drivers.say(1, RunState.FINISHED),
    )
    assert heard.notes == [HOLDER, WAITS, "autoscaler: no capacity"]


def test_what_earlier_drivers_said_is_not_told_and_their_end_is_not_the_end(drivers: Drivers) -> None:
    drivers.say(1, RunState.FAILED, log=["early"])
    drivers.say(2, RunState.CANCELLED, log=["late"])
    record, heard = followed(
        drivers,
        nothing,
        lambda: drivers.say(3, log=["again"]),
        lambda: drivers.say(3, RunState.FINISHED, log=["again", "done"]),
        after=2,
    )
    assert record.state is RunState.FINISHED
    assert heard.notes == ["waiting for a driver to begin r1", HOLDER, "again", "done"]


def test_a_driver_that_takes_over_is_followed_too(drivers: Drivers) -> None:
    drivers.say(1, log=["one"])
    _, heard = followed(
        drivers,
        lambda: drivers.say(2, log=["two"]),
        lambda: drivers.say(2, RunState.FINISHED, log=["two", "three"]),
    )
    assert heard.notes == [HOLDER, "one", HOLDER, "two", "three"]


def test_new_lines_are_told_also_when_the_log_has_let_go_of_its_oldest(drivers: Drivers) -> None:
    drivers.say(1, log=["1", "2", "3"])
    _, heard = followed(
        drivers,
        lambda: drivers.say(1, log=["2", "3", "4"]),
        lambda: drivers.say(1, log=["4", "5", "6"]),
        lambda: drivers.say(2, RunState.FINISHED, log=["7"]),
    )
    assert heard.notes == [HOLDER, "1", "2", "3", "4", "5", "6", HOLDER, "7"]


@pytest.mark.parametrize(
    ("begun", "what"), [(False, "the driver of r1 could not begin"), (True, "the driver of r1 fell silent")]
)
def test_a_driver_that_ended_without_a_word_fails_with_what_it_said_last(
    drivers: Drivers, begun: bool, what: str
) -> None:
    if begun:
        drivers.say(1)
    with pytest.raises(RunFailedError, match=f"^{what}; its last output:\nTraceback ...\nKilled$"):
        followed(drivers, driver=lambda: "\nTraceback ...\nKilled\n\n")


def test_a_driver_whose_earlier_attempt_ended_is_told_that_it_could_not_begin(drivers: Drivers) -> None:
    drivers.say(1, RunState.INTERRUPTED)
    with pytest.raises(RunFailedError, match="could not begin"):
        followed(drivers, driver=lambda: "no such file", after=1)


def test_a_driver_that_ended_because_the_run_did_is_no_failure(drivers: Drivers) -> None:
    def ends() -> str:
        # Between the look at the store and the question.
        drivers.say(1, RunState.FINISHED, log=["done"])
        return "2 restored"

    drivers.say(1)
    record, heard = followed(drivers, nothing, driver=ends)
    assert record.state is RunState.FINISHED
    assert heard.notes[-1] == "done"


@pytest.mark.parametrize("trouble", [UserMistakeError, StoreUnavailableError])
def test_a_cluster_that_does_not_answer_is_not_the_end_of_a_run(drivers: Drivers, trouble: type[Exception]) -> None:
    def unreachable() -> str:
        raise trouble("no answer")

    record, _ = followed(drivers, lambda: drivers.say(1, RunState.FINISHED), driver=unreachable)
    assert record.state is RunState.FINISHED


def test_the_cluster_is_asked_now_and_then_and_the_store_always(drivers: Drivers) -> None:
    asked = 0

    def still_there() -> None:
        nonlocal asked
        asked += 1

    drivers.say(1)
    _, heard = followed(drivers, *[nothing] * 11, lambda: drivers.say(1, RunState.FINISHED), driver=still_there)
    assert (asked, len(heard.stages)) == (3, 13)


def test_a_run_that_has_fallen_silent_is_followed_no_longer(drivers: Drivers) -> None:
    def silent() -> None:
        long_ago = {"state": "running", "beat": 9, "at": "2026-01-31T14:25:01+00:00"}
        drivers.store.put(LAYOUT.claim(1).state, json.dumps(long_ago).encode())

    drivers.say(1)
    record, _ = followed(drivers, silent)
    assert record.state is RunState.INTERRUPTED
    assert "no sign of life" in str(record.reason)


def test_a_cluster_that_is_gone_before_its_driver_began_is_not_waited_for_for_ever(drivers: Drivers) -> None:
    def unanswered() -> None:
        raise UserMistakeError("nobody answers there")

    with pytest.raises(RunFailedError, match="no driver has begun r1, and its cluster does not answer: nobody answers"):
        followed(drivers, *[nothing] * 150, driver=unanswered)
    # Once it had begun, the store has its state.
    drivers.say(1)
    steps = [*[nothing] * 160, lambda: drivers.say(1, RunState.FINISHED)]
    assert followed(drivers, *steps, driver=unanswered)[0].state is RunState.FINISHED
