"""Results as several sections show them: their columns, derived figures, and the gain over many of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.report import text
from orchestrator.report.columns import Column, Row

_STATES = {"paused": "ended by halving"}
"""States of fits whose names a reader would not understand."""


ARM = Column("arm", "Method", "word", str, "Where the networks come from, and how one is chosen")


STATE = Column("state", "State", "state", lambda state: _STATES.get(str(state), str(state)))


BEFORE = Column(
    "psnr_degraded", "before", "number", text.decibels, "PSNR of the degraded picture, dB", "PSNR, dB", optional=True
)


QUALITY = (
    Column("psnr", "restored", "number", text.decibels, "PSNR of the restored picture, dB", "PSNR, dB", optional=True),
    Column("gain", "gain", "number", text.gain, "Restored minus before, dB", "PSNR, dB", optional=True),
    Column("psnr_y", "Y", "number", text.decibels, "PSNR of the brightness alone, dB", "PSNR, dB", optional=True),
    Column(
        "psnr_mean",
        "mean of best",
        "number",
        text.decibels,
        "PSNR of the mean of the best few, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "psnr_stack", "stack", "number", text.decibels, "PSNR of the stack of the fits, dB", "PSNR, dB", optional=True
    ),
    Column(
        "psnr_delivered",
        "delivered",
        "number",
        text.decibels,
        "PSNR of the picture that is delivered: pick, mean, stack or filter, chosen without the reference, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "psnr_classical",
        "filter",
        "number",
        text.decibels,
        "PSNR of the best classical filter's picture, chosen without the reference, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "gain_over_classical",
        "over filter",
        "number",
        text.gain,
        "What the delivered picture gains over the classical filter's, by the reference or else estimated, dB",
        optional=True,
    ),
    Column(
        "psnr_oracle_stop",
        "ideal stop",
        "number",
        text.decibels,
        "The best PSNR of the iterations that hid pixels; the reference shows where, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "psnr_estimated",
        "estimated",
        "number",
        text.interval,
        "PSNR as the hidden pixels estimate it, without a reference, dB",
        "PSNR, dB",
        text.lower_end,
        optional=True,
    ),
    Column(
        "ssim", "SSIM", "number", text.similarity, "Structural similarity to the reference, at most 1", optional=True
    ),
    Column("held_out_error", "error", "number", text.error, "Mean squared error on the held-out pixels", "Held out"),
    Column("stop_iteration", "stopped at", "number", text.count, "Iteration at which the fit was stopped", "Held out"),
)


TIME = Column("seconds", "Time", "number", text.duration)


NETWORK = Column("candidate", "Network", "code", str)


def by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each arm, in their order."""
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(str(row.get("arm")), []).append(row)
    return arms


def derived(row: Row) -> Row:
    """The row, with figures derived from it."""
    before, after = text.number(row.get("psnr_degraded")), text.number(row.get("psnr"))
    return {
        **row,
        "gain": None if before is None or after is None else after - before,
        "psnr_estimated": (row.get("psnr_low"), row.get("psnr_high")),
    }


def _delivered(row: Row) -> float | None:
    """The PSNR of what was delivered; runs of earlier versions deliver the pick."""
    delivered = text.number(row.get("psnr_delivered"))
    return text.number(row.get("psnr")) if delivered is None else delivered


@dataclass(frozen=True)
class Gain:
    """The mean PSNR gain of one arm in dB, over the results that have a reference."""

    before: float
    after: float
    measured: int
    without: int
    better: int


def gain_of(rows: Sequence[Row]) -> Gain | None:
    """The gain of what was delivered over these rows; None where no restored one has a finite PSNR before and after."""
    restored = [row for row in rows if row.get("state") == "restored"]
    pairs = [(text.number(row.get("psnr_degraded")), _delivered(row)) for row in restored]
    # An infinite PSNR (a picture equal to its reference) has no place in a mean.
    known = [(a, b) for a, b in pairs if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]
    if not known:
        return None
    return Gain(
        before=fmean(a for a, _ in known),
        after=fmean(b for _, b in known),
        measured=len(known),
        without=len(restored) - len(known),
        better=sum(b > a for a, b in known),
    )
