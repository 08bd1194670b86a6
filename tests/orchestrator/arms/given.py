"""Helpers of several of these tests."""

from typing import Any

from orchestrator.arms.arm import Arm
from orchestrator.arms.resolve import arms_of
from tests.orchestrator.conftest import MakeConfig


def arm_of(make_config: MakeConfig, arm: str | dict[str, Any], **changes: Any) -> Arm:
    """An arm in settings of 40 candidates, of which 6 are fitted for 60 iterations."""
    settings: dict[str, Any] = {
        "score": {"candidates": 40, "metric": "psd 99_per_bw"},
        "cohort": {"size": 6, "iterations": 60, "first_rung": 10},
    }
    for name, section in changes.items():
        settings[name] = {**settings.get(name, {}), **section}
    (resolved,) = arms_of(make_config(arms=[arm], **settings))
    return resolved


# Lotteries.

LOTTERIES = [f"lottery-{method}" for method in ("imp", "random", "snip", "oes", "dense", "decoder")]
