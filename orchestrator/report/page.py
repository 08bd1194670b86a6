"""Prepares what the page shows, then fills the template. All wording and number formats of tables are here."""

import base64
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

import jinja2
from markupsafe import Markup

from orchestrator.report import chart, text
from orchestrator.report.chart import Curve

Row = Mapping[str, object]

_PNG = b"\x89PNG\r\n\x1a\n"
_SMALL = 640
"""Pictures up to this many pixels stand beside their numbers, enlarged by a whole factor where one fits."""
_WIDEST, _TALLEST = 1120, 820
"""The room the page has for a picture, in CSS pixels."""

_TONES = {
    "good": ("restored", "finished", "complete", "completed", "done", "succeeded"),
    "doubt": ("rejected", "skipped", "cancelled", "canceled", "interrupted", "stopped", "partial"),
    "bad": ("failed", "error", "lost"),
}


@dataclass(frozen=True)
class ImageReport:
    """One image with its pictures.

    Attributes:
        image: Its relative name; any characters at all.
        rows: Its results, one per arm. The pictures belong to the first restored one.
        degraded: The picture as it came, an 8-bit PNG.
        restored: The blind pick, an 8-bit PNG.
        mean: The mean of the best few candidates, an 8-bit PNG.
        reference: The clean picture, an 8-bit PNG.
        curves: What the fits measured, the full-size ones first.
        cohort: The candidates that were fitted to choose from: candidate, view, held_out_error, stop_iteration, psnr,
            psnr_oracle_stop, state and seconds; None where unknown.
    """

    image: str
    rows: Sequence[Row]
    degraded: bytes | None
    restored: bytes | None
    mean: bytes | None
    reference: bytes | None
    curves: Sequence[Curve]
    cohort: Sequence[Row]


@dataclass(frozen=True)
class RunReport:
    """Everything the page says about a run.

    Attributes:
        run: The run's name.
        state: How it ended, or that it goes on.
        created: When it was started, ISO 8601, UTC.
        seconds: How long it took, None while unknown.
        version: The version of this program that made it.
        settings: The resolved settings, nested.
        rows: All results, one per image and arm: image, arm, state (restored, rejected or failed), reason, candidate,
            stop_iteration, held_out_error (mean squared, [0, 1] scale), psnr_degraded, psnr, psnr_oracle_stop and
            psnr_mean (dB), ssim (at most 1) and seconds; None where unknown.
        images: Those shown with pictures; the caller bounds how many, since each is held in the page.
        left_out: How many images among the rows are not shown with pictures.
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


@dataclass(frozen=True)
class _Column:
    """A column of a table: how its cells are read from a row, and written."""

    key: str
    title: str
    kind: str  # name, state, code, text or number: what the template makes of a cell
    show: Callable[[object], str]
    hint: str = ""
    group: str = ""


@dataclass(frozen=True)
class _Cell:
    kind: str
    text: str
    sort: str  # what the script sorts by; empty for unknown, which always comes last
    href: str = ""
    tone: str = ""


@dataclass(frozen=True)
class _Line:
    cells: Sequence[_Cell]
    picked: bool
    reason: str


@dataclass(frozen=True)
class _Table:
    columns: Sequence[_Column]
    groups: Sequence[tuple[str, int]]  # (title, number of columns); empty when no column is in a group
    rows: Sequence[_Line]


@dataclass(frozen=True)
class _Layer:
    """One picture of the comparison."""

    key: str
    title: str
    caption: str
    alt: str
    uri: str


@dataclass(frozen=True)
class _Pictures:
    """The pictures of an image, all shown at one size: that of the largest."""

    layers: Sequence[_Layer]
    left: str  # the layers first compared
    right: str
    width: int  # in pixels of the picture
    height: int
    shown_width: int  # in CSS pixels, where there is room

    @property
    def enlarged(self) -> bool:
        return self.shown_width > self.width

    @property
    def narrow(self) -> bool:
        return self.shown_width < 500

    @property
    def wide(self) -> bool:
        return self.shown_width > _SMALL


@dataclass(frozen=True)
class _Section:
    """One image as the template needs it."""

    ident: str
    image: str
    state: str
    tone: str
    reason: str
    pictures: _Pictures | None
    headline: tuple[str, str, str] | None  # a figure, its unit, and what it is
    facts: Sequence[tuple[str, str, str]]  # (term, value, kind of value)
    arms: _Table | None
    held_out: Markup | None
    psnr: Markup | None
    legend: Sequence[tuple[str, str, str]]  # (style, label, where it stopped)
    cohort: _Table | None


@dataclass(frozen=True)
class _Gain:
    """The mean PSNR gain of one arm, over the results that have a reference."""

    arm: str
    figure: str
    measured: int
    without: int
    better: int
    before: str
    after: str


@dataclass(frozen=True)
class _Summary:
    counts: Sequence[tuple[str, int, str]]  # (state, how many, tone)
    counted: str  # what is counted: images, or results where images were worked on more than once
    gains: Sequence[_Gain]
    restored: int


_RESULTS = (
    _Column("image", "Image", "name", str),
    _Column("arm", "Method", "text", str, "The way of choosing the network"),
    _Column("state", "State", "state", str),
    _Column("psnr_degraded", "before", "number", text.decibels, "PSNR of the degraded picture, dB", "PSNR, dB"),
    _Column("psnr", "restored", "number", text.decibels, "PSNR of the restored picture, dB", "PSNR, dB"),
    _Column("gain", "gain", "number", text.gain, "Restored minus before, dB", "PSNR, dB"),
    _Column("psnr_mean", "mean of best", "number", text.decibels, "PSNR of the mean of the best few, dB", "PSNR, dB"),
    _Column(
        "psnr_oracle_stop",
        "ideal stop",
        "number",
        text.decibels,
        "PSNR had the fit been stopped by looking at the reference, dB",
        "PSNR, dB",
    ),
    _Column("ssim", "SSIM", "number", text.similarity, "Structural similarity to the reference, at most 1"),
    _Column("held_out_error", "error", "number", text.error, "Mean squared error on the held-out pixels", "Held out"),
    _Column("stop_iteration", "stopped at", "number", text.count, "Iteration at which the fit was stopped", "Held out"),
    _Column("seconds", "Time", "number", text.duration),
    _Column("candidate", "Network", "code", str),
)
_NEEDS_REFERENCE = frozenset({"psnr_degraded", "psnr", "gain", "psnr_mean", "psnr_oracle_stop", "ssim"})
"""These columns are left out of a table where all their cells would be empty."""

_COHORT = (
    _Column("candidate", "Network", "code", str),
    _Column("view", "View", "text", str, "What the candidate was fitted to"),
    _Column("state", "State", "state", str),
    _Column("held_out_error", "Held-out error", "number", text.error, "Mean squared error on the held-out pixels"),
    _Column("stop_iteration", "Stopped at", "number", text.count, "Iteration at which the fit was stopped"),
    _Column("psnr", "PSNR, dB", "number", text.decibels, "PSNR where the fit was stopped, dB"),
    _Column("psnr_oracle_stop", "Ideal stop, dB", "number", text.decibels, "Best PSNR of the whole fit, dB"),
    _Column("seconds", "Time", "number", text.duration),
)

_GUIDE = (
    (
        "PSNR",
        True,
        "How close a picture is to the reference, in decibels. Higher is better; 1 dB more is about a fifth less "
        "squared error, 3 dB more is half. The gain is what the restoration added.",
    ),
    (
        "SSIM",
        True,
        "How alike the local structure of the picture and the reference is: 1 is identical, 0 is unrelated.",
    ),
    (
        "Held-out error",
        False,
        "Some pixels are hidden from the network while it is fitted. This is its mean squared error on those pixels, "
        "on a scale where black is 0 and white is 1. Lower is better. It needs no reference, holds some of the noise "
        "of the picture itself, and may be compared only within one image.",
    ),
    (
        "Stopped at",
        False,
        "A network fitted for too long copies the noise as well. The fit is stopped where the held-out error was "
        "least; this is the number of steps it had made by then.",
    ),
    (
        "Ideal stop",
        True,
        "The best PSNR the same fit reached at any moment. Only the reference can tell that moment, so the difference "
        "to the restored PSNR is the price of stopping blindly.",
    ),
    (
        "Mean of best",
        True,
        "The average of the pictures from the best few networks. It is often smoother, and often closer to the "
        "reference, than any single one.",
    ),
    (
        "Network",
        False,
        "The shape of the network that was picked. The pick is made blindly, and the "
        "reference, where there is one, is never looked at.",
    ),
)


def render(report: RunReport) -> str:
    """The page as one HTML document that asks nothing of any network: pictures, style and script are in it.

    Raises:
        ValueError: A picture is not a PNG.
    """
    sections = [_section(shown, f"image-{place}") for place, shown in enumerate(report.images, start=1)]
    anchors = {section.image: section.ident for section in sections}
    referenced = any(text.number(row.get("psnr")) is not None for row in report.rows)
    template = _environment().get_template("page.html.j2")
    return template.render(
        report=report,
        tone=_tone(report.state),
        when=text.when(report.created),
        took=None if report.seconds is None else text.duration(report.seconds),
        summary=_summary(report.rows),
        referenced=referenced,
        results=_table(_RESULTS, [_with_gain(row) for row in report.rows], anchors=anchors),
        guide=[(term, said) for term, needs_reference, said in _GUIDE if referenced or not needs_reference],
        sections=sections,
        settings=_grouped(report.settings),
    )


def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["name"] = text.name
    found.filters["breakable"] = _breakable
    return found


def _shown(value: object) -> object:
    """Every value the template writes passes here: none becomes a dash, and no text can break the encoding."""
    if value is None:
        return text.UNKNOWN
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _breakable(value: str) -> Markup:
    """A file name that may be broken where its parts end, rather than anywhere."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_.-])(?=\w)", text.name(value)))


def _tone(state: object) -> str:
    wanted = str(state).lower()
    return next((tone for tone, states in _TONES.items() if wanted in states), "plain")


def _with_gain(row: Row) -> Row:
    before, after = text.number(row.get("psnr_degraded")), text.number(row.get("psnr"))
    return {**row, "gain": None if before is None or after is None else after - before}


def _summary(rows: Sequence[Row]) -> _Summary:
    states = [str(row.get("state")) for row in rows]
    # The three states a result can have are always told; any other only if it is there.
    wanted = dict.fromkeys(["restored", "rejected", "failed", *states])
    arms = dict.fromkeys(str(row.get("arm")) for row in rows)
    many = len({str(row.get("image")) for row in rows}) < len(rows)
    return _Summary(
        counts=[(state, states.count(state), _tone(state)) for state in wanted],
        counted="results" if many else "images",
        gains=[gain for arm in arms if (gain := _gain(arm, [row for row in rows if str(row.get("arm")) == arm]))],
        restored=states.count("restored"),
    )


def _gain(arm: str, rows: Sequence[Row]) -> _Gain | None:
    restored = [row for row in rows if row.get("state") == "restored"]
    pairs = [(text.number(row.get("psnr_degraded")), text.number(row.get("psnr"))) for row in restored]
    # An infinite PSNR (a picture equal to its reference) has no place in a mean.
    known = [(a, b) for a, b in pairs if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]
    if not known:
        return None
    return _Gain(
        arm=arm,
        figure=text.gain(fmean(b - a for a, b in known)),
        measured=len(known),
        without=len(restored) - len(known),
        better=sum(b > a for a, b in known),
        before=text.decibels(fmean(a for a, _ in known)),
        after=text.decibels(fmean(b for _, b in known)),
    )


def _table(columns: Sequence[_Column], rows: Sequence[Row], anchors: Mapping[str, str], pick: object = None) -> _Table:
    """A table of rows; columns that need a reference go where no row has one.

    Args:
        columns: All columns there could be.
        rows: What to tell, in this order.
        anchors: The ids of the sections to link the names of images to.
        pick: The candidate that was picked; its rows are marked.
    """
    kept = [
        column
        for column in columns
        if column.key not in _NEEDS_REFERENCE or any(text.number(row.get(column.key)) is not None for row in rows)
    ]
    groups = [(title, len(list(members))) for title, members in groupby(kept, key=lambda column: column.group)]
    return _Table(
        columns=kept,
        groups=groups if any(title for title, _ in groups) else (),
        rows=[
            _Line(
                cells=[_cell(column, row, anchors) for column in kept],
                picked=pick is not None and row.get("candidate") == pick,
                reason=str(row.get("reason") or ""),
            )
            for row in rows
        ],
    )


def _cell(column: _Column, row: Row, anchors: Mapping[str, str]) -> _Cell:
    value = row.get(column.key)
    if column.kind == "number":
        return _Cell("number", column.show(value), _sort_key(text.number(value)))
    shown = text.UNKNOWN if value is None else str(value)
    return _Cell(
        column.kind,
        shown,
        "" if value is None else text.name(shown),
        href=anchors.get(shown, "") if column.kind == "name" else "",
        tone=_tone(value) if column.kind == "state" else "",
    )


def _sort_key(value: float | None) -> str:
    """The number as JavaScript's Number() reads it."""
    if value is None:
        return ""
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _section(shown: ImageReport, ident: str) -> _Section:
    rows = [_with_gain(row) for row in shown.rows]
    # The pictures are those of the first method that worked; with none, the first tells what went wrong.
    row = next((row for row in rows if row.get("state") == "restored"), rows[0] if rows else {})
    state = "" if row.get("state") is None else str(row["state"])
    return _Section(
        ident=ident,
        image=shown.image,
        state=state,
        tone=_tone(state),
        reason=str(row.get("reason") or ""),
        pictures=_pictures(shown, row),
        headline=_headline(row),
        facts=_facts(row),
        arms=_table(_RESULTS[1:], rows, {}) if len(rows) > 1 else None,
        held_out=chart.held_out_chart(shown.curves, f"{ident}-held-out"),
        psnr=chart.psnr_chart(shown.curves, f"{ident}-psnr"),
        legend=[
            (chart.style_of(place), curve.label, text.count(curve.stop_iteration))
            for place, curve in enumerate(shown.curves)
        ],
        cohort=_table(_COHORT, shown.cohort, {}, pick=row.get("candidate")) if shown.cohort else None,
    )


def _headline(row: Row) -> tuple[str, str, str] | None:
    before, after = text.decibels(row.get("psnr_degraded")), text.decibels(row.get("psnr"))
    if text.number(row.get("gain")) is not None:
        return text.gain(row["gain"]), "dB", f"PSNR gained: from {before} to {after} dB"
    if text.number(row.get("psnr")) is not None:
        return after, "dB", "PSNR of the restored picture"
    if text.number(row.get("held_out_error")) is not None:
        return text.error(row["held_out_error"]), "", "held-out error; lower is better, within this image"
    return None


def _facts(row: Row) -> list[tuple[str, str, str]]:
    """What is known of the result, beyond the headline."""
    known = [
        ("SSIM", "ssim", text.similarity, ""),
        ("PSNR at the ideal stop", "psnr_oracle_stop", text.decibels, " dB"),
        ("PSNR of the mean of the best few", "psnr_mean", text.decibels, " dB"),
        ("Held-out error", "held_out_error", text.error, ""),
        ("Stopped at iteration", "stop_iteration", text.count, ""),
        ("Time", "seconds", text.duration, ""),
    ]
    facts = [
        (term, f"{show(row[key])}{unit}", "number")
        for term, key, show, unit in known
        # Without a PSNR the held-out error is the headline already.
        if text.number(row.get(key)) is not None
        and (key != "held_out_error" or text.number(row.get("psnr")) is not None)
    ]
    words = [("Method", "arm", "text"), ("Network", "candidate", "code")]
    return facts + [(term, str(row[key]), kind) for term, key, kind in words if row.get(key) is not None]


def _pictures(shown: ImageReport, row: Row) -> _Pictures | None:
    offered = [
        ("degraded", "Degraded", shown.degraded, row.get("psnr_degraded")),
        ("restored", "Restored", shown.restored, row.get("psnr")),
        ("mean", "Mean of the best few", shown.mean, row.get("psnr_mean")),
        ("reference", "Reference", shown.reference, None),
    ]
    given = [(key, title, png, psnr) for key, title, png, psnr in offered if png is not None]
    if not given:
        return None
    sizes = [_size(png, shown.image) for _, _, png, _ in given]
    width, height = max(width for width, _ in sizes), max(height for _, height in sizes)
    layers = [
        _Layer(
            key=key,
            title=title,
            caption=title if text.number(psnr) is None else f"{title} · {text.decibels(psnr)} dB",
            alt=f"{title}: {text.name(shown.image)}",
            uri=f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}",
        )
        for key, title, png, psnr in given
    ]
    keys = [layer.key for layer in layers]
    right = "restored" if "restored" in keys[1:] else keys[-1]
    return _Pictures(layers, keys[0], right, width, height, _shown_width(width, height))


def _size(png: bytes, image: str) -> tuple[int, int]:
    """Width and height in pixels, from the header every PNG starts with."""
    if len(png) < 24 or not png.startswith(_PNG):
        raise ValueError(f"a picture of {text.name(image)!r} is not a PNG: give the report 8-bit PNG bytes")
    width, height = struct.unpack(">II", png[16:24])
    if not width or not height:
        raise ValueError(f"a picture of {text.name(image)!r} has no pixels")
    return int(width), int(height)


def _shown_width(width: int, height: int) -> int:
    """The width in CSS pixels: a whole factor for small pictures, so that each pixel stays a square."""
    factor = min(_SMALL // width, _SMALL // height)
    if factor >= 1:
        return factor * width
    # A tall picture is made to fit a screen, but never so narrow that the divider cannot be held.
    return min(width, _WIDEST, max(round(_TALLEST * width / height), 320))


def _grouped(settings: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The settings by their first name, each with the dotted rest of its name and its value as YAML would have it."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, value in _flat(settings):
        top, rest = (path[0], ".".join(path[1:])) if len(path) > 1 else ("", path[0])
        groups.setdefault(top, []).append((rest, _written(value)))
    return sorted(groups.items(), key=lambda group: group[0] != "")


def _flat(settings: Mapping[str, object], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in settings.items():
        path = (*before, str(key))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        else:
            yield path, value


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
