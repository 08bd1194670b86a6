from typing import Any

from orchestrator.arms.resolve import arms_of
from orchestrator.schedule.questions import Decide
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.lottery import LotteryWay
from orchestrator.schedule.ways.way import ArmStage
from orchestrator.schedule.ways.wishes import TO_THE_END, Want, WantMasks
from tests.orchestrator.schedule.world import arm, image, settings
from workers.names import Chain


def way_of(name: str, **lottery: Any) -> LotteryWay:
    config = settings(name, arm("other"), lottery={"rounds": 2, "initialisations": 1, **lottery})
    return LotteryWay(image(0), arms_of(config)[0], config, Tally())


def test_a_chain_that_is_pruned_by_its_dense_fit_begins_when_that_has_ended() -> None:
    way = way_of("lottery-imp")
    dense, chain = Chain("dip", "dense", 0), Chain("dip", "imp", 0)
    assert way.begin() == [Want("full", (dense,), TO_THE_END)]
    assert way.running == {dense, chain}
    assert way.on_fit(dense, done=True) == [Want("full", (chain,), TO_THE_END)]
    rounds = (dense.round(0), chain.round(1), chain.round(2))
    (decide,) = way.on_fit(chain, done=True)
    assert isinstance(decide, Decide)
    assert tuple(scored.name for scored in decide.cohort) == rounds


def test_chains_of_other_methods_begin_side_by_side() -> None:
    way = way_of("lottery-random")
    (want,) = way.begin()
    assert isinstance(want, Want)
    assert want.names == (Chain("dip", "dense", 0), Chain("dip", "random", 0))


def test_a_chain_is_begun_also_when_its_dense_fit_failed_and_says_itself_what_is_missing() -> None:
    way = way_of("lottery-imp")
    way.begin()
    assert way.on_fit(Chain("dip", "dense", 0), done=False) == [Want("full", (Chain("dip", "imp", 0),), TO_THE_END)]


def test_a_lottery_of_the_pick_waits_for_it() -> None:
    way = way_of("lottery-snip", network="picked")
    assert (way.begin(), way.stage) == ([], ArmStage.WAITING)
    (want,) = way.on_network_picked("deep-decoder-64")
    assert isinstance(want, Want)
    assert {name.network for name in want.names} == {"deep-decoder-64"}
    assert way.stage is ArmStage.COHORT


def test_without_a_pick_there_is_nothing_to_prune() -> None:
    way = way_of("lottery-snip", network="picked")
    way.begin()
    assert way.on_network_picked(None) == [Decide(image(0), way.arm, (), ())]


def test_chains_whose_masks_are_found_on_all_images_wait_for_the_search() -> None:
    way = way_of("lottery-oes", together=True)
    dense, chain = Chain("dip", "dense", 0), Chain("dip", "oes", 0, "all-images")
    assert way.begin() == [Want("full", (dense,), TO_THE_END), WantMasks(chain)]
    assert way.on_fit(dense, done=True) == []
    assert way.on_masks_searched(chain) == [Want("full", (chain,), TO_THE_END)]
    assert len(way.on_fit(chain, done=True)) == 1
