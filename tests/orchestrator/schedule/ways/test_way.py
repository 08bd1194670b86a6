from typing import Any

import pytest

from orchestrator.arms.resolve import arms_of
from orchestrator.pick.decide import Decision
from orchestrator.schedule.questions import Decide, Halve
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.way import ArmStage, Way
from orchestrator.schedule.ways.wishes import TO_THE_END, Want
from orchestrator.score.score import Scored
from tests.orchestrator.schedule.world import arm, image, settings
from workers.names import FitName, PriorName

A, B, C, D = (PriorName(name) for name in ("dip", "dip-inpaint", "deep-decoder-64", "deep-decoder-128"))
COHORT = [Scored(name, float(place)) for place, name in enumerate((A, B, C, D))]


def way_of(**more: Any) -> Way:
    (only,) = arms_of(settings(arm("one", **more)))
    return Way(image(0), only, COHORT, Tally())


def decided(*order: FitName) -> Decision:
    return Decision("held-out", list(order), {})


def fitted(way: Way, *names: FitName, done: bool = True) -> list[Any]:
    wishes = []
    for name in names:
        wishes += way.on_fit(name, done=done)
    return wishes


def test_a_cohort_is_fitted_to_the_end_and_decided_once_all_have_ended() -> None:
    way = way_of()
    assert way.begin() == [Want("crop", (A, B, C, D), TO_THE_END)]
    assert way.stage is ArmStage.COHORT
    assert fitted(way, D, B, A) == []
    assert fitted(way, C, done=False) == [Decide(image(0), way.arm, tuple(COHORT), ())]
    assert way.stage is ArmStage.DECIDING


def test_the_best_are_fitted_at_full_size_and_collected_in_their_order() -> None:
    way = way_of(full_fits=2)
    way.begin()
    fitted(way, A, B, C, D)
    assert way.on_decided(decided(C, A, B)) == [Want("full", (C, A), TO_THE_END)]
    assert way.stage is ArmStage.FULL
    assert fitted(way, A) == []
    assert fitted(way, C) == []
    assert way.stage is ArmStage.READY
    assert way.chosen.full == (C, A)
    assert way.chosen.decision == decided(C, A, B)


def test_the_next_best_takes_the_place_of_a_pick_that_failed() -> None:
    way = way_of(full_fits=1)
    way.begin()
    fitted(way, A, B, C, D)
    way.on_decided(decided(C, A, B))
    assert fitted(way, C, done=False) == [Want("full", (A,), TO_THE_END)]
    assert fitted(way, A, done=False) == [Want("full", (B,), TO_THE_END)]
    assert fitted(way, B, done=False) == []
    assert way.stage is ArmStage.READY
    assert way.full == [C, A, B]


def test_a_cohort_at_full_size_is_ready_with_its_decision() -> None:
    way = way_of(view="full", full_fits=2)
    assert way.begin() == [Want("full", (A, B, C, D), TO_THE_END)]
    fitted(way, A, B, C, D)
    assert way.on_decided(decided(B, A, C)) == []
    assert (way.stage, way.full) == (ArmStage.READY, [B, A])


def test_a_cohort_that_failed_altogether_is_ready_with_nothing() -> None:
    way = way_of()
    way.begin()
    fitted(way, A, B, C, D, done=False)
    assert way.on_decided(decided()) == []
    assert (way.stage, way.full) == (ArmStage.READY, [])


def test_an_empty_cohort_is_decided_at_once() -> None:
    (only,) = arms_of(settings(arm("one")))
    way = Way(image(0), only, (), Tally())
    assert way.begin() == [Decide(image(0), only, (), ())]


def test_halving_ends_the_worse_part_at_every_rung() -> None:
    way = way_of(halving="synchronous", full_fits=1)
    assert way.arm.rungs == (100, 200)
    assert way.begin() == [Want("crop", (A, B, C, D), 100)]
    assert fitted(way, A, B, C, D) == [Halve(image(0), way.arm, (A, B, C, D), 100)]
    assert way.stage is ArmStage.HALVING
    assert way.on_halved([B, D]) == [Want("crop", (B, D), 200)]
    assert way.ended == {A: 100, C: 100}
    assert fitted(way, D, B) == [Halve(image(0), way.arm, (B, D), 200)]
    assert way.on_halved([D]) == [Want("crop", (D,), TO_THE_END)]
    assert fitted(way, D) == [Decide(image(0), way.arm, tuple(COHORT), (A, C, B))]
    assert way.ended == {A: 100, C: 100, B: 200}


def test_a_member_that_loses_its_contest_has_ended_there() -> None:
    way = way_of(halving="asha")
    way.begin()
    assert way.on_contest_lost(B, 100) == []
    assert fitted(way, A, C) == []
    assert way.on_contest_lost(D, 200) == [Decide(image(0), way.arm, tuple(COHORT), (B, D))]


@pytest.mark.parametrize(("full_fits", "order", "total"), [(2, (A, B, C), 0), (3, (A,), -2), (2, (), -2)])
def test_fewer_picks_than_planned_are_no_longer_counted(
    full_fits: int, order: tuple[PriorName, ...], total: int
) -> None:
    (only,) = arms_of(settings(arm("one", full_fits=full_fits)))
    tally = Tally()
    way = Way(image(0), only, COHORT, tally)
    way.begin()
    fitted(way, A, B, C, D)
    way.on_decided(decided(*order))
    assert (tally.done("cohort"), tally.total("full")) == (4, total)


def test_nothing_is_chosen_before_the_decision() -> None:
    with pytest.raises(ValueError, match="the arm one has decided nothing yet"):
        _ = way_of().chosen
