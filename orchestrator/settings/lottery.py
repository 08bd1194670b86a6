"""Lottery tickets: how sparse networks are found."""

import typing
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.settings.names import PriorId
from orchestrator.settings.section import Section


class Lottery(Section):
    """Lottery tickets: how sparse networks are found (docs/lottery.md)."""

    network: PriorId | Literal["picked"] | None = Field(
        None,
        description="the network that is pruned, by name; null: the deep image prior's for the task; 'picked': for each"
        " image the network that the first other arm has picked",
    )
    initialisations: int = Field(
        3, ge=1, le=100, description="how many times the weights are drawn, each a chain of its own"
    )
    rounds: int = Field(16, ge=1, le=99, description="how often the network is pruned")
    rate: float = Field(0.2, gt=0, lt=1, description="share of the weights left that each round takes away")
    exempt: list[str] = Field(
        [], description="convolutions that are not pruned, by patterns of their names, such as 'skips.0.*'"
    )
    iterations: int | None = Field(
        None, ge=1, description="iterations of each round, all of which are run; null: as fit.iterations"
    )
    rewind: int = Field(
        0, ge=0, description="imp: rounds begin from the dense network's weights after this many iterations"
    )
    target: Literal["observed", "clean"] = Field(
        "observed",
        description="the image that masks are found on: the degraded one, or, as in the paper, the clean one, which is"
        " not blind",
    )
    together: bool = Field(False, description="find one mask for all images of the run instead of one for each")
    oes_iterations: int | None = Field(
        None, ge=1, description="oes: steps in which a mask is learnt; null: as iterations"
    )
    oes_strength: float | None = Field(
        None,
        ge=0,
        description="oes: weight of the masks' divergence from the share to be kept, a sum over weights; null: 1e-9 at"
        " the authors' 2.2 million weights, in inverse proportion to their number",
    )
    tickets: str | None = Field(
        None, description="the run whose tickets the arms with a source take (evaluate sets it)"
    )
    fit_rounds: list[Annotated[int, Field(ge=1, le=99)]] | None = Field(
        None,
        min_length=1,
        description="fit these rounds only, where masks do not come out of the round before; null: all",
    )
    seed: int | None = Field(None, ge=0, description="seed of the initial weights; null: the run's")

    @model_validator(mode="after")
    def _rounds_exist(self) -> typing.Self:
        if self.fit_rounds is not None and (
            max(self.fit_rounds) > self.rounds or len(set(self.fit_rounds)) < len(self.fit_rounds)
        ):
            raise ValueError(f"lottery.fit_rounds: each once, from 1 to lottery.rounds, {self.rounds}")
        return self
