"""A fit as data: what is asked for. Light, for processes that compute nothing."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.run.inputs import InputImage
from workers.names import FitName

if TYPE_CHECKING:
    from workers.views import ViewName


@dataclass(frozen=True)
class FitJob:
    """One image x one network x one view: a few small words, as a trial's settings should be.

    It belongs to no arm: arms that want the same fit share it. ``until`` lets it pause at a rung of so many iterations;
    ``contest`` names the arm in whose asynchronous halving it may be ended, None where it may not. It reserves ``gpus``
    of a GPU; a fit that ran out of memory is given a machine, or a GPU, ``alone``.

    Where ``name`` is a pruning chain's, the job is all rounds of the chain, one after the other.
    With ``together`` masks are found for these images in common, and nothing else is done.
    """

    image: InputImage
    view: "ViewName"
    name: FitName
    until: int | None = None
    contest: str | None = None
    gpus: float = 0.0
    alone: bool = False
    together: tuple[InputImage, ...] = ()
