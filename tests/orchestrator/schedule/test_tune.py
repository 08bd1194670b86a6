from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.fit.job import FitJob
from orchestrator.resources.scratch import OWNER
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.crashes import Crash
from orchestrator.schedule.queue import Finished
from orchestrator.schedule.session import SessionSpec
from orchestrator.schedule.tune import ended, run_session
from tests.orchestrator.conftest import MakeConfig
from tests.orchestrator.resources.left import leave_behind
from workers.names import PriorName


def test_tunes_files_are_for_a_while_and_those_of_killed_sessions_are_removed(
    tmp_path: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(tmp_path, "session")
    seen: list[Path] = []

    class Tuner:
        def __init__(self, trainable: Any, *, tune_config: Any, run_config: Any) -> None:
            seen.append(Path(run_config.storage_path))

        def fit(self) -> None:
            assert list(tmp_path.iterdir()) == seen
            assert (seen[0] / OWNER).exists()

    monkeypatch.setattr(tune, "Tuner", Tuner)
    monkeypatch.setattr(tune, "with_parameters", lambda trainable, **_: trainable)
    context = RunContext(str(tmp_path / "store"), "r1", make_config(), False, "cpu", 1)
    run_session(context, None, 0, SessionSpec(400, 8, 1, str(tmp_path)))
    assert list(tmp_path.iterdir()) == []


IMAGE = InputImage("a.png", "a-1", "a-1.png", None, "a.png", 64, 64, 3)
JOBS = [FitJob(IMAGE, "crop", PriorName(f"{number}-{'0' * 25}"), gpus=0.25) for number in range(3)]


def test_of_fits_side_by_side_those_without_a_record_have_crashed() -> None:
    config, crash = {"job": JOBS[0], "beside": tuple(JOBS[1:])}, Crash("memory", "too little")
    last = {"iteration": 9, "fit_states": ["done", None, "paused"], "time_total_s": 2.0}
    assert ended(config, last, crash) == [
        Finished(JOBS[0], "done", None, 9, None, 2.0),
        Finished(JOBS[1], "failed", crash, 9, None, 2.0),
        Finished(JOBS[2], "paused", None, 9, None, 2.0),
    ]
    # Its process died: nothing was reported.
    assert [each.crash for each in ended(config, {}, crash)] == [crash] * 3


def test_a_fit_that_reported_no_state_was_stopped_by_its_contest() -> None:
    last = {"iteration": 20, "held_out_error": 0.5, "time_total_s": 3.0}
    assert ended({"job": JOBS[0], "beside": ()}, last) == [Finished(JOBS[0], "stopped", None, 20, 0.5, 3.0)]
