"""Images, one by one: their pictures, figures, curves and candidates."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orchestrator.report import text
from orchestrator.report.columns import Column, Row, Table, names_in, table, tone_of
from orchestrator.report.contents import ImageReport, Page, identified
from orchestrator.report.facts import facts_of, headline_of
from orchestrator.report.pictures import Pictures, pictures_of
from orchestrator.report.quality import ARM, NETWORK, QUALITY, STATE, TIME, derived
from orchestrator.report.sections import Section
from orchestrator.report.svg.curves import Curve, held_out_chart, psnr_chart, styles_of
from orchestrator.report.svg.drawing import OTHER


@dataclass(frozen=True)
class _Image:
    """One image as the template needs it."""

    ident: str
    name: str
    state: str
    tone: str
    reason: str
    pictures: Pictures | None
    headline: tuple[str, str, str] | None  # a figure, its unit, and its meaning
    facts: Sequence[tuple[str, str, str]]  # (term, value, kind of value)
    arms: Table | None
    notes: Sequence[tuple[str, str]]  # (the arms it concerns; empty where there is only one, the note)
    held_out: Markup | None
    psnr: Markup | None
    steady: bool  # whether the fit of the first picture was stopped by the variance of its outputs
    legend: Sequence[tuple[str, str, str]]  # (style, label, outcome)
    others: int  # curves that are drawn without a name
    cohort: Table | None


def _listed(names: object) -> str:
    return ", ".join(names_in(names)) or text.UNKNOWN


_RULES = (
    Column("rule", "Chosen by", "word", str, "The rule that chose the network"),
    Column("stopping", "Stopped by", "word", str, "The rule that stopped the fit"),
    Column("iterations", "Iterations", "number", text.count, "Of all fits the method looked at", optional=True),
)


_ARMS = (ARM, STATE, *QUALITY, *_RULES, TIME, NETWORK)


_COHORT = (
    NETWORK,
    Column("view", "View", "text", str, "What the network was fitted to"),
    STATE,
    Column("held_out_error", "Held-out error", "number", text.error, "Mean squared error on the held-out pixels"),
    Column("stop_iteration", "Stopped at", "number", text.count, "Iteration at which the fit was stopped"),
    Column("iterations", "Iterations", "number", text.count, "How many were computed", optional=True),
    Column(
        "residual_correlation",
        "Residual correlation",
        "number",
        text.correlation,
        "Of neighbouring pixels in the residual of the fit: near 0 where the noise is independent",
        optional=True,
    ),
    Column("psnr", "PSNR, dB", "number", text.decibels, "PSNR where the fit was stopped, dB", optional=True),
    Column(
        "psnr_oracle_stop",
        "Ideal stop, dB",
        "number",
        text.decibels,
        "Best PSNR while pixels were hidden, dB",
        optional=True,
    ),
    Column("parameters", "Parameters", "number", text.count, "Numbers that the fit adjusts", optional=True),
    TIME,
    Column("tried_by", "Tried by", "names", _listed, "The methods that had the network in their cohort"),
)


def _fill(page: Page) -> list[_Image] | None:
    images = [_image(shown, ident) for ident, shown in identified(page.report)]
    # A line stands for the images that are not shown.
    return images if images or page.report.left_out else None


def _image(shown: ImageReport, ident: str) -> _Image:
    rows = [derived(row) for row in shown.rows]
    many = len(rows) > 1
    # The facts are those of the first method that worked; without one, the first method gives the reason.
    row = next((row for row in rows if row.get("state") == "restored"), rows[0] if rows else {})
    state = "" if row.get("state") is None else str(row["state"])
    curves = list(zip(styles_of(shown.curves), shown.curves, strict=True))
    named = [(style, curve) for style, curve in curves if style != OTHER]
    return _Image(
        ident=ident,
        name=shown.image,
        state=state,
        tone=tone_of(state),
        reason=str(row.get("reason") or ""),
        pictures=pictures_of(shown, rows, row),
        headline=headline_of(row),
        facts=facts_of(row, many=many),
        arms=_arms(rows) if many else None,
        notes=_notes(rows),
        held_out=held_out_chart(shown.curves, f"{ident}-held-out"),
        psnr=psnr_chart(shown.curves, f"{ident}-psnr"),
        steady=str(row.get("stopping")).startswith("es-"),
        legend=[(style, curve.label, _became(curve, many=many)) for style, curve in named],
        others=len(curves) - len(named),
        cohort=_cohort(shown.cohort, rows) if shown.cohort else None,
    )


def _arms(rows: Sequence[Row]) -> Table:
    # Where every method worked there is no need to mention it.
    wholly = all(row.get("state") == "restored" for row in rows)
    return table([column for column in _ARMS if not (wholly and column is STATE)], rows, {})


def _became(curve: Curve, *, many: bool) -> str:
    stopped = f"stopped at {text.count(curve.stop_iteration)}"
    return f"{stopped}, {_picked_by(curve.picked_by, many=many)}" if curve.picked_by else stopped


def _picked_by(arms: Sequence[str], *, many: bool) -> str:
    return f"picked by {', '.join(arms)}" if many else "picked"


def _cohort(fits: Sequence[Row], rows: Sequence[Row]) -> Table:
    many = len(rows) > 1
    picks = _by_value(rows, "candidate")

    def picked(fit: Row) -> str:
        # The fit at full size is the result; the choice of one arm by its crop may be in another's cohort as well.
        arms = picks.get(fit.get("candidate"), []) if fit.get("view") == "full" else []
        return _picked_by(arms, many=many) if arms else ""

    columns = [column for column in _COHORT if many or column.key != "tried_by"]
    return table(columns, fits, {}, picked)


def _notes(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """The notes of the results, each note once."""
    notes = _by_value(rows, "note")
    return [(", ".join(arms) if len(rows) > 1 else "", str(note)) for note, arms in notes.items()]


def _by_value(rows: Sequence[Row], key: str) -> dict[object, list[str]]:
    """The arms that share a value, by that value."""
    found: dict[object, list[str]] = {}
    for row in rows:
        if row.get(key):
            found.setdefault(row[key], []).append(str(row.get("arm")))
    return found


SECTION = Section("images", 50, _fill)
