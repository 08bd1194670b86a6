"""Axes: where values lie in a drawing, and the round values next to them as ticks."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from orchestrator.report import text

Span = tuple[float, float, list[tuple[float, str]]]
"""The lower and the upper end of an axis, and its ticks: places and labels."""


@dataclass(frozen=True)
class Axis:
    """A linear axis: values from low to high lie evenly from start to end (drawing units)."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[tuple[float, str]]

    def at(self, value: float) -> float:
        """Where the value lies, in drawing units."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def log_span(low: float, high: float) -> Span:
    """The axis of errors between 10**low and 10**high, a little wider, with the ticks' places as log10."""
    low, high = widened(low, high, at_least=0.08)
    if high - low >= 2.5:
        step = math.ceil((high - low) / 5)
        return low, high, [(float(p), _decade(p)) for p in range(math.ceil(low), math.floor(high) + 1, step)]
    if high - low >= 0.9:
        marks = [m * 10.0**p for p in range(math.floor(low), math.ceil(high) + 1) for m in (1, 2, 5)]
        return low, high, _within(((math.log10(mark), short(mark)) for mark in marks), low, high)
    ticks = [(math.log10(value), label) for value, label in ticks_of(10.0**low, 10.0**high, short)]
    return low, high, _within(ticks, low, high)


def decibel_span(low: float, high: float) -> Span:
    """The axis of PSNRs between low and high dB, a little wider."""
    low, high = widened(low, high, at_least=1.0)
    return low, high, ticks_of(low, high, short)


def widened(low: float, high: float, at_least: float) -> tuple[float, float]:
    """A little space above and below; a constant curve gets an axis of this length around it."""
    missing = max(0.0, at_least - (high - low)) / 2
    air = 0.05 * (high - low) + missing
    return low - air, high + air


def _within(ticks: Iterable[tuple[float, str]], low: float, high: float) -> list[tuple[float, str]]:
    return [(value, label) for value, label in ticks if low <= value <= high]


def ticks_of(
    low: float, high: float, label: Callable[[float, float], str], most: int = 7, least: float = 0.0
) -> list[tuple[float, str]]:
    """Round values from low to high, at most about ``most``: 1, 2 or 5 times a power of ten
    apart, and at least ``least``.
    """
    raw = max((high - low) / most, least)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    whole = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    return [(place * step, label(place * step, step)) for place in whole]


def _decade(power: int) -> str:
    return short(10.0**power)


def short(value: float, step: float | None = None) -> str:
    """A tick's label, with the decimals that distinguish it from its neighbour; a power of ten
    where those would be many.
    """
    if value != 0 and not 1e-4 <= abs(value) < 1e5:
        places = 0 if step is None else max(0, math.floor(math.log10(abs(value))) - math.floor(math.log10(step) + 1e-9))
        return text.powers_of_ten(value, places)
    unit = abs(value) if step is None else step
    places = max(0, -math.floor(math.log10(unit) + 1e-9)) if unit else 0
    return text.decimals(value, places)
