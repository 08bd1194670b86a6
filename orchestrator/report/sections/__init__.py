"""The sections of a run's page: every module of this package is one.

A section is two files: a module whose ``SECTION`` defines its place and its content, and a template of the same name
next to it. Nothing else knows of it.
"""

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module

from orchestrator.report.contents import Page


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        name: The name of its module and of its template.
        place: Sections stand in the order of their places.
        fill: Gives the template's ``part``, which it has besides ``page`` and ``report``; None leaves the section out.
        styled: Whether it has a style sheet of its own, under the same name.
    """

    name: str
    place: int
    fill: Callable[[Page], object | None]
    styled: bool = False

    @property
    def template(self) -> str:
        """The path of its template."""
        return f"sections/{self.name}.html.j2"

    @property
    def style(self) -> str:
        """Its style sheet, likewise."""
        return f"sections/{self.name}.css"


@cache
def all_sections() -> list[Section]:
    """The sections in their order."""
    modules = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    sections: list[Section] = [module.SECTION for module in modules]
    return sorted(sections, key=lambda section: section.place)
