"""Whole runs from Python: the driver is a process of its own, on a real Ray."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

import orchestrator
from orchestrator.errors import RunCancelledError
from orchestrator.run.attempt import RunState
from tests.system.conftest import TINY, save_rgb


@pytest.fixture
def images(tmp_path: Path) -> Path:
    save_rgb(tmp_path / "noisy/a.png", noise=0.1)
    return tmp_path / "noisy"


def test_a_run_goes_on_in_the_background_is_cancelled_and_resumed_to_its_results(images: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    longer = [*TINY, "cohort.iterations=100000", "fit.iterations=100000", "fit.patience=100000"]
    run = orchestrator.submit(images, task="denoise", settings=longer, store=store, run="mine")
    # This process is free, and Ctrl-C in a wait does not affect the run.
    deadline = time.monotonic() + 240
    while run.status().state is not RunState.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.2)

    def enough(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, enough)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert run.status().state is RunState.RUNNING
    assert run.cancel().state is RunState.CANCELLED
    with pytest.raises(RunCancelledError, match="goes on with it"):
        run.wait()

    short = orchestrator.submit(images, effort="quick", settings=TINY, store=store, run="short", wait=True)
    assert [each.name for each in orchestrator.runs(store)] == ["mine", "short"]
    table = short.results()
    assert table.column("state").to_pylist() == ["restored"]
    pixels = short.restored("a.png")
    assert (pixels.shape, pixels.dtype) == ((3, 70, 64), np.float32)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert short.status().config["network"]["width"] == 8
    # A finished run that is resumed has the same end.
    again = orchestrator.resume("short", store=store, background=False)
    assert again.results().equals(table)
