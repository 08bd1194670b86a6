"""The page of a study: what predicts the best PSNR, and the results of shortlists of growing size.

As with the report of a run everything is in the one file.
"""

from collections.abc import Mapping

import numpy as np

from orchestrator.figures.study import HELD_OUT, Study, Table
from orchestrator.report import text
from orchestrator.report.columns import tone_of
from orchestrator.report.page import environment
from orchestrator.report.sections.settings import grouped
from orchestrator.report.study.predictors import predictors_of, strip_axis
from orchestrator.report.study.scatter import panels_of
from orchestrator.report.study.sizes import curves_of, shortlist_of, sizes_chart
from orchestrator.report.svg.drawing import OTHER
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.store import Store
from orchestrator.version import __version__

MOST_IMAGES = 30
"""At most this many images have a column and drawings; the figures of the others are in the files next to the page."""


_LONG = 20
"""Longer lists in the settings are shown by their length."""


def write_study_page(store: Store, record: RunRecord, table: Table, study: Study) -> None:
    """Write the page to the store, next to the study's files.

    Args:
        store: The run's store.
        record: The run's record.
        table: The study's table, which may be empty.
        study: Its figures.
    """
    store.put(RunLayout(record.run).study("index.html"), render_study(record, table, study).encode())


def render_study(record: RunRecord, table: Table, study: Study) -> str:
    """The page as one HTML document that loads nothing from a network."""
    metric = str(record.config["score"]["metric"])
    shown = table.images[:MOST_IMAGES]
    predictors = predictors_of(table, study, shown, metric)
    curves = curves_of(study.cohort_sizes, metric)
    measured = predictors[1:] if predictors and predictors[0].name == HELD_OUT else predictors
    return (
        environment()
        .get_template("study/page.html.j2")
        .render(
            record=record,
            version=__version__,
            text=text,
            tone=tone_of(record.state),
            study=study,
            rows=len(table.image),
            known=int(np.isfinite(table.psnr_oracle_stop).sum()),
            shown=shown,
            axis=strip_axis(),
            predictors=predictors,
            held_out=next((line for line in predictors if line.name == HELD_OUT and line.mean), None),
            best=next((line for line in measured if line.mean), None),
            shortlist=shortlist_of(curves, metric, int(record.config["cohort"]["size"])),
            curves=curves,
            others=[curve for curve in curves if curve.style == OTHER],
            sizes=sorted({point.size for point in study.cohort_sizes}),
            figure=sizes_chart(curves),
            images=list(panels_of(table, study, shown, metric, int(record.config["cohort"]["size"]))),
            settings=grouped(_brief(record.config)),
        )
    )


def _brief(settings: Mapping[str, object]) -> dict[str, object]:
    """The settings with long lists, such as that of the candidates, by their length."""
    return {
        key: _brief(value)
        if isinstance(value, Mapping)
        else f"a list of {len(value)}"
        if isinstance(value, list) and len(value) > _LONG
        else value
        for key, value in settings.items()
    }
