"""Methods: the overall result of each, and how they differ pair by pair."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report import text
from orchestrator.report.columns import Column, Row, Table, table
from orchestrator.report.contents import Page
from orchestrator.report.quality import ARM, by_arm, gain_of
from orchestrator.report.sections import Section

_METHODS = (
    ARM,
    Column("restored", "Restored", "number", text.share, "Images restored, of all", measure=text.lower_end),
    Column(
        "psnr_degraded",
        "before",
        "number",
        text.decibels,
        "Mean PSNR of the degraded pictures, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "psnr", "restored", "number", text.decibels, "Mean PSNR of the restored pictures, dB", "PSNR, dB", optional=True
    ),
    Column("gain", "gain", "number", text.gain, "Mean of restored minus before, dB", "PSNR, dB", optional=True),
    Column(
        "closer",
        "Came closer",
        "number",
        text.share,
        "Pictures that came closer to their reference, of those that have one",
        measure=text.lower_end,
        optional=True,
    ),
    Column(
        "iterations",
        "Iterations",
        "number",
        text.count,
        "Of all fits the method looked at, over all images",
        optional=True,
    ),
    Column(
        "multiply_adds",
        "Multiply-adds",
        "number",
        text.operations,
        "What these iterations cost on any machine: networks and views differ",
        optional=True,
    ),
    Column("seconds", "Time", "number", text.duration, "Of all fits the method looked at, over all images"),
)


_COMPARISON = (
    Column("arm", "Method", "word", str),
    Column("against", "against", "word", str, "The method it is compared with"),
    Column("images", "Images", "number", text.count, "Restored by both"),
    Column("mean", "Mean difference", "number", text.gain, "dB; above 0 the first method is better"),
    Column("standard_error", "Standard error", "number", text.decibels, "Of the mean difference, dB"),
    Column(
        "interval",
        "95 % interval",
        "number",
        text.gain_interval,
        "Where the mean difference over very many such images would lie, by Student's t, dB",
        measure=text.lower_end,
    ),
    Column("better", "Better on", "number", text.share, "Images on which the first is better", measure=text.lower_end),
)


@dataclass(frozen=True)
class _Methods:
    methods: Table
    comparison: Table | None
    measure: str  # the measure of the comparison; empty where there is none


def _fill(page: Page) -> _Methods | None:
    methods, pairs = _methods(page.report.rows), page.report.comparison
    if methods is None:
        return None
    return _Methods(methods, _comparison(pairs), next((str(pair.get("measure")) for pair in pairs), ""))


def _methods(rows: Sequence[Row]) -> Table | None:
    """The overall result of each arm; None where there is only one."""
    arms = by_arm(rows)
    return table(_METHODS, [_on_the_whole(arm, own) for arm, own in arms.items()], {}) if len(arms) > 1 else None


def _on_the_whole(arm: str, rows: Sequence[Row]) -> Row:
    gain = gain_of(rows)
    spent: dict[str, float | None] = {}
    for key in ("iterations", "multiply_adds", "seconds"):
        known = [value for row in rows if (value := text.number(row.get(key))) is not None]
        spent[key] = math.fsum(known) if known else None
    if any(text.number(row.get("multiply_adds")) is None for row in rows if row.get("iterations")):
        spent["multiply_adds"] = None
    return {
        "arm": arm,
        "restored": (sum(row.get("state") == "restored" for row in rows), len(rows)),
        "psnr_degraded": None if gain is None else gain.before,
        "psnr": None if gain is None else gain.after,
        "gain": None if gain is None else gain.after - gain.before,
        "closer": None if gain is None else (gain.better, gain.measured),
        **spent,
    }


def _comparison(pairs: Sequence[Row]) -> Table | None:
    """How the arms differ, pair by pair; None where there is nothing to compare."""
    shown = [
        {
            **pair,
            "interval": (pair.get("low"), pair.get("high")),
            "better": (pair.get("wins"), pair.get("images")),
        }
        for pair in pairs
    ]
    return table(_COMPARISON, shown, {}) if shown else None


SECTION = Section("methods", 20, _fill)
