from pathlib import Path
from typing import Any

import pytest
from ray import tune

from orchestrator.resources.scratch import OWNER
from orchestrator.run.context import RunContext
from orchestrator.schedule.session import SessionSpec
from orchestrator.schedule.tune import run_session
from tests.orchestrator.conftest import MakeConfig
from tests.orchestrator.resources.left import leave_behind


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
