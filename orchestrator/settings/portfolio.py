"""Portfolios: lists of networks that past fits have shown to be good together, for the arm ``portfolio``.

A table of portfolios is a YAML file, which `study --portfolio` makes and a person may write. A run's settings hold its
lists and never its name, so a run keeps what it began with.
"""

import os
import typing
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from orchestrator.errors import ConfigError
from orchestrator.settings.files import read_yaml, shipped_configs
from orchestrator.settings.names import PriorId
from orchestrator.settings.section import Section
from orchestrator.settings.task import TaskName
from orchestrator.settings.trust import check_may_read

SHIPPED = "width32"
"""The table that the arm takes if it is given no other."""

ANY = "any"
"""The task of a list for all tasks that have none of their own."""

_OF_PEOPLE = ("fits", "left_out", "best")
"""What an entry of a table says to people alone."""

GreyLevels = Annotated[float, Field(ge=0, le=255)]


class Portfolio(Section):
    """An ordered list of networks, for a task and a band of noise."""

    task: typing.Literal[TaskName, "any"] = Field(
        description="the task that the list is for; 'any': for tasks without a list of their own"
    )
    noise: tuple[GreyLevels, GreyLevels] | None = Field(
        None,
        description="the band of noise, in 8-bit grey levels, whose images take the list: by an estimate from each"
        " image, or the nearest band; null: images of unknown noise, and all where there are no bands",
    )
    networks: list[PriorId] = Field(min_length=1, description="the networks, in the order in which they are taken")
    images: list[str] = Field(
        [], description="the pictures whose fits the list was learnt from: no test of it uses them"
    )

    @model_validator(mode="after")
    def _in_order(self) -> typing.Self:
        if len(set(self.networks)) < len(self.networks):
            raise ValueError("its list of networks names one twice")
        if self.noise is not None and self.noise[0] >= self.noise[1]:
            raise ValueError("noise: the band's ends must ascend")
        return self


def _read_table(value: object, info: ValidationInfo) -> object:
    """The lists of a table, if a table is named; lists as they are."""
    if not isinstance(value, str):
        return value
    check_may_read(value, info.context)
    return read_portfolios(value)


Portfolios = Annotated[Annotated[list[Portfolio], Field(min_length=1)], BeforeValidator(_read_table)]


def read_portfolios(name: str) -> list[Any]:
    """The lists of a table, as plain values; ``name`` is a file, or a table that ships.

    Raises:
        ValueError: there is no such table, or it holds something else.
    """
    path = Path(name)
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib raises for a name that is too long
        shipped = {file.stem: file for file in (shipped_configs() / "portfolios").glob("*.yaml")}
        if path.parent not in (Path(), Path("configs/portfolios")) or path.stem not in shipped:
            raise ValueError(f"there is no table {name!r}; these ship: {', '.join(sorted(shipped))}")
        return shipped_portfolios(str(shipped[path.stem]))
    return _lists(path)


@lru_cache
def shipped_portfolios(path: str) -> list[Any]:
    """The lists of a table that ships, read once; do not change them."""
    return _lists(Path(path))


def _lists(path: Path) -> list[Any]:
    try:
        lists = read_yaml(path).get("portfolios")
    except ConfigError as error:
        raise ValueError(str(error)) from None
    if not isinstance(lists, list):
        raise ValueError(f"{path} is no table of portfolios; python -m orchestrator study --portfolio makes one")
    return [_entry(entry) for entry in lists]


def _entry(entry: Any) -> Any:
    """An entry without what it says to people: gains beside the networks' names, figures of the fits."""
    if not isinstance(entry, dict):
        return entry
    kept = {name: value for name, value in entry.items() if name not in _OF_PEOPLE}
    networks = kept.get("networks")
    if isinstance(networks, list):
        kept["networks"] = [each.get("name", each) if isinstance(each, dict) else each for each in networks]
    return kept


def lists_for(portfolios: list[Portfolio], task: str) -> list[Portfolio]:
    """The lists for a task: its own, else those for any; none where the table has neither."""
    own = [each for each in portfolios if each.task == task]
    return own or [each for each in portfolios if each.task == ANY]
