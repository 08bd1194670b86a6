import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator.errors
from orchestrator.cli import exits, main
from orchestrator.cli.exits import Exit, exit_of_error, exit_of_state
from orchestrator.errors import OrchestratorError
from orchestrator.run.attempt import RunState

ERRORS = [
    error
    for error in vars(orchestrator.errors).values()
    if isinstance(error, type) and issubclass(error, OrchestratorError)
]


def test_no_command_ends_as_a_process_that_was_lost() -> None:
    """Python ends with 1 after a traceback, and so does a driver whose Ray has died."""
    assert 1 not in set(Exit)
    assert exit_of_error(orchestrator.errors.StoreUnavailableError("away")) == 75
    assert exit_of_error(orchestrator.errors.RayLostError("gone")) == 75
    assert exit_of_error(orchestrator.errors.ImagesUnavailableError("away")) == 75
    # No script that goes on with paused runs may go on with one whose hours are spent.
    assert exit_of_error(orchestrator.errors.HoursSpentError("enough")) == 69
    assert exit_of_error(orchestrator.errors.RunFailedError("no way on")) == 70
    assert exit_of_error(orchestrator.errors.UserMistakeError("what")) == 2
    assert {exit_of_error(error("")) for error in ERRORS} == {2, 69, 70, 75, 130}


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.RUNNING])
def test_every_end_of_a_run_has_its_status(state: RunState) -> None:
    if state is not RunState.FINISHED:
        assert exit_of_state(state) not in (Exit.DONE, Exit.SOME_FAILED)


def test_what_nobody_foresaw_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(options: object) -> int:
        raise ZeroDivisionError("half of nothing")

    monkeypatch.setattr("orchestrator.cli.runs.act", break_down)
    assert main(["runs"]) == 70
    shown = capsys.readouterr().err
    assert "ZeroDivisionError: half of nothing" in shown
    assert shown.endswith("runs: this is a fault of the program; please report it\n")


def test_the_help_tells_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    assert all(f"{int(status)} " in told for status in Exit)
    assert exits.__doc__ is not None


def test_the_output_of_a_command_that_only_reads_may_not_get_lost(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = [sys.executable, "-m", "orchestrator", "runs", "--store", str(tmp_path / "store")]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 70
    assert "No space left on device" in done.stderr
