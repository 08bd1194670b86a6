"""What a run survives of its driver's ends: killed, cancelled, held up and overtaken."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.system.conftest import TINY, CommandLine, files_below, save_rgb

# Long enough to be struck in mid-fit, with checkpoints that are worth something.
LONGER = (
    *TINY,
    "cohort.iterations=200",
    "fit.iterations=200",
    "fit.patience=200",
    "fit.checkpoint_s=0.2",
    "keep.fits=all",
)


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """A folder with two images and an undisturbed run of them."""
    cli = CommandLine(tmp_path_factory.mktemp("resume"))
    for number, name in enumerate(("a", "b")):
        save_rgb(cli.folder / f"noisy/{name}.png", phase=number, noise=0.1)
    calm = cli.run(cli.submit("--images", "noisy", "--run", "calm", settings=LONGER))
    assert calm.returncode == 0, calm.stderr
    return cli


def folder_of(cli: CommandLine, run: str) -> Path:
    return cli.folder / "dip-store/runs" / run


def curves(cli: CommandLine, run: str) -> dict[str, list[dict[str, object]]]:
    packed = sorted((folder_of(cli, run) / "cohorts").glob("*.parquet"))
    return {path.name: pq.read_table(path).drop_columns(["seconds"]).to_pylist() for path in packed}


def assert_as_calm(cli: CommandLine, run: str) -> None:
    for what in ("restored", "picks", "scores"):
        assert files_below(folder_of(cli, run) / what) == files_below(folder_of(cli, "calm") / what), what
    assert curves(cli, run) == curves(cli, "calm")


@contextmanager
def begun(cli: CommandLine, command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, cwd=cli.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=60)


def wait_for(process: "subprocess.Popen[str]", condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.05)


def a_checkpoint_is_there(cli: CommandLine, run: str) -> bool:
    return any((folder_of(cli, run) / "fits").rglob("checkpoint.pt"))


def finished_fits(cli: CommandLine, run: str) -> dict[str, bytes]:
    fits = folder_of(cli, run) / "fits"
    return {path.relative_to(fits).as_posix(): path.read_bytes() for path in fits.rglob("result.json")}


def state_of(cli: CommandLine, run: str) -> str:
    listed = json.loads(cli.run(cli.command("runs", "--json")).stdout)
    (state,) = [record["state"] for record in listed if record["run"] == run]
    return str(state)


def test_a_driver_killed_at_any_stage_is_followed_by_resume_and_nothing_differs(cli: CommandLine) -> None:
    moments: list[Callable[[], bool]] = [
        (folder_of(cli, "shot") / "run.json").exists,
        lambda: a_checkpoint_is_there(cli, "shot"),
        lambda: len(finished_fits(cli, "shot")) >= 3,
    ]
    command = cli.submit("--images", "noisy", "--run", "shot", settings=LONGER)
    before: dict[str, bytes] = {}
    for moment in moments:
        with begun(cli, command) as process:
            wait_for(process, moment, "so far")
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        assert state_of(cli, "shot") == "interrupted"
        # Work once recorded is never done again: the very records stay.
        now = finished_fits(cli, "shot")
        assert before.items() <= now.items()
        before = now
        command = cli.command("resume", "shot", "--no-dashboard")
    # The folder that the images came from is no longer needed.
    (cli.folder / "noisy").rename(cli.folder / "away")
    try:
        done = cli.run(command)
    finally:
        (cli.folder / "away").rename(cli.folder / "noisy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert before.items() <= finished_fits(cli, "shot").items()
    assert_as_calm(cli, "shot")
    assert state_of(cli, "shot") == "finished"


def test_a_second_driver_is_refused_and_a_cancelled_run_goes_on_with_the_same_submit(cli: CommandLine) -> None:
    submit = cli.submit("--images", "noisy", "--run", "held", settings=LONGER)
    with begun(cli, submit) as process:
        wait_for(process, lambda: a_checkpoint_is_there(cli, "held"), "in mid-fit")
        second = cli.run(submit)
        assert second.returncode == 2, second.stdout
        (line,) = second.stderr.strip().splitlines()
        assert f"the run held is under way, by process {process.pid} on " in line
        assert ", since 20" in line
        for _ in range(2):
            cancelled = cli.run(cli.command("cancel", "held"))
            assert cancelled.returncode == 0, cancelled.stderr
            assert "resume held" in cancelled.stdout
        assert process.wait(timeout=60) == 130
    assert state_of(cli, "held") == "cancelled"
    other = cli.run(cli.submit("--images", "noisy", "--run", "held", "--set", "seed=1", settings=LONGER))
    assert other.returncode == 2
    assert "seed: 0, now 1" in other.stderr
    done = cli.run(submit)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_as_calm(cli, "held")
    again = cli.run(cli.command("cancel", "held"))
    assert (again.returncode, "finished" in again.stdout) == (0, True)


def test_a_drained_run_ends_what_it_had_under_way_and_starts_nothing(cli: CommandLine) -> None:
    with begun(cli, cli.submit("--images", "noisy", "--run", "drained", settings=LONGER)) as process:
        wait_for(process, lambda: a_checkpoint_is_there(cli, "drained"), "in mid-fit")
        for _ in range(2):
            assert cli.run(cli.command("cancel", "--drain", "drained")).returncode == 0
        process.communicate(timeout=120)
        assert process.returncode == 130
    assert state_of(cli, "drained") == "cancelled"
    assert not a_checkpoint_is_there(cli, "drained")
    finished = finished_fits(cli, "drained")
    assert finished
    assert len(finished) < len(finished_fits(cli, "calm"))


# Both sides of the story with a shorter patience, so that the test need not wait for half a minute.
IMPATIENT = """
import sys
from orchestrator import claims
from orchestrator.cli import main

claims.BEAT_S, claims.STALE_S = 0.5, 4.0
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_a_driver_held_up_is_overtaken_and_what_it_says_later_is_ignored(cli: CommandLine) -> None:
    (cli.folder / "impatient.py").write_text(IMPATIENT)

    def impatient(command: list[str]) -> list[str]:
        return [command[0], "impatient.py", *command[command.index("orchestrator") + 1 :]]

    submit = impatient(cli.submit("--images", "noisy", "--run", "overtaken", settings=LONGER))
    with begun(cli, submit) as old:
        wait_for(old, lambda: a_checkpoint_is_there(cli, "overtaken"), "in mid-fit")
        os.kill(old.pid, signal.SIGSTOP)
        resume = impatient(cli.command("resume", "overtaken", "--no-dashboard"))
        with begun(cli, resume) as new:
            wait_for(new, (folder_of(cli, "overtaken") / "claims/000002/state.json").exists, "taken over")
            os.kill(old.pid, signal.SIGCONT)
            output, _ = old.communicate(timeout=120)
            assert old.returncode == 2, output
            assert f"has been taken over by process {new.pid} on " in output
            output, _ = new.communicate(timeout=200)
            assert new.returncode == 0, output
    assert state_of(cli, "overtaken") == "finished"
    assert_as_calm(cli, "overtaken")
