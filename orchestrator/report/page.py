"""The page of a run: a list of sections, each with a template of its own, in one HTML file."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import jinja2
from markupsafe import Markup

from orchestrator.report import text
from orchestrator.report.columns import Row, names_in, tone_of
from orchestrator.report.contents import ImageReport, Page, RunReport
from orchestrator.report.results import Results
from orchestrator.report.sections import all_sections
from orchestrator.run.layout import REPORT


def render(report: RunReport) -> str:
    """The page as one HTML document that loads nothing from a network: it contains pictures, style and script.

    Raises:
        ValueError: A picture is not a PNG.
    """
    not_blind = _not_blind(report)
    report = _marked(report, not_blind)
    page = Page(report, not_blind, _known(report))
    filled = [(section, section.fill(page)) for section in all_sections()]
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            page=page,
            report=report,
            text=text,
            tone=tone_of(report.state),
            when=text.when(report.created),
            took=None if report.seconds is None else text.duration(report.seconds),
            parts=[(section, part) for section, part in filled if part is not None],
        )
    )


def render_results(report: RunReport) -> Iterator[tuple[str, str]]:
    """The pages of results beside the page of the run, one by one: (file, HTML). None where that page has all lines."""
    report = _marked(report, _not_blind(report))
    results = Results(report)
    template = environment().get_template("results.html.j2")
    files = [page.file for page in results.pages]
    for place, page in enumerate(results.pages):
        yield (
            page.file,
            template.render(
                report=report,
                table=results.table(page.lines, beside=True),
                number=place + 1,
                pages=len(files),
                before=files[place - 1] if place else None,
                after=files[place + 1] if place + 1 < len(files) else None,
                home=REPORT,
            ),
        )


def _not_blind(report: RunReport) -> list[str]:
    return list(dict.fromkeys(str(row.get("arm")) for row in report.rows if not row.get("blind", True)))


def _known(report: RunReport) -> set[str]:
    """The figures and kinds of pictures that some row has; the guide leaves out the others."""
    known = {key for row in report.rows for key, value in row.items() if value is not None}
    made = [pictures for shown in report.images for pictures in shown.arms]
    means = {"mean"} if "psnr_mean" in known or any(pictures.mean for pictures in made) else set()
    return known | means | ({"spread"} if any(pictures.spread for pictures in made) else set())


def environment() -> jinja2.Environment:
    """Templates in this module's folder, escaped by default."""
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
    """Prepare a value for the template: None becomes a dash, and no text can break the encoding."""
    if value is None:
        return text.UNKNOWN
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marked(report: RunReport, not_blind: Collection[str]) -> RunReport:
    """The report with a mark on the names of these arms, wherever they stand."""
    if not not_blind:
        return report

    def called(arm: object) -> str:
        return text.method(str(arm), blind=arm not in not_blind)

    def rows(unmarked: Sequence[Row]) -> list[Row]:
        return [{**row, **{key: called(row[key]) for key in ("arm", "against") if key in row}} for row in unmarked]

    def image(shown: ImageReport) -> ImageReport:
        return replace(
            shown,
            rows=rows(shown.rows),
            arms=[replace(made, arm=called(made.arm)) for made in shown.arms],
            curves=[replace(curve, picked_by=[called(arm) for arm in curve.picked_by]) for curve in shown.curves],
            cohort=[
                {**fit, "tried_by": [called(arm) for arm in names_in(fit.get("tried_by"))]} for fit in shown.cohort
            ],
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
