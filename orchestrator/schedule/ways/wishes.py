"""An arm's wishes as data, and the keys by which the arms of an image share fits."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.schedule.questions import Question
from workers.names import Chain, FitName

if TYPE_CHECKING:
    from workers.views import ViewName

FitKey = tuple["ViewName", FitName]
"""The key of a fit of one image: its view and its name."""

TO_THE_END = sys.maxsize
"""An iteration beyond all others: a fit has reached it when it has ended by itself."""


@dataclass(frozen=True)
class Want:
    """Take these fits to iteration ``until``. The way gets `on_fit` for each when it is there."""

    view: "ViewName"
    names: tuple[FitName, ...]
    until: int

    @property
    def keys(self) -> list[FitKey]:
        """The fits, in order."""
        return [(self.view, name) for name in self.names]


@dataclass(frozen=True)
class WantMasks:
    """Search a chain's masks on all images of the run together. The way gets `on_masks_searched` when that has
    ended."""

    chain: Chain


Wish = Want | WantMasks | Question
