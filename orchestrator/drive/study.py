"""The end of a study: make its table, its figures and its page from a finished run."""

from collections.abc import Sequence

from orchestrator.figures.study import read_table, study_of, write_study
from orchestrator.report.study.page import write_study_page
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.store import Store


def conclude_study(store: Store, record: RunRecord, images: Sequence[InputImage]) -> None:
    """Write the table, the figures and the page of a finished study to the store."""
    layout = RunLayout(record.run)
    table = read_table(store, layout, images)
    study = study_of(table)
    write_study(store, layout, table, study)
    write_study_page(store, record, table, study)
