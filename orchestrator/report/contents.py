"""The contents of a report: the results of a run, its images with their pictures, and its lottery tickets."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.figures.sparsity import SparsityPoint
from orchestrator.figures.transfer import Transfer
from orchestrator.report.columns import Row
from orchestrator.report.svg.curves import Curve


@dataclass(frozen=True)
class RoundPicture:
    """The image that a round gave, as an 8-bit PNG, with its sparsity and PSNR as far as they are known."""

    arm: str
    blind: bool
    round: int
    sparsity: float | None
    psnr: float | None
    png: bytes


@dataclass(frozen=True)
class TicketLayers:
    """The layers of a ticket: name, weights kept, weights there were."""

    method: str
    blind: bool
    round: int
    layers: Sequence[tuple[str, int, int]]


@dataclass(frozen=True)
class LotteryImage:
    """One image of a lottery.

    Attributes:
        image: Its relative name; any characters at all.
        curves: The dense fit and some sparse ones, over all their iterations.
        pictures: The images that rounds gave, arm by arm, in rising rounds.
        layers: Of tickets found on it.
    """

    image: str
    curves: Sequence[Curve]
    pictures: Sequence[RoundPicture]
    layers: Sequence[TicketLayers]


@dataclass(frozen=True)
class LotteryReport:
    """The section on lottery tickets.

    Attributes:
        points: As `orchestrator.figures.sparsity.curve` gives them.
        transfers: As `orchestrator.figures.transfer.transfers` gives them.
        ids: The id of each image by its name.
        images: Those that are shown.
        together: Layers of the tickets that were found on all images together.
    """

    points: Sequence[SparsityPoint]
    transfers: Sequence[Transfer]
    ids: Mapping[str, str]
    images: Sequence[LotteryImage]
    together: Sequence[TicketLayers]


@dataclass(frozen=True)
class ArmPictures:
    """The images that one arm gave, as 8-bit PNGs; None where there is no such picture.

    Attributes:
        arm: Its name.
        restored: The blind pick.
        mean: The mean of the best few candidates.
        spread: Where those disagree, from black (not at all) to white (the most of this picture).
        stack: The combination of least held-out error.
    """

    arm: str
    restored: bytes | None
    mean: bytes | None
    spread: bytes | None
    stack: bytes | None = None


@dataclass(frozen=True)
class ImageReport:
    """One image with its pictures.

    Attributes:
        image: Its relative name; any characters at all.
        rows: Its results, one per arm. The facts next to the pictures are those of the first restored one.
        degraded: The picture as it came (enlarged, if the restored one is larger), an 8-bit PNG.
        reference: The clean picture, an 8-bit PNG.
        classical: The best classical filter's picture.
        arms: The pictures of each arm.
        curves: The measurements of the fits, those of the picks first.
        cohort: The fits, those at full size first: candidate, view, state (done, paused where halving ended it, or
            failed), reason, held_out_error, stop_iteration, iterations, residual_correlation, psnr, psnr_oracle_stop,
            parameters, seconds, and tried_by, the names of the arms that had the candidate in their cohort; None where
            unknown.
    """

    image: str
    rows: Sequence[Row]
    degraded: bytes | None
    reference: bytes | None
    arms: Sequence[ArmPictures]
    curves: Sequence[Curve]
    cohort: Sequence[Row]
    classical: bytes | None = None


@dataclass(frozen=True)
class RunReport:
    """Everything that the page of a run shows.

    Attributes:
        run: The run's name.
        state: How it ended, or that it is running.
        created: When it was started, ISO 8601, UTC.
        seconds: How long it took, None while unknown.
        version: The version of this program that made it.
        settings: The resolved settings, nested.
        rows: All results, one per image and arm, as `orchestrator.run.rows.Row` names them; None where unknown.
        images: Those shown with pictures; the caller limits their number, since the page holds each of them.
        left_out: How many images among the rows are not shown with pictures.
        comparison: How each pair of arms differs over all images, as `orchestrator.figures.comparison.Difference` names
            it.
        worth: What each arm was worth, a sentence each.
        lottery: The lottery tickets; None where none were drawn.
        unreadable: What could not be read, a line each.
        mixed: Which versions the run is made with, if with several.
        spent: The time of machines that it has used, and its price if that is known; None where it is not known.
    """

    run: str
    state: str
    created: str
    seconds: float | None
    version: str
    settings: Mapping[str, object]
    rows: Sequence[Row]
    images: Sequence[ImageReport]
    left_out: int
    comparison: Sequence[Row] = ()
    worth: Sequence[str] = ()
    lottery: LotteryReport | None = None
    unreadable: Sequence[str] = ()
    mixed: str | None = None
    spent: str | None = None


@dataclass(frozen=True)
class Page:
    """The data that the sections of a page are filled from.

    Attributes:
        report: The run; the names of arms that are not blind carry a mark.
        not_blind: The arms whose masks were found on the clean reference, by their names without the mark.
        known: The figures and kinds of pictures that occur anywhere.
    """

    report: RunReport
    not_blind: Sequence[str]
    known: Collection[str]


def identified(report: RunReport) -> list[tuple[str, ImageReport]]:
    """The images that are shown, each with the id that links lead to."""
    return [(f"image-{place}", shown) for place, shown in enumerate(report.images, start=1)]
