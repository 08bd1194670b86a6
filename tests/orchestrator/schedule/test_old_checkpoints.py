"""Checkpoints that the first version has left are taken up: of a fit, and of a search for masks."""

import io
from pathlib import Path

import pytest
import torch

from orchestrator.fit.job import FitJob
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.schedule.trial import run_job
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.old_runs import unpack
from workers.names import parse_name


class EnoughError(Exception):
    """The work has gone on."""


@pytest.mark.parametrize(
    ("run", "candidate", "file"),
    [
        ("interrupted", "6-0001110011010100011001101", "checkpoint.pt"),
        ("lottery-interrupted", "dip.oes.0", "finding-00.pt"),
    ],
)
def test_work_goes_on_where_the_first_version_left_it(tmp_path: Path, run: str, candidate: str, file: str) -> None:
    torch.set_num_threads(1)
    store = LocalStore(unpack(tmp_path))
    inputs = read_inputs(store, RunLayout(run))
    assert inputs is not None
    config = Config.model_validate(read_run(store, run).config)
    context = RunContext(store.url, run, config, simulate=True, device="cpu", threads=1)
    job = FitJob(inputs.images[0], "full", parse_name(candidate))
    key = f"{RunLayout(run).fit(job.image.id, 'full', candidate).root}/{file}"
    saved = torch.load(io.BytesIO(store.get(key)), weights_only=True)
    assert saved.keys() == {"seconds", "fit"}
    assert saved["fit"]["iteration"] > 0
    seen: list[int] = []

    def progress(iteration: int, error: float) -> None:
        seen.append(iteration)
        raise EnoughError

    with pytest.raises(EnoughError):
        run_job(context, job, on_progress=progress)
    assert seen == [saved["fit"]["iteration"] + config.fit.block]
