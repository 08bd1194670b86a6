"""The scatter plots of each image: the best PSNR of its candidates over their rank by a predictor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from orchestrator.figures.study import HELD_OUT, Study, Table, Tau
from orchestrator.report import text
from orchestrator.report.study.predictors import named_metrics
from orchestrator.report.svg.axis import Axis, short, ticks_of, widened
from orchestrator.report.svg.drawing import ON_THE_TICKS, dots, frame, svg
from orchestrator.text import counted

POINTS = 300_000
"""The page draws at most this many points, some 15 bytes each: a browser must still open it."""


_FEW = 100
"""Up to this many points are drawn larger."""


_PANEL_WIDTH, _PANEL_HEIGHT = 210, 150


@dataclass(frozen=True)
class Panel:
    """One scatter plot."""

    name: str
    tau: float
    plot: Markup


@dataclass(frozen=True)
class ImagePanels:
    """An image's scatter plots: the main ones, and the others."""

    name: str
    candidates: int
    known: int
    first: Sequence[Panel]
    others: Sequence[Panel]


def panels_of(table: Table, study: Study, shown: Sequence[str], default: str, cohort: int) -> Iterator[ImagePanels]:
    """The scatter plots of each image that is shown.

    Args:
        table: The study's table.
        study: Its figures.
        shown: The names of the images.
        default: The metric of the settings, which is drawn among the first.
        cohort: How many candidates a metric would put on the shortlist: these have a colour.
    """
    names = [HELD_OUT, *named_metrics(list(table.scores), default)]
    taus = {(tau.predictor, tau.image): tau for tau in study.taus}
    most = POINTS // max(1, len(shown) * len(table.predictors))
    for place, image in enumerate(shown, start=1):
        rows = table.of(image)
        known = len(rows.image)
        panels = {
            name: Panel(
                name,
                taus[name, image].tau,
                _scatter(f"scatter-{place}-{at}", rows, taus[name, image], cohort=cohort, most=most),
            )
            for at, name in enumerate(table.predictors)
            if (name, image) in taus
        }
        yield ImagePanels(
            name=image,
            candidates=int((table.image == image).sum()),
            known=known,
            first=[panels[name] for name in names if name in panels],
            others=[panel for name, panel in panels.items() if name not in names],
        )


def _scatter(ident: str, rows: Table, tau: Tau, *, cohort: int, most: int) -> Markup:
    """The best PSNR over the rank by one predictor, the ``cohort`` first in colour. If there are very
    many, only some are drawn.
    """
    values, best = rows.predictors[tau.predictor], rows.psnr_oracle_stop
    low, high = widened(float(best.min()), float(best.max()), at_least=1.0)
    known = np.isfinite(values)
    from scipy.stats import rankdata  # noqa: PLC0415 - it takes a second, and few runs are studies

    ranks = np.asarray(rankdata(values[known]), dtype=np.float64)
    count = len(ranks)
    upright = Axis(low, high, _PANEL_HEIGHT - 28, 8, ticks_of(low, high, short, most=4))
    ends = {1: "1", max(count, 1): text.count(count)} if count else {}
    across = Axis(0.5, max(count, 1) + 0.5, 38, _PANEL_WIDTH - 8, [(float(at), label) for at, label in ends.items()])
    # As in a shortlist: the first of equal ones.
    listed = np.isin(np.arange(count), np.argsort(values[known], kind="stable")[:cohort])
    drawn = _drawn(best[known], listed, most)
    places = [(across.at(x), upright.at(y)) for x, y in zip(ranks[drawn], best[known][drawn], strict=True)]
    # Where everyone is on the shortlist, colour shows nothing.
    coloured = listed[drawn] if count > cohort else np.zeros(len(drawn), dtype=np.bool_)
    few = " few" if count <= _FEW else ""
    parts = [
        dots([place for place, on in zip(places, coloured, strict=True) if on == wanted], style)
        for style, wanted in ((f"points{few}", False), (f"points{few} listed c0", True))
    ]
    interval = text.gain_interval((tau.low, tau.high))
    description = (
        f"{counted(count, 'candidate')}, best PSNR {text.decibels(best.min())} to {text.decibels(best.max())} dB; "
        + (f"Kendall's tau {text.gain(tau.tau)} ({interval}).")
    )
    return svg(
        ident,
        [frame(across, upright, "rank", below=ON_THE_TICKS), *parts],
        title=f"Best PSNR over the rank by {text.name(tau.predictor)}, {text.name(tau.image or '')}",
        description=description,
        size=(_PANEL_WIDTH, _PANEL_HEIGHT),
    )


def _drawn(best: NDArray[np.float64], listed: NDArray[np.bool_], most: int) -> NDArray[np.intp]:
    """At most ``most`` rows, evenly over the order of PSNR, with the best and the worst; those listed are added."""
    if len(best) <= most:
        return np.arange(len(best))
    even = np.linspace(0, len(best) - 1, max(most, 2)).round().astype(np.intp)
    return np.union1d(np.argsort(best, kind="stable")[even], np.flatnonzero(listed)[:most])
