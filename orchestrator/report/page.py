"""Prepares what the page shows, then fills the template. All wording and number formats of tables are here."""

import json
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean

import jinja2
from markupsafe import Markup

from orchestrator.report import chart, text
from orchestrator.report.chart import Curve
from orchestrator.report.lottery import LotteryReport, lottery_section
from orchestrator.report.pictures import data_uri, size_of
from orchestrator.report.table import Column, Row, Table, table, tone_of

_SMALL = 640
"""Pictures up to this many pixels stand beside their numbers, enlarged by a whole factor where one fits."""
_WIDEST, _TALLEST = 1120, 820
"""The room the page has for a picture, in CSS pixels."""

_KINDS = (
    ("restored", "Restored", "", "psnr"),
    ("mean", "Mean of the best few", "Mean: ", "psnr_mean"),
    ("spread", "Spread map", "Spread: ", ""),
)
"""Pictures that an arm makes: the field, what it is called, how that is put before an arm's name, and its PSNR."""
_FEW_PICTURES = 5
"""Beyond these, pictures side by side are small."""


@dataclass(frozen=True)
class ArmPictures:
    """What one arm made of an image, as 8-bit PNGs; None where there is no such picture.

    Attributes:
        arm: Its name.
        restored: The blind pick.
        mean: The mean of the best few candidates.
        spread: Where those disagree, from black (not at all) to white (the most of this picture).
    """

    arm: str
    restored: bytes | None
    mean: bytes | None
    spread: bytes | None


@dataclass(frozen=True)
class ImageReport:
    """One image with its pictures.

    Attributes:
        image: Its relative name; any characters at all.
        rows: Its results, one per arm. What is told beside the pictures is that of the first restored one.
        degraded: The picture as it came (enlarged, if the restored one is larger), an 8-bit PNG.
        reference: The clean picture, an 8-bit PNG.
        arms: What each arm made of it.
        curves: What the fits measured, those of the picks first.
        cohort: The fits, those at full size first: candidate, view, state (done, paused where halving ended it, or failed),
            reason, held_out_error, stop_iteration, iterations, residual_correlation, psnr, psnr_oracle_stop, parameters,
            seconds, and tried_by, the names of the arms that had the candidate in their cohort; None where unknown.
    """

    image: str
    rows: Sequence[Row]
    degraded: bytes | None
    reference: bytes | None
    arms: Sequence[ArmPictures]
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
        rows: All results, one per image and arm, as `orchestrator.run.rows.Row` names them; None where unknown.
        images: Those shown with pictures; the caller bounds how many, since each is held in the page.
        left_out: How many images among the rows are not shown with pictures.
        comparison: How each pair of arms differs over all images, as `orchestrator.figures.comparison.Difference` names it.
        lottery: What there is to say of lottery tickets; None where none were drawn.
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
    lottery: LotteryReport | None = None


@dataclass(frozen=True)
class _Layer:
    """One picture of the comparison."""

    key: str
    group: str  # the heading it is offered under; empty for what stands alone
    caption: str
    alt: str
    uri: str
    width: int  # in pixels of the picture
    height: int


@dataclass(frozen=True)
class _Pictures:
    """The pictures of an image, all shown at one size: that of the largest."""

    layers: Sequence[_Layer]
    groups: Sequence[tuple[str, Sequence[_Layer]]]
    left: str  # the layers first compared
    right: str
    width: int  # in pixels of the picture
    height: int
    shown_width: int  # in CSS pixels, where there is room

    @property
    def enlarged(self) -> bool:
        return self.shown_width > self.width

    @property
    def many(self) -> bool:
        return len(self.layers) > _FEW_PICTURES

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
    arms: Table | None
    notes: Sequence[tuple[str, str]]  # (the arms it concerns; empty where there is only one, what it says)
    held_out: Markup | None
    psnr: Markup | None
    steady: bool  # whether the fit of the first picture was stopped by the variance of its outputs
    legend: Sequence[tuple[str, str, str]]  # (style, label, what became of it)
    others: int  # curves that are drawn without a name
    cohort: Table | None


@dataclass(frozen=True)
class _Gain:
    """The mean PSNR gain of one arm in dB, over the results that have a reference."""

    before: float
    after: float
    measured: int
    without: int
    better: int


@dataclass(frozen=True)
class _Summary:
    counts: Sequence[tuple[str, int, str]]  # (state, how many images, tone)
    partly: int  # images that some arms restored and others did not
    arms: int
    gain: _Gain | None  # of the only arm
    restored: int


_STATES = {"paused": "ended by halving"}
"""States of fits that a reader would not understand as they are called."""


def _names(value: object) -> list[str]:
    return [str(name) for name in value] if isinstance(value, Sequence) else []


def _listed(names: object) -> str:
    return ", ".join(_names(names)) or text.UNKNOWN


_IMAGE = Column("image", "Image", "name", str)
_ARM = Column("arm", "Method", "word", str, "Where the networks come from, and how one is chosen")
_STATE = Column("state", "State", "state", lambda state: _STATES.get(str(state), str(state)))
_BEFORE = Column(
    "psnr_degraded", "before", "number", text.decibels, "PSNR of the degraded picture, dB", "PSNR, dB", optional=True
)
_QUALITY = (
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
        "psnr_oracle_stop",
        "ideal stop",
        "number",
        text.decibels,
        "PSNR had the fit been stopped by looking at the reference, dB",
        "PSNR, dB",
        optional=True,
    ),
    Column(
        "psnr_estimated",
        "estimated",
        "number",
        text.interval,
        "PSNR as the hidden pixels tell it, without a reference, dB",
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
_TIME = Column("seconds", "Time", "number", text.duration)
_NETWORK = Column("candidate", "Network", "code", str)
_RULES = (
    Column("rule", "Chosen by", "word", str, "The rule that chose the network"),
    Column("stopping", "Stopped by", "word", str, "The rule that stopped the fit"),
    Column("iterations", "Iterations", "number", text.count, "Of all fits the method looked at", optional=True),
)

_RESULTS = (_IMAGE, _ARM, _STATE, _BEFORE, *_QUALITY, _TIME, _NETWORK)
_ARMS = (_ARM, _STATE, *_QUALITY, *_RULES, _TIME, _NETWORK)
_METHODS = (
    _ARM,
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

_COHORT = (
    _NETWORK,
    Column("view", "View", "text", str, "What the network was fitted to"),
    _STATE,
    Column("held_out_error", "Held-out error", "number", text.error, "Mean squared error on the held-out pixels"),
    Column("stop_iteration", "Stopped at", "number", text.count, "Iteration at which the fit was stopped"),
    Column("iterations", "Iterations", "number", text.count, "How many were computed", optional=True),
    Column(
        "residual_correlation",
        "Residual correlation",
        "number",
        text.correlation,
        "Of neighbouring pixels in what the fit left unexplained: near 0 where the noise is independent",
        optional=True,
    ),
    Column("psnr", "PSNR, dB", "number", text.decibels, "PSNR where the fit was stopped, dB", optional=True),
    Column(
        "psnr_oracle_stop", "Ideal stop, dB", "number", text.decibels, "Best PSNR of the whole fit, dB", optional=True
    ),
    Column("parameters", "Parameters", "number", text.count, "Numbers that the fit adjusts", optional=True),
    _TIME,
    Column("tried_by", "Tried by", "names", _listed, "The methods that had the network in their cohort"),
)
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
        "What the hidden pixels say of the PSNR, without any reference: with 95 % confidence it lies between these two "
        "figures. Of a noisy picture it is told for pixels the network has not seen, and rather higher for the whole. "
        "There is a dash where too little is known to tell it within 1 dB.",
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
        "The best PSNR the same fit reached at any moment. Only the reference can tell that moment, so the difference "
        "to the restored PSNR is the price of stopping blindly.",
    ),
    (
        "Mean of best",
        "mean",
        "The average of the pictures from the best few networks. It is often smoother, and often closer to the "
        "reference, than any single one.",
    ),
    (
        "Spread map",
        "spread",
        "Where the best few networks disagree: black where all say the same, brightest where they differ most. Trust "
        "the bright places least. Each map has its own scale, so the brightness of two maps cannot be compared.",
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
        "How the network was picked: by the least held-out error, by consensus (closest to what most networks "
        "say), by both together, or as the closest to the networks' weighted mean.",
    ),
    (
        "Notes",
        "note",
        "Where a picture was not stopped and chosen as the settings ask, a note beside it says why.",
    ),
)


def render(report: RunReport) -> str:
    """The page as one HTML document that asks nothing of any network: pictures, style and script are in it.

    Raises:
        ValueError: A picture is not a PNG.
    """
    not_blind = {str(row.get("arm")): None for row in report.rows if not row.get("blind", True)}
    report = _marked(report, not_blind)
    sections = [_section(shown, f"image-{place}") for place, shown in enumerate(report.images, start=1)]
    anchors = {section.image: section.ident for section in sections}
    known = _known(report)
    template = environment().get_template("page.html.j2")
    return template.render(
        report=report,
        tone=tone_of(report.state),
        when=text.when(report.created),
        took=None if report.seconds is None else text.duration(report.seconds),
        summary=_summary(report.rows),
        known=known,
        text=text,
        methods=_methods(report.rows),
        comparison=_comparison(report.comparison),
        measure=next((str(pair.get("measure")) for pair in report.comparison), ""),
        results=_results(report.rows, anchors),
        guide=[(term, said) for term, needed, said in _GUIDE if not needed or needed in known],
        sections=sections,
        lottery=None if report.lottery is None else lottery_section(report.lottery),
        not_blind=list(not_blind),
        settings=grouped(report.settings),
    )


def environment() -> jinja2.Environment:
    """Templates beside this module, escaped by default."""
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


def _marked(report: RunReport, not_blind: Collection[str]) -> RunReport:
    """The report with a mark on the names of these arms, wherever they stand."""
    if not not_blind:
        return report

    def called(arm: object) -> str:
        return text.method(str(arm), blind=arm not in not_blind)

    def rows(told: Sequence[Row]) -> list[Row]:
        return [{**row, **{key: called(row[key]) for key in ("arm", "against") if key in row}} for row in told]

    def image(shown: ImageReport) -> ImageReport:
        return replace(
            shown,
            rows=rows(shown.rows),
            arms=[replace(made, arm=called(made.arm)) for made in shown.arms],
            curves=[replace(curve, picked_by=[called(arm) for arm in curve.picked_by]) for curve in shown.curves],
            cohort=[{**fit, "tried_by": [called(arm) for arm in _names(fit.get("tried_by"))]} for fit in shown.cohort],
        )

    return replace(
        report,
        rows=rows(report.rows),
        images=[image(shown) for shown in report.images],
        comparison=rows(report.comparison),
    )


def _breakable(value: str) -> Markup:
    """A file name that may be broken where its parts end, rather than anywhere."""
    return Markup("<wbr>").join(re.split(r"(?<=[/_.-])(?=\w)", text.name(value)))


def _known(report: RunReport) -> set[str]:
    """What some row tells, and which pictures there are: of what is nowhere, the guide says nothing."""
    told = {key for row in report.rows for key, value in row.items() if value is not None}
    made = [pictures for shown in report.images for pictures in shown.arms]
    means = {"mean"} if "psnr_mean" in told or any(pictures.mean for pictures in made) else set()
    return told | means | ({"spread"} if any(pictures.spread for pictures in made) else set())


def _derived(row: Row) -> Row:
    """The row, with what follows from it."""
    before, after = text.number(row.get("psnr_degraded")), text.number(row.get("psnr"))
    return {
        **row,
        "gain": None if before is None or after is None else after - before,
        "psnr_estimated": (row.get("psnr_low"), row.get("psnr_high")),
    }


def _by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    arms: dict[str, list[Row]] = {}
    for row in rows:
        arms.setdefault(str(row.get("arm")), []).append(row)
    return arms


def _summary(rows: Sequence[Row]) -> _Summary:
    by_image: dict[str, set[str]] = {}
    for row in rows:
        by_image.setdefault(str(row.get("image")), set()).add(str(row.get("state")))
    # An image that one arm restored is a restored image; one that none did counts as the worst of its states.
    order = ["restored", "failed", "rejected"]
    states = [next((state for state in order if state in found), min(found)) for found in by_image.values()]
    arms = _by_arm(rows)
    return _Summary(
        # The three states a result can have are always told; any other only if it is there.
        counts=[
            (state, states.count(state), tone_of(state))
            for state in dict.fromkeys(["restored", "rejected", "failed", *states])
        ],
        partly=sum("restored" in found and len(found) > 1 for found in by_image.values()),
        arms=len(arms),
        gain=_gain(rows) if len(arms) == 1 else None,
        restored=states.count("restored"),
    )


def _gain(rows: Sequence[Row]) -> _Gain | None:
    restored = [row for row in rows if row.get("state") == "restored"]
    pairs = [(text.number(row.get("psnr_degraded")), text.number(row.get("psnr"))) for row in restored]
    # An infinite PSNR (a picture equal to its reference) has no place in a mean.
    known = [(a, b) for a, b in pairs if a is not None and b is not None and math.isfinite(a) and math.isfinite(b)]
    if not known:
        return None
    return _Gain(
        before=fmean(a for a, _ in known),
        after=fmean(b for _, b in known),
        measured=len(known),
        without=len(restored) - len(known),
        better=sum(b > a for a, b in known),
    )


def _methods(rows: Sequence[Row]) -> Table | None:
    """What each arm came to on the whole; None where there is only one."""
    arms = _by_arm(rows)
    return table(_METHODS, [_on_the_whole(arm, own) for arm, own in arms.items()], {}) if len(arms) > 1 else None


def _on_the_whole(arm: str, rows: Sequence[Row]) -> Row:
    gain = _gain(rows)
    spent: dict[str, float | None] = {}
    for key in ("iterations", "seconds"):
        known = [value for row in rows if (value := text.number(row.get(key))) is not None]
        spent[key] = math.fsum(known) if known else None
    return {
        "arm": arm,
        "restored": (sum(row.get("state") == "restored" for row in rows), len(rows)),
        "psnr_degraded": None if gain is None else gain.before,
        "psnr": None if gain is None else gain.after,
        "gain": None if gain is None else gain.after - gain.before,
        "closer": None if gain is None else (gain.better, gain.measured),
        **spent,
    }


def _results(rows: Sequence[Row], anchors: Mapping[str, str]) -> Table:
    many = len(_by_arm(rows)) > 1
    columns = [column for column in _RESULTS if many or column is not _ARM]
    told: list[Row] = []
    for _, group in groupby(rows, key=lambda row: row.get("image")):
        own = list(group)
        same = len(own) > 1 and all({**row, "arm": ""} == {**own[0], "arm": ""} for row in own)
        # An image that could not be worked on ended alike for all methods: that is said once.
        told += [{**own[0], "arm": "every method"}] if same and own[0].get("state") != "restored" else own
    return table(columns, [_derived(row) for row in told], anchors)


def _comparison(pairs: Sequence[Row]) -> Table | None:
    """How the arms differ, pair by pair; None where there is nothing to compare."""
    told = [
        {
            **pair,
            "interval": (pair.get("low"), pair.get("high")),
            "better": (pair.get("wins"), pair.get("images")),
        }
        for pair in pairs
    ]
    return table(_COMPARISON, told, {}) if told else None


def _section(shown: ImageReport, ident: str) -> _Section:
    rows = [_derived(row) for row in shown.rows]
    many = len(rows) > 1
    # What is told is that of the first method that worked; with none, the first tells what went wrong.
    row = next((row for row in rows if row.get("state") == "restored"), rows[0] if rows else {})
    state = "" if row.get("state") is None else str(row["state"])
    curves = list(zip(chart.styles_of(shown.curves), shown.curves, strict=True))
    named = [(style, curve) for style, curve in curves if style != chart.OTHER]
    return _Section(
        ident=ident,
        image=shown.image,
        state=state,
        tone=tone_of(state),
        reason=str(row.get("reason") or ""),
        pictures=_pictures(shown, rows, row),
        headline=_headline(row),
        facts=_facts(row, many=many),
        arms=_arms(rows) if many else None,
        notes=_notes(rows),
        held_out=chart.held_out_chart(shown.curves, f"{ident}-held-out"),
        psnr=chart.psnr_chart(shown.curves, f"{ident}-psnr"),
        steady=str(row.get("stopping")).startswith("es-"),
        legend=[(style, curve.label, _became(curve, many=many)) for style, curve in named],
        others=len(curves) - len(named),
        cohort=_cohort(shown.cohort, rows) if shown.cohort else None,
    )


def _arms(rows: Sequence[Row]) -> Table:
    # Where every method worked there is no need to say so.
    wholly = all(row.get("state") == "restored" for row in rows)
    return table([column for column in _ARMS if not (wholly and column is _STATE)], rows, {})


def _became(curve: Curve, *, many: bool) -> str:
    stopped = f"stopped at {text.count(curve.stop_iteration)}"
    return f"{stopped}, {_picked_by(curve.picked_by, many=many)}" if curve.picked_by else stopped


def _picked_by(arms: Sequence[str], *, many: bool) -> str:
    return f"picked by {', '.join(arms)}" if many else "picked"


def _cohort(fits: Sequence[Row], rows: Sequence[Row]) -> Table:
    many = len(rows) > 1
    picks = _by_value(rows, "candidate")

    def picked(fit: Row) -> str:
        # The fit at full size is the result; what one arm chose by its crop may be in another's cohort as well.
        arms = picks.get(fit.get("candidate"), []) if fit.get("view") == "full" else []
        return _picked_by(arms, many=many) if arms else ""

    columns = [column for column in _COHORT if many or column.key != "tried_by"]
    return table(columns, fits, {}, picked)


def _notes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What is to be noted of the results, each note once."""
    notes = _by_value(rows, "note")
    return [(", ".join(arms) if len(rows) > 1 else "", str(note)) for note, arms in notes.items()]


def _by_value(rows: Sequence[Row], key: str) -> dict[object, list[str]]:
    """The arms that have the same, by what they have."""
    found: dict[object, list[str]] = {}
    for row in rows:
        if row.get(key):
            found.setdefault(row[key], []).append(str(row.get("arm")))
    return found


def _headline(row: Row) -> tuple[str, str, str] | None:
    before, after = text.decibels(row.get("psnr_degraded")), text.decibels(row.get("psnr"))
    if text.number(row.get("gain")) is not None:
        return text.gain(row["gain"]), "dB", f"PSNR gained: from {before} to {after} dB"
    if text.number(row.get("psnr")) is not None:
        return after, "dB", "PSNR of the restored picture"
    if text.lower_end(row.get("psnr_estimated")) is not None:
        return text.interval(row["psnr_estimated"]), "dB", "estimated PSNR, without a reference"
    if text.number(row.get("held_out_error")) is not None:
        return text.error(row["held_out_error"]), "", "held-out error; lower is better, within this image"
    return None


def _facts(row: Row, *, many: bool) -> list[tuple[str, str, str]]:
    """What is known of the result, beyond the headline."""
    measured = text.number(row.get("psnr")) is not None
    estimated = text.lower_end(row.get("psnr_estimated")) is not None
    # Without a PSNR one of these is the headline already.
    said = "" if measured else "psnr_estimated" if estimated else "held_out_error"
    known: list[tuple[str, str, Callable[[object], str], str]] = [
        ("SSIM", "ssim", text.similarity, ""),
        ("PSNR Y", "psnr_y", text.decibels, " dB"),
        ("PSNR at the ideal stop", "psnr_oracle_stop", text.decibels, " dB"),
        ("PSNR of the mean of the best few", "psnr_mean", text.decibels, " dB"),
        ("Estimated PSNR", "psnr_estimated", text.interval, " dB"),
        ("Held-out error", "held_out_error", text.error, ""),
        ("Stopped at iteration", "stop_iteration", text.count, ""),
        ("Time", "seconds", text.duration, ""),
    ]
    facts = [
        (term, f"{show(row.get(key))}{unit}", "number")
        for term, key, show, unit in known
        if key != said and show(row.get(key)) != text.UNKNOWN
    ]
    method = [("Method", "arm", "text")]
    words = [("Chosen by", "rule", "text"), ("Stopped by", "stopping", "text"), ("Network", "candidate", "code")]
    told = [(term, str(row[key]), kind) for term, key, kind in [*method, *words] if row.get(key) is not None]
    # Among several methods it is the first thing to know whose figures these are.
    return [*told[:1], *facts, *told[1:]] if many else [*facts, *told]


def _pictures(shown: ImageReport, rows: Sequence[Row], row: Row) -> _Pictures | None:
    before = text.number(row.get("psnr_degraded"))
    layers = [
        *_layer("degraded", shown.degraded, shown.image, title="Degraded", psnr=before),
        *_made_layers(shown, rows),
        *_layer("reference", shown.reference, shown.image, title="Reference"),
    ]
    if not layers:
        return None
    keys = [layer.key for layer in layers]
    right = "restored-1" if "restored-1" in keys[1:] else keys[-1]
    groups = [(group, list(members)) for group, members in groupby(layers, key=lambda layer: layer.group)]
    width, height = max(layer.width for layer in layers), max(layer.height for layer in layers)
    return _Pictures(layers, groups, keys[0], right, width, height, _shown_width(width, height))


def _made_layers(shown: ImageReport, rows: Sequence[Row]) -> Iterator[_Layer]:
    """What the arms made, by kind. Arms that chose the same network have the same picture: it is offered once."""
    results = {str(row.get("arm")): row for row in rows}
    for what, title, short, key in _KINDS:
        by_png: dict[bytes, list[str]] = {}
        for pictures in shown.arms:
            png: bytes | None = getattr(pictures, what)
            if png is not None:
                by_png.setdefault(png, []).append(pictures.arm)
        for place, (png, arms) in enumerate(by_png.items(), start=1):
            name = {"title": title}
            if len(rows) > 1:
                names = ", ".join(arms)
                name = {"title": f"{title}, {names}", "short": short + names, "group": title}
            psnr = text.number(results.get(arms[0], {}).get(key))
            yield from _layer(f"{what}-{place}", png, shown.image, psnr=psnr, **name)


def _layer(
    key: str, png: bytes | None, image: str, *, title: str, short: str = "", group: str = "", psnr: float | None = None
) -> Iterator[_Layer]:
    """The picture, if there is one; ``short`` is its title where there is little room."""
    if png is None:
        return
    width, height = size_of(png, image)
    caption = short or title
    yield _Layer(
        key=key,
        group=group,
        caption=caption if psnr is None else f"{caption} · {text.decibels(psnr)} dB",
        alt=f"{title}: {text.name(image)}",
        uri=data_uri(png),
        width=width,
        height=height,
    )


def _shown_width(width: int, height: int) -> int:
    """The width in CSS pixels: a whole factor for small pictures, so that each pixel stays a square."""
    factor = min(_SMALL // width, _SMALL // height)
    if factor >= 1:
        return factor * width
    # A tall picture is made to fit a screen, but never so narrow that the divider cannot be held.
    return min(width, _WIDEST, max(round(_TALLEST * width / height), 320))


def grouped(settings: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
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
