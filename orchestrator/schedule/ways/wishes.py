"""What the way of an arm wants next, as data, and how fits are named among the arms of an image."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.schedule.questions import Question
from workers.names import Chain, FitName

if TYPE_CHECKING:
    from workers.views import ViewName

FitKey = tuple["ViewName", FitName]
"""A fit of one image."""

TO_THE_END = sys.maxsize
"""The iteration that a fit reaches when it ends by itself."""


@dataclass(frozen=True)
class Want:
    """Fits to be taken to iteration ``until``. The way hears of each when it is there."""

    view: "ViewName"
    names: tuple[FitName, ...]
    until: int

    @property
    def keys(self) -> list[FitKey]:
        """The fits, in order."""
        return [(self.view, name) for name in self.names]


@dataclass(frozen=True)
class WantMasks:
    """The masks of a chain, to be found on all images of the run together. The way hears when the search has ended."""

    chain: Chain


Wish = Want | WantMasks | Question
