"""Results: a line for each image and method, and the meaning of the figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.columns import Table
from orchestrator.report.contents import Page
from orchestrator.report.results import Results, ResultsPage
from orchestrator.report.sections import Section

_GUIDE = (
    (
        "PSNR",
        "psnr",
        "How close a picture is to the reference, in decibels. Higher is better; 1 dB more is about a fifth less "
        "squared error, 3 dB more is half. The gain is what the restoration added.",
    ),
    (
        "PSNR Y",
        "psnr_y",
        "The PSNR of the brightness alone, without the colours. Papers on super-resolution give this one.",
    ),
    (
        "Estimated PSNR",
        "psnr_low",
        "The PSNR as the hidden pixels estimate it, without any reference: with 95 % confidence it lies between these"
        " two figures. For a noisy picture they hold for pixels the network has not seen; the whole is rather better."
        " There is a dash where too little is known to estimate it within 1 dB.",
    ),
    (
        "SSIM",
        "ssim",
        "How alike the local structure of the picture and the reference is: 1 is identical, 0 is unrelated.",
    ),
    (
        "Held-out error",
        "",
        "Some pixels are hidden from the network while it is fitted. This is its mean squared error on those pixels, "
        "on a scale where black is 0 and white is 1. Lower is better. It needs no reference, holds some of the noise "
        "of the picture itself, and may be compared only within one image.",
    ),
    (
        "Stopped at",
        "",
        "A network fitted for too long copies the noise as well. The fit is stopped where the held-out error was "
        "least or, with a rule that begins with “es”, where its outputs varied least; this is the number of steps it "
        "had made by then.",
    ),
    (
        "Ideal stop",
        "psnr_oracle_stop",
        "The best PSNR the same fit reached while some pixels were hidden from it. Only the reference can show that"
        " moment. The restored picture may be above it: in the end it has seen all pixels.",
    ),
    (
        "Mean of best",
        "mean",
        "The average of the pictures from the best few networks. It is often smoother, and often closer to the "
        "reference, than any single one.",
    ),
    (
        "Stack",
        "stack_weights",
        "The weighted sum of the pictures from several networks that has the least error on the hidden pixels. Its"
        " held-out error is cross-validated: no pixel judges weights that it had a part in.",
    ),
    (
        "Delivered",
        "delivered",
        "What lies in the folder of restored pictures named best: the stack, unless the picked network's picture or"
        " the mean has clearly less cross-validated error on the hidden pixels, or the best classical filter's picture"
        " less. Where those do not speak for the whole picture (a smaller or blurred one, correlated noise, holes of"
        " your own mask), it is the picked network's.",
    ),
    (
        "Filter",
        "classical",
        "The best of some classical filters, which take seconds: non-local means, wavelets, total variation; for other"
        " tasks the usual ones. What the search gains over it is what the search was worth.",
    ),
    (
        "Spread map",
        "spread",
        "Where the best few networks disagree: black where all agree, brightest where they differ most. Trust the"
        " bright places least. Each map has its own scale, so the brightness of two maps cannot be compared.",
    ),
    (
        "Network",
        "",
        "The shape of the network that was picked. The pick is made blindly, and the "
        "reference, where there is one, is never looked at.",
    ),
    (
        "Chosen by",
        "rule",
        "How the network was picked: by the least held-out error, by consensus (closest to the majority of networks),"
        " by both together, or as the closest to the networks' weighted mean.",
    ),
    (
        "Notes",
        "note",
        "Where a picture was not stopped and chosen as the settings ask, a note next to it gives the reason.",
    ),
)


@dataclass(frozen=True)
class _Results:
    results: Table | None  # all lines; where those are on pages, the first of the images that were not restored
    several: bool  # whether there are several methods
    guide: Sequence[tuple[str, str]]  # (term, its meaning)
    pages: Sequence[ResultsPage]  # none where this page has room for all lines
    lines: int  # how many there are
    unrestored: int  # how many of them stand for no restored image


def _fill(page: Page) -> _Results | None:
    if not page.report.rows:
        return None
    results = Results(page.report)
    guide = [(term, meaning) for term, needed, meaning in _GUIDE if not needed or needed in page.known]
    return _Results(
        results=results.table(results.shown) if results.shown else None,
        several=results.several,
        guide=guide,
        pages=results.pages,
        lines=len(results.lines),
        unrestored=len(results.unrestored),
    )


SECTION = Section("results", 30, _fill)
