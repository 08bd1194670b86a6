"""The arms of a run: ours by name, and methods of the user's own."""

import typing
from typing import Any, Literal

from pydantic import Field, model_validator

from orchestrator.settings.cohort import HalvingName, RuleName, ViewName
from orchestrator.settings.names import MetricName, PriorId
from orchestrator.settings.portfolio import SHIPPED, Portfolios, read_portfolios
from orchestrator.settings.section import Section
from workers.lottery.methods import TRAITS, Method, MethodTraits

_LOTTERY = "lottery-"
LotteryArm = Literal["lottery-imp", "lottery-random", "lottery-snip", "lottery-oes", "lottery-dense", "lottery-decoder"]
_PORTFOLIO = "portfolio"
_CohortArm = Literal[
    "isnas-dip-blind", "isnas-dip", "random", "dip", "seeds", "nas-dip", "portfolio", "deep-decoder", "all"
]
ArmName = _CohortArm | LotteryArm
ARM_NAMES: tuple[str, ...] = tuple(name for kind in typing.get_args(ArmName) for name in typing.get_args(kind))


class ArmSettings(Section):
    """A method of the user's own: one of ours, with its differences."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="its name in rows and paths")
    like: ArmName = Field("isnas-dip-blind", description="the arm it is made from")
    networks: list[PriorId] | None = Field(
        None, min_length=1, description="its cohort, by name, instead of a shortlist"
    )
    metric: MetricName | None = Field(None, description="instead of score.metric")
    size: int | None = Field(None, ge=1, description="instead of cohort.size")
    view: ViewName | None = Field(None, description="instead of cohort.view")
    rule: RuleName | None = Field(None, description="instead of pick.rule")
    full_fits: int | None = Field(None, ge=1, description="instead of pick.full_fits")
    halving: HalvingName | None = Field(None, description="instead of cohort.halving")
    portfolio: Portfolios | None = Field(
        None,
        description="portfolio: its lists of networks: a table that `study --portfolio` has made (a YAML file), or the"
        " name of one that ships (width32)",
    )
    source: str | None = Field(
        None,
        pattern=r"^[a-z0-9]+(-[a-z0-9]+)+$",
        description="lottery: the source of its masks within the run lottery.tickets",
    )

    @model_validator(mode="before")
    @classmethod
    def _the_portfolio_that_ships(cls, values: Any) -> Any:
        """The lists that the arm has where it is given none; with them the run's record has them, too."""
        if isinstance(values, dict) and values.get("like") == _PORTFOLIO:
            given = values.get("networks") is not None or values.get(_PORTFOLIO) is not None
            return values if given else {**values, _PORTFOLIO: read_portfolios(SHIPPED)}
        return values

    @model_validator(mode="after")
    def _one_list(self) -> typing.Self:
        if self.portfolio is not None and self.like != _PORTFOLIO:
            raise ValueError("portfolio: the arm needs 'like: portfolio' to take its networks from a table")
        if self.portfolio is not None and self.networks is not None:
            raise ValueError("portfolio: its networks come from a table or from its own list, not from both")
        return self

    @model_validator(mode="after")
    def _no_network_twice(self) -> typing.Self:
        if self.networks is not None and len(set(self.networks)) < len(self.networks):
            raise ValueError("its list of networks names one twice")
        return self

    @property
    def is_lottery(self) -> bool:
        """Whether it prunes networks."""
        return self.like in typing.get_args(LotteryArm)

    @property
    def traits(self) -> MethodTraits:
        """The traits of the method of a lottery."""
        return TRAITS[typing.cast(Method, self.like.removeprefix(_LOTTERY))]

    @model_validator(mode="after")
    def _a_lottery_has_settings_of_its_own(self) -> typing.Self:
        others = {"networks": self.networks, "metric": self.metric, "size": self.size, "view": self.view}
        given = [name for name, value in {**others, "halving": self.halving}.items() if value is not None]
        if self.is_lottery and given:
            raise ValueError(f"{', '.join(given)}: not of a lottery, whose settings are below lottery")
        if self.source is not None and not self.is_lottery:
            raise ValueError("source: only a lottery's masks come from somewhere")
        return self


def named_arm(value: object) -> object:
    """One of our arms, where the settings hold its name alone."""
    return {"name": value, "like": value} if isinstance(value, str) else value
