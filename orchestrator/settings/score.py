"""How candidates are scored before anything is fitted."""

import os
import typing
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from orchestrator.settings.files import shipped_configs
from orchestrator.settings.learnt import Models
from orchestrator.settings.names import CandidateId, MetricName
from orchestrator.settings.section import Section
from orchestrator.settings.trust import check_may_read


def _read_candidates(value: object, info: ValidationInfo) -> object:
    """A list's ids, if a list is named; ids and numbers as they are."""
    if not isinstance(value, str):
        return value
    check_may_read(value, info.context)
    path = Path(value)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for a name that is too long
        shipped = {file.stem: file for file in (shipped_configs() / "candidates").glob("*.csv")}
        if path.parent not in (Path(), Path("configs/candidates")) or path.stem not in shipped:
            raise ValueError(f"there is no list {value!r}; these ship: {', '.join(sorted(shipped))}")
        path = shipped[path.stem]
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines()]
    except OSError as error:
        raise ValueError(f"the list {value!r} cannot be read: {error.strerror or error}") from None
    # Written as ids, or as the authors of ISNAS-DIP publish them: a cell's id, a comma, 25 bits.
    return [line.replace(",", "-", 1) for line in lines if line and not line.startswith("#")]


class Score(Section):
    """How candidates are scored before anything is fitted."""

    metric: MetricName = Field(
        "psd db strip mse",
        description="the metric at initialisation that makes the shortlist: one of the papers', 'task loss', 'random',"
        " 'learnt' from past fits (score.learnt), or a function of your own as 'module:object' or entry point"
        " (docs/metrics.md)",
    )
    learnt: Models | None = Field(
        None,
        description="the metric 'learnt': its weights, in a table that `study --portfolio` has made (a YAML file)",
    )
    explore: float = Field(
        0.25,
        ge=0,
        le=1,
        description="the metric 'learnt': share of a cohort that is drawn at random from the other candidates, so that"
        " more can be learnt",
    )
    also: list[MetricName] = Field([], description="further metrics to write into the table of scores")
    candidates: Annotated[
        Annotated[int, Field(ge=1, le=100_000)] | list[CandidateId], BeforeValidator(_read_candidates)
    ] = Field(
        1000,
        description="how many random candidates, a list of ids, or the name of a list: a CSV file, or one that ships"
        " (isnas522)",
    )
    seed: int = Field(0, ge=0, description="seed of the random candidates and of their untrained weights")
    draws: int = Field(3, ge=1, le=100, description="untrained networks per candidate, averaged")
    view: Literal["square", "native"] = Field(
        "square", description="'square': spectra on squares of 64, 128 or 256 px; 'native': on the image's own size"
    )
    chunk: int = Field(16, ge=1, le=1000, description="candidates per scoring task and part of the bank")

    @model_validator(mode="after")
    def _no_candidate_twice(self) -> typing.Self:
        if isinstance(self.candidates, list) and not self.candidates:
            raise ValueError("the list of candidates is empty")
        if isinstance(self.candidates, list) and len(set(self.candidates)) < len(self.candidates):
            raise ValueError("the list of candidates names one twice")
        return self
