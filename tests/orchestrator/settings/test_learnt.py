from pathlib import Path

import pytest

from orchestrator.settings import Config, resolve
from orchestrator.settings.trust import KEPT
from tests.orchestrator.settings.given import mistakes, written

MODEL = "{task: denoise, images: [a], fits: 90, tau: 0.4, weights: {kernel 3: 0.1}}"


def test_a_run_s_settings_hold_the_weights_themselves(tmp_path: Path) -> None:
    table = written(tmp_path, f"portfolios: []\nlearnt: [{MODEL}]")
    config = resolve("quickstart", ["score.metric=learnt", f"score.learnt={table}"])
    recorded = config.model_dump(mode="json")
    assert recorded["score"]["learnt"] == [{"task": "denoise", "weights": {"kernel 3": 0.1}, "images": ["a"]}]
    assert Config.model_validate(recorded, context=KEPT) == config


@pytest.mark.parametrize(
    ("settings", "start"),
    [
        (
            ["score.metric=learnt"],
            "score.metric: the metric 'learnt' needs score.learnt, a table that study --portfolio",
        ),
        (["score.also=[learnt]"], "score.also: the metric 'learnt' needs score.learnt"),
        (["arms=[{name: mine, metric: learnt}]"], "arm mine: the metric 'learnt' needs score.learnt"),
        (["score.learnt=nope"], "score.learnt: there is no table 'nope'; python -m orchestrator study --portfolio"),
        (["score.learnt=[]"], "score.learnt: list should have at least 1 item"),
        (
            ["score.learnt=[{task: any, weights: {colour: 1}}]"],
            "score.learnt.0.weights: no network has the feature 'colour'; there are upsampling bilinear, ",
        ),
        (
            ["score.metric=learnt", "task.name=jpeg", f"score.learnt=[{MODEL}]".replace(", fits: 90, tau: 0.4", "")],
            "score.learnt: it has learnt nothing about the task jpeg; give another table",
        ),
        (["score.explore=2"], "score.explore: input should be less than or equal to 1"),
    ],
)
def test_what_is_missing_is_said_in_a_line(settings: list[str], start: str) -> None:
    (line,) = mistakes(*settings)
    assert line.startswith(start)


def test_a_table_of_too_few_fits_has_learnt_nothing(tmp_path: Path) -> None:
    table = written(tmp_path, "portfolios: []")
    (line,) = mistakes(f"score.learnt={table}")
    assert (
        line == f"score.learnt: the table '{table}' has learnt nothing: it was made from too few fits (docs/metrics.md)"
    )
