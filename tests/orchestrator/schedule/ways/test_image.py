from collections.abc import Sequence
from typing import Any

from orchestrator.arms.resolve import arms_of
from orchestrator.schedule.actions import Ask, Start
from orchestrator.schedule.questions import Collect, Decide, PickNetwork, Score
from orchestrator.schedule.tally import Tally
from orchestrator.schedule.ways.image import ImageStage, ImageWay, MasksWanted
from orchestrator.schedule.ways.way import ArmStage
from orchestrator.score.score import Scored
from orchestrator.settings import Config
from tests.orchestrator.schedule.world import arm, image, settings
from workers.names import PriorName

A, B, C = (PriorName(name) for name in ("dip", "dip-inpaint", "deep-decoder-64"))


def way_of(config: Config) -> ImageWay:
    return ImageWay(image(0), arms_of(config), config, previews=True, gpu_share=lambda of, key: 0.5, tally=Tally())


def scored(config: Config) -> dict[str, list[Scored]]:
    return {
        each.name: [Scored(PriorName(name), float(at)) for at, name in enumerate(each.networks or ())]
        for each in arms_of(config)
        if not each.is_lottery
    }


def jobs_in(actions: Sequence[Any]) -> list[tuple[str, str, int | None]]:
    return [(job.view, str(job.name), job.until) for each in actions if isinstance(each, Start) for job in each.jobs]


def test_its_turn_begins_with_its_scores() -> None:
    way = way_of(settings(arm("one")))
    assert way.stage is ImageStage.WAITING
    assert way.begin(frozenset({"part"})) == [Ask(Score(image(0), frozenset({"part"})))]
    assert way.stage is ImageStage.SCORING


def test_what_all_arms_want_is_begun_together_and_shared_fits_once() -> None:
    config = settings(arm("one", "dip", "dip-inpaint"), arm("two", "deep-decoder-64", "dip"))
    way = way_of(config)
    way.begin(frozenset())
    (start,) = way.on_scored(scored(config))
    assert isinstance(start, Start)
    assert jobs_in([start]) == [("crop", "dip", None), ("crop", "dip-inpaint", None), ("crop", "deep-decoder-64", None)]
    assert not start.first
    assert {job.gpus for job in start.jobs} == {0.5}
    assert way.stage is ImageStage.FITTING


def test_arms_that_go_further_than_others_have_the_fit_go_on() -> None:
    config = settings(
        arm("halved", "dip", "dip-inpaint", halving="synchronous"), arm("whole", "dip", "deep-decoder-64")
    )
    way = way_of(config)
    way.begin(frozenset())
    assert jobs_in(way.on_scored(scored(config)))[0] == ("crop", "dip", 100)
    way.fits.paused(("crop", A))
    assert jobs_in(way.on_fit(("crop", A))) == [("crop", "dip", None)]


def test_an_image_is_collected_once_all_its_arms_are_ready() -> None:
    config = settings(arm("one", "dip", view="full"), arm("two", "deep-decoder-64", view="full"))
    way = way_of(config)
    way.begin(frozenset())
    way.on_scored(scored(config))
    asked: list[Any] = []
    for key in (("full", A), ("full", C)):
        way.fits.ended(key, done=True)  # type: ignore[arg-type]
        (ask,) = way.on_fit(key)  # type: ignore[arg-type]
        assert isinstance(ask, Ask)
        assert isinstance(ask.question, Decide)
        arm_way = way.way_of(ask.question.arm)
        order = [scored.name for scored in ask.question.cohort]
        asked += way.on_answer(arm_way, arm_way.on_decided(decision(order)))
    (collect,) = asked
    assert isinstance(collect.question, Collect)
    assert [chosen.arm.name for chosen in collect.question.chosen] == ["one", "two"]
    assert collect.question.previews
    assert way.stage is ImageStage.COLLECTING


def test_a_lottery_of_the_pick_is_asked_for_it_once() -> None:
    config = settings(
        "lottery-snip", arm("one", "dip", view="full"), lottery={"network": "picked", "initialisations": 1}
    )
    way = way_of(config)
    way.begin(frozenset())
    assert jobs_in(way.on_scored(scored(config))) == [("full", "dip", None)]
    way.fits.ended(("full", A), done=True)
    (decide,) = way.on_fit(("full", A))
    assert isinstance(decide, Ask)
    picker = way.ways[1]
    (pick,) = way.on_answer(picker, picker.on_decided(decision([A])))
    assert isinstance(pick, Ask)
    assert isinstance(pick.question, PickNetwork)
    assert way.ways[0].stage is ArmStage.WAITING
    begun = jobs_in(way.on_network_picked("dip"))
    assert begun == [("full", "dip.dense.0", None), ("full", "dip.snip.0", None)]
    assert way.stage is ImageStage.FITTING


def test_masks_of_all_images_are_asked_of_the_run() -> None:
    config = settings("lottery-oes", lottery={"together": True, "initialisations": 1})
    way = way_of(config)
    way.begin(frozenset())
    start, wanted = way.on_scored({})
    assert jobs_in([start]) == [("full", "dip.dense.0", None)]
    assert isinstance(wanted, MasksWanted)
    assert str(wanted.chain) == "dip.oes.0.all-images"
    assert jobs_in(way.on_masks_searched(wanted.way, wanted.chain)) == [("full", "dip.oes.0.all-images", None)]


def decision(order: Sequence[Any]) -> Any:
    from orchestrator.pick.decide import Decision

    return Decision("held-out", list(order), {})
