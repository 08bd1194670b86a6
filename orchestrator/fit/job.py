"""A fit to do, as data. This module imports little, for processes that compute nothing."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from orchestrator.run.inputs import InputImage
from workers.names import FitName

if TYPE_CHECKING:
    from workers.tiles import Tile
    from workers.views import ViewName


@dataclass(frozen=True)
class FitJob:
    """One image x one network x one view. A trial carries it as its settings, so it is small.

    A job belongs to no arm: arms that want the same fit share it. If ``name`` is that of a pruning chain, the job is
    all rounds of the chain, one after the other.

    Attributes:
        image: the image.
        view: the part of the image that is fitted.
        name: the network, round or chain.
        until: the rung, in iterations, at which the fit pauses; None runs it to its end.
        contest: the arm whose asynchronous halving may stop the fit; None if none may.
        gpus: the share of a GPU that the fit reserves.
        alone: whether the fit has a GPU, or a machine, for itself because it ran out of memory before.
        tile: the tile that is fitted of an image which is cut; None fits all of the view.
        beside: the share of a GPU that the fits which run beside it in the same trial reserve.
        together: the images on which the job searches a chain's masks together; it then does nothing else.
    """

    image: InputImage
    view: "ViewName"
    name: FitName
    until: int | None = None
    contest: str | None = None
    gpus: float = 0.0
    alone: bool = False
    together: tuple[InputImage, ...] = ()
    tile: "Tile | None" = None
    beside: float = 0.0

    @property
    def place(self) -> str:
        """The view, and the tile of it, as part of the fit's keys."""
        return self.view if self.tile is None else f"{self.view}-{self.tile}"

    @property
    def fitted(self) -> InputImage:
        """The image as large as its tile is."""
        if self.tile is None:
            return self.image
        return replace(self.image, height=self.tile.height, width=self.tile.width)
