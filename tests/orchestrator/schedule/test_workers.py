from typing import Any

import pytest

from orchestrator.arms.resolve import arms_of
from orchestrator.collect.fits import Chosen
from orchestrator.pick.decide import Decision
from orchestrator.schedule import workers
from orchestrator.schedule.questions import Collect, Decide, Halve, PickNetwork, Question, Score
from orchestrator.schedule.workers import answer
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(arms=["random"]), encoded())


def test_every_kind_of_question_is_answered_by_its_stage(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    (arm,) = arms_of(bench.context.config)
    chosen = Chosen(arm, (), Decision("held-out", [], {}), (), {})
    asked: list[tuple[str, Any]] = []

    def note(stage: str) -> Any:
        return lambda context, image, *of, **how: asked.append((stage, image)) or []

    for stage in ("score_image", "halve", "decide", "picked_network", "collect"):
        monkeypatch.setattr(workers, stage, note(stage))
    questions: list[Question] = [
        Score(bench.image, frozenset()),
        Halve(bench.image, arm, (), 2),
        Decide(bench.image, arm, (), ()),
        PickNetwork(bench.image, chosen),
        Collect(bench.image, (chosen,), False),
    ]
    for question in questions:
        answer(bench.context, question)
    assert asked == [(stage, bench.image) for stage in ("score_image", "halve", "decide", "picked_network", "collect")]


def test_scoring_gives_the_cohort_of_every_arm_in_order(bench: Bench) -> None:
    cohorts = answer(bench.context, Score(bench.image, frozenset()))
    assert set(cohorts) == {"random"}
    assert {str(scored.name) for scored in cohorts["random"]} == set(CANDIDATES)
    assert [scored.score for scored in cohorts["random"]] == sorted(scored.score for scored in cohorts["random"])
