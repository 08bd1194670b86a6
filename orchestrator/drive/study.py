"""The end of a study: make its table, its figures and its page from a finished run."""

from collections.abc import Sequence

from orchestrator.figures.learnt import with_learnt
from orchestrator.figures.study import read_table, study_of, write_study
from orchestrator.plan.plan import config_of
from orchestrator.report.study.page import write_study_page
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.settings import Task
from orchestrator.store import Store


def conclude_study(store: Store, record: RunRecord, images: Sequence[InputImage]) -> None:
    """Write the table, the figures and the page of a finished study to the store."""
    layout = RunLayout(record.run)
    config = config_of(record)
    sigma = level_of(config.task) if record.simulate else None
    table = read_table(store, layout, images, task=config.task.name, sigma=sigma)
    table = with_learnt(table)
    study = study_of(table)
    write_study(store, layout, table, study)
    write_study_page(store, record, table, study)


def level_of(task: Task) -> float | None:
    """The noise that a simulation adds to every image, in 8-bit grey levels; None where there is no such level."""
    level = getattr(task.make(), "sigma", None)
    return None if isinstance(level, tuple) or (task.name == "denoise" and task.noise == "poisson") else level
