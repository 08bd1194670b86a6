"""Whole runs from Python: the driver is a process of its own, on a real Ray."""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

import orchestrator
from orchestrator.errors import RunCancelledError
from orchestrator.run.attempt import RunState
from tests.system.conftest import LONGER, PATIENCE_S, save_rgb


@pytest.fixture
def images(tmp_path: Path) -> Path:
    save_rgb(tmp_path / "noisy/a.png", noise=0.1)
    return tmp_path / "noisy"


def test_a_run_goes_on_in_the_background_is_cancelled_and_resumed_to_its_results(images: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run = orchestrator.submit(images, task="denoise", effort="quick", settings=LONGER, store=store, run="mine")
    # This process is free, and Ctrl-C in a wait is nothing to the run.
    deadline = time.monotonic() + PATIENCE_S
    while run.status().state is not RunState.RUNNING:
        assert time.monotonic() < deadline
        time.sleep(0.2)

    def enough(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, enough)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        with pytest.raises(KeyboardInterrupt):
            run.wait()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert run.status().state is RunState.RUNNING
    assert run.cancel().state is RunState.CANCELLED
    with pytest.raises(RunCancelledError, match="goes on with it"):
        run.wait()

    done = orchestrator.resume("mine", store=store, background=False)
    assert [each.name for each in orchestrator.runs(store)] == ["mine"]
    table = done.results()
    assert table.column("state").to_pylist() == ["restored"]
    pixels = done.restored("a.png")
    assert (pixels.shape, pixels.dtype) == ((3, 70, 64), np.float32)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert done.status().config["network"]["width"] == 8
    assert run.status().state is RunState.FINISHED
    assert run.wait().results().equals(table)
