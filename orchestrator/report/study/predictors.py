"""The table of predictors: Kendall's tau of each with the best PSNR, with its interval drawn."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.figures.study import HELD_OUT, Study, Table, Tau
from orchestrator.report import text
from orchestrator.report.svg.axis import Axis
from orchestrator.report.svg.drawing import (
    COLOURS,
    coordinate,
    dots,
)
from workers.metrics import TASK_LOSS

_FIRST = ("psd db strip mse", "psd strip hist emd", "psd 99_per_bw", TASK_LOSS)
"""The metrics that are drawn first: the papers' two, one that looks at no image, and the plain loss."""


_STRIP_WIDTH, _STRIP_HEIGHT = 240, 26


_MEAN_AT, _IMAGES_AT = 9, 20  # heights in the strip


_MARGIN = 10


_MARKS = (-1.0, -0.5, 0.0, 0.5, 1.0)


@dataclass(frozen=True)
class Predictor:
    """A line of the table; ``own`` has an entry for each image with a column."""

    name: str
    by_default: bool
    mean: Tau | None
    images: int  # how many have a tau
    plot: Markup
    own: Sequence[Tau | None]

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval of the mean over the images."""
        return (self.mean.low, self.mean.high) if self.mean else (None, None)

    @property
    def ordered(self) -> str:
        """The share of pairs in the right order, where there are no ties."""
        return f"{text.decimals(50 * (1 - self.mean.tau), 0)}\u00a0%" if self.mean else text.UNKNOWN


def named_metrics(metrics: Sequence[str], default: str) -> list[str]:
    """The metrics that have a colour of their own: the default first, then those of interest,
    or all where they are few.
    """
    wanted = [default, *_FIRST, *(metrics if len(metrics) <= COLOURS else ())]
    return [metric for metric in dict.fromkeys(wanted) if metric in metrics]


def predictors_of(table: Table, study: Study, shown: Sequence[str], default: str) -> list[Predictor]:
    """The held-out error, then the metrics, the best predictor first."""
    taus = {(tau.predictor, tau.image): tau for tau in study.taus}
    lines = []
    for name in table.predictors:
        of_images = [tau for tau in study.taus if tau.predictor == name and tau.image is not None]
        known = [tau.tau for tau in of_images if math.isfinite(tau.tau)]
        mean = taus.get((name, None))
        lines.append(
            Predictor(
                name=name,
                by_default=name == default,
                mean=mean,
                images=len(known),
                plot=_strip(name, mean, known),
                own=[taus.get((name, image)) for image in shown],
            )
        )
    return sorted(lines, key=lambda line: (line.name != HELD_OUT, line.mean.tau if line.mean else math.inf))


_STRIP = Axis(-1, 1, _MARGIN, _STRIP_WIDTH - _MARGIN, [(mark, text.gain(mark)) for mark in _MARKS])


def strip_axis() -> Markup:
    """The axis over the column of intervals."""
    labels = [
        Markup('<text class="x" x="{}" y="14">{}</text>').format(coordinate(_STRIP.at(mark)), text.decimals(mark, 0))
        for mark in (-1, 0, 1)
    ]
    return Markup('<svg class="chart strip" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
        _STRIP_WIDTH, 18, Markup("").join(labels)
    )


def _strip(name: str, mean: Tau | None, of_images: Sequence[float]) -> Markup:
    """The mean as a dot with its interval as a bar, and under it the faint dots of the images."""
    parts = [
        Markup('<line class="{}" x1="{}" x2="{}" y1="0" y2="{}"/>').format(
            "axis" if mark == 0 else "grid", coordinate(_STRIP.at(mark)), coordinate(_STRIP.at(mark)), _STRIP_HEIGHT
        )
        for mark in _MARKS
    ]
    if len(of_images) > 1:
        parts.append(dots([(_STRIP.at(tau), _IMAGES_AT) for tau in of_images], "points"))
    description = "unknown"
    if mean is not None:
        description = text.gain(mean.tau)
        if mean.low is not None and mean.high is not None:
            description += f", 95 % interval {text.gain_interval((mean.low, mean.high))}"
            parts.append(
                Markup('<line class="bar95" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    coordinate(_STRIP.at(mean.low)), coordinate(_STRIP.at(mean.high)), _MEAN_AT, _MEAN_AT
                )
            )
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="4.5"/>').format(coordinate(_STRIP.at(mean.tau)), _MEAN_AT)
        )
    return Markup('<svg class="chart strip c0" viewBox="0 0 {} {}" role="img"><title>{}: {}</title>{}</svg>').format(
        _STRIP_WIDTH, _STRIP_HEIGHT, text.name(name), description, Markup("").join(parts)
    )
