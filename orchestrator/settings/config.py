"""All settings of a run, section by section."""

import typing
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from orchestrator.settings import cross
from orchestrator.settings.arms import ArmSettings, named_arm
from orchestrator.settings.classical import Classical
from orchestrator.settings.cohort import Cohort, Pick
from orchestrator.settings.fit import Fit, Network
from orchestrator.settings.generators import Generator
from orchestrator.settings.lottery import Lottery
from orchestrator.settings.resources import Ingest, Keep, Resources
from orchestrator.settings.score import Score
from orchestrator.settings.section import Section, described
from orchestrator.settings.task import Task
from workers.names import generator_of


class Config(Section):
    """All settings of a run."""

    seed: int = Field(0, ge=0, description="the run's seed: simulated noise, held-out pixels, weights")
    arms: list[Annotated[ArmSettings, BeforeValidator(named_arm)]] = Field(
        ["isnas-dip-blind"],
        min_length=1,
        validate_default=True,
        description="the methods that restore every image, all from the same degraded input (docs/arms.md)",
    )
    task: Task = Task()
    network: Network = Network()
    generators: list[Generator] = Field([], description="trained generators as priors (docs/tasks.md)")
    score: Score = Score()
    cohort: Cohort = Cohort()
    fit: Fit = Fit()
    pick: Pick = Pick()
    classical: Classical = Classical()
    lottery: Lottery = Lottery()
    resources: Resources = Resources()
    ingest: Ingest = Ingest()
    keep: Keep = Keep()

    @model_validator(mode="after")
    def _sections_agree(self) -> typing.Self:
        cross.check_names(self.arms)
        cross.check_generators(self.generators, self.task, self.arms, self.lottery)
        cross.check_portfolios(self.task, self.arms)
        cross.check_widths(self.network.width, self.score, self.task, self.arms)
        cross.check_lotteries(self.lottery, self.arms, self.network.width)
        cross.check_learnt(self.score, self.task, self.arms)
        cross.check_budget(self.cohort, self.fit, self.arms)
        cross.check_views(self.task, self.cohort, self.arms)
        return self

    def generator(self, network: str) -> Generator | None:
        """The generator that a network is, by name; None for other networks."""
        named = generator_of(network)
        return None if named is None else next(each for each in self.generators if each.name == named[0])

    def iterations(self, view: str) -> int:
        """The most iterations of a fit of this view; the cohort's settings never cut a fit at full size short."""
        if view == "full" or self.cohort.iterations is None:
            return self.fit.iterations
        return self.cohort.iterations

    def first_rung(self, view: str) -> int:
        """The iterations after which the worse part of a cohort on this view ends first."""
        given = self.cohort.first_rung
        return max(1, round(self.task.kind.first_rung * self.iterations(view))) if given is None else given


def described_settings() -> list[tuple[str, str, str]]:
    """Every setting as (name, default, description); those of a list's entries as ``arms[].name``."""
    return list(described(Config))
