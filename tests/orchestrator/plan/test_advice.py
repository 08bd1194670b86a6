from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.plan.advice import DAY_S, Advice, advice_at_start, advise
from orchestrator.plan.estimate import Estimate
from orchestrator.plan.request import NewRun, OldRun
from orchestrator.run.inputs import Source
from orchestrator.settings.effort import Effort, Wanted
from orchestrator.store import LocalStore


def days(count: float, longest: float = 0.0) -> Estimate:
    return Estimate(0.0, 2 * count * DAY_S, 2, longest * DAY_S)


def test_a_run_of_a_day_needs_no_advice_and_no_other_estimate() -> None:
    def never() -> Iterator[tuple[Effort, Estimate]]:
        raise AssertionError
        yield

    assert advise(days(1.0), never()) is None


def test_the_largest_effort_that_does_is_named() -> None:
    asked = []

    def smaller() -> Iterator[tuple[Effort, Estimate]]:
        for name, expected in (("thorough", days(2.5)), ("standard", days(0.9)), ("quick", days(0.1))):
            asked.append(name)
            yield name, expected  # type: ignore[misc]

    assert advise(days(3), smaller()) == Advice(3 * DAY_S, "standard", 0.9 * DAY_S, 3)
    assert asked == ["thorough", "standard"]


def test_where_no_effort_does_the_shortest_is_named() -> None:
    advice = advise(days(9), iter([("standard", days(5)), ("quick", days(6))]))
    assert advice is not None
    assert (advice.effort, advice.effort_seconds, advice.is_effort_enough) == ("standard", 5 * DAY_S, False)


@pytest.mark.parametrize(("longest", "machines"), [(1.0, 4), (1.1, None)])
def test_no_number_of_machines_makes_one_fit_faster(longest: float, machines: int | None) -> None:
    assert advise(days(3.5, longest), iter(())) == Advice(3.5 * DAY_S, None, 3.5 * DAY_S, machines)


def request(store: LocalStore, folder: Path, *assignments: str) -> NewRun:
    wanted = Wanted(assignments=("score.metric=random", "resources.parallel=1", *assignments))
    return NewRun(store, "r", Source(str(folder)), wanted, simulate=False, command="submit")


def test_only_a_run_that_may_be_long_is_timed_before_it_begins(
    store: LocalStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []

    def second(plan: object, name: str, side: int, device: str) -> float:
        timed.append(name)
        return side**2 / 64**2

    monkeypatch.setattr("orchestrator.plan.estimate._seconds_per_iteration", second)
    short = request(store, folder, "fit.iterations=100")
    assert advice_at_start(short, short.plan()) is None
    assert not timed
    long = request(store, folder, "fit.iterations=1000000")
    advice = advice_at_start(long, long.plan())
    assert timed
    assert advice is not None
    assert advice.sentence.startswith("this takes at most ")
    assert " d " in advice.sentence


def test_what_is_resumed_has_been_advised(store: LocalStore, folder: Path) -> None:
    long = request(store, folder, "fit.iterations=1000000")
    assert advice_at_start(OldRun(store, "r"), long.plan()) is None
