"""What the metric ``learnt`` has learnt: weights of a candidate's features, by task.

They are part of the table that `study --portfolio` makes. A run's settings hold the weights and never the table's name.
"""

import os
import typing
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from orchestrator.errors import ConfigError
from orchestrator.settings.files import read_yaml
from orchestrator.settings.section import Section
from orchestrator.settings.task import TaskName
from orchestrator.settings.trust import check_may_read


class Learnt(Section):
    """The weights for a task."""

    task: typing.Literal[TaskName, "any"] = Field(
        description="the task that the weights are for; 'any': for tasks without weights of their own"
    )
    weights: dict[str, float] = Field(
        min_length=1, description="dB that a feature of a network takes off its held-out error, by the feature's name"
    )
    images: list[str] = Field([], description="the pictures whose fits it was learnt from: no test of it uses them")

    @field_validator("weights")
    @classmethod
    def _known_features(cls, weights: dict[str, float]) -> dict[str, float]:
        from workers.features import FEATURES  # noqa: PLC0415 - few settings name any

        unknown = [name for name in weights if name not in FEATURES]
        if unknown:
            raise ValueError(f"no network has the feature {unknown[0]!r}; there are {', '.join(FEATURES)}")
        return weights


def _read(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, str):
        return value
    check_may_read(value, info.context)
    if not os.path.isfile(value):  # noqa: PTH113 - pathlib raises for a name that is too long
        raise ValueError(f"there is no table {value!r}; python -m orchestrator study --portfolio makes one")
    try:
        models = read_yaml(Path(value)).get("learnt")
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if not isinstance(models, list) or not models:
        raise ValueError(f"the table {value!r} has learnt nothing: it was made from too few fits (docs/metrics.md)")
    return [_without_figures(model) for model in models]


def _without_figures(model: Any) -> Any:
    """A model without what it says to people alone."""
    if not isinstance(model, dict):
        return model
    return {name: each for name, each in model.items() if name not in ("fits", "tau")}


Models = Annotated[Annotated[list[Learnt], Field(min_length=1)], BeforeValidator(_read)]


def weights_for(models: list[Learnt], task: str) -> dict[str, float] | None:
    """The weights for a task: its own, else those for any; None where there are neither."""
    by_task: dict[str, dict[str, float]] = {model.task: model.weights for model in models}
    return by_task.get(task, by_task.get("any"))
