"""A whole run from Python, driven by a process of its own on a real Ray; test_documents.py has runs that finish."""

import signal
import time
from pathlib import Path

import pytest

import orchestrator
from orchestrator.errors import RunCancelledError
from orchestrator.run.claim import RunState
from tests.system.conftest import TINY, save_rgb


def test_a_run_goes_on_in_the_background_until_it_is_cancelled(tmp_path: Path) -> None:
    save_rgb(tmp_path / "noisy/a.png", noise=0.1)
    longer = [*TINY, "cohort.iterations=100000", "fit.iterations=100000", "fit.patience=100000"]
    run = orchestrator.submit(tmp_path / "noisy", task="denoise", settings=longer, store=tmp_path / "store", run="mine")
    assert [each.name for each in orchestrator.runs(tmp_path / "store")] == ["mine"]
    # This process is free: the run is looked at until it is under way.
    deadline = time.monotonic() + 240
    while not run.status().stages:
        assert time.monotonic() < deadline, run.status()
        time.sleep(0.2)

    def enough(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    # Ctrl-C in a wait is nothing to the run.
    before = signal.signal(signal.SIGALRM, enough)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert run.status().state is RunState.RUNNING
    run.cancel()
    with pytest.raises(RunCancelledError, match="goes on with it"):
        run.wait()
    assert run.status().state is RunState.CANCELLED
