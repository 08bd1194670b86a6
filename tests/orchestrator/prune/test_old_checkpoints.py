"""Checkpoints that the first version has left are taken up: of a fit, and of a search for masks."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.fit.subject import prior_subject
from orchestrator.prune.chain import run_chain
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.settings import Config
from orchestrator.store import LocalStore
from tests.old_runs import unpack
from workers.names import Prior, parse_name


def fit_prior(context: RunContext, job: FitJob, **how: Any) -> FitRecord:
    assert isinstance(job.name, Prior)
    return run_fit(context, job, partial(prior_subject, context, job.image, job.view, job.name), **how)


class EnoughError(Exception):
    """The work has gone on."""


@pytest.mark.parametrize(
    ("run", "candidate", "file", "work"),
    [
        ("interrupted", "6-0001110011010100011001101", "checkpoint.pt", fit_prior),
        ("lottery-interrupted", "dip.oes.0", "finding-00.pt", run_chain),
    ],
)
def test_work_goes_on_where_the_first_version_left_it(
    tmp_path: Path, run: str, candidate: str, file: str, work: Any
) -> None:
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
        work(context, job, on_progress=progress)
    assert seen == [saved["fit"]["iteration"] + config.fit.block]
