"""Questions: the short work on an image between its fits, as data. Image workers answer them (`schedule.workers`)."""

from dataclasses import dataclass

from orchestrator.arms.arm import Arm
from orchestrator.collect.fits import Chosen
from orchestrator.run.inputs import InputImage
from orchestrator.score.score import Scored
from workers.names import FitName
from workers.tiles import Tiling


@dataclass(frozen=True)
class Score:
    """Which candidates form the cohort of each arm? None if the image has ended. ``without`` holds the parts of the
    bank that could not be computed, ``tiling`` the tiles of an image that is cut: each must have something to fit."""

    image: InputImage
    without: frozenset[str]
    tiling: Tiling | None = None


@dataclass(frozen=True)
class Halve:
    """Which members of the cohort go on from the rung at so many iterations?"""

    image: InputImage
    arm: Arm
    cohort: tuple[FitName, ...]
    iterations: int


@dataclass(frozen=True)
class Decide:
    """In which order does the arm prefer its cohort, without the members that halving has ended?"""

    image: InputImage
    arm: Arm
    cohort: tuple[Scored, ...]
    ended: tuple[FitName, ...]


@dataclass(frozen=True)
class PickNetwork:
    """Which network has the arm picked, for a lottery to prune?"""

    image: InputImage
    chosen: Chosen


@dataclass(frozen=True)
class Assemble:
    """Make one fit of the fits of an image's tiles, which have come to iteration ``until``, or with None to their end.
    In which state is it?"""

    image: InputImage
    name: FitName
    tiling: Tiling
    until: int | None


@dataclass(frozen=True)
class Collect:
    """Write the restored files and the rows of the image; leave previews for the report if asked."""

    image: InputImage
    chosen: tuple[Chosen, ...]
    previews: bool


Question = Score | Halve | Decide | PickNetwork | Assemble | Collect
