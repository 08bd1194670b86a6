"""Ends of its driver that a run survives: killed, cancelled, held up and overtaken."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.system.conftest import LONGER, CommandLine, assert_as_calm, folder_of


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


def test_a_driver_killed_at_any_stage_is_followed_by_resume_and_nothing_differs(calm: CommandLine) -> None:
    moments: list[Callable[[], bool]] = [
        (folder_of(calm, "shot") / "run.json").exists,
        lambda: len(finished_fits(calm, "shot")) >= 2 and a_checkpoint_is_there(calm, "shot"),
    ]
    command = calm.submit("--images", "noisy", "--run", "shot", settings=LONGER)
    before: dict[str, bytes] = {}
    for moment in moments:
        with begun(calm, command) as process:
            wait_for(process, moment, "so far")
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=60)
        assert state_of(calm, "shot") == "interrupted"
        # Recorded work is never repeated: the records themselves stay.
        now = finished_fits(calm, "shot")
        assert before.items() <= now.items()
        before = now
        command = calm.command("resume", "shot", "--no-dashboard")
    # The folder that the images came from is no longer needed.
    (calm.folder / "noisy").rename(calm.folder / "away")
    try:
        done = calm.run(command)
    finally:
        (calm.folder / "away").rename(calm.folder / "noisy")
    assert done.returncode == 0, done.stdout + done.stderr
    assert before.items() <= finished_fits(calm, "shot").items()
    assert_as_calm(calm, "shot")
    assert state_of(calm, "shot") == "finished"


def test_a_second_driver_is_refused_and_a_cancelled_run_goes_on_with_the_same_submit(calm: CommandLine) -> None:
    submit = calm.submit("--images", "noisy", "--run", "held", settings=LONGER)
    with begun(calm, submit) as process:
        wait_for(process, lambda: a_checkpoint_is_there(calm, "held"), "in mid-fit")
        second = calm.run(submit)
        assert second.returncode == 2, second.stdout
        (line,) = second.stderr.strip().splitlines()
        assert f"the run held is under way, by process {process.pid} on " in line
        assert ", since 20" in line
        for _ in range(2):
            cancelled = calm.run(calm.command("cancel", "held"))
            assert cancelled.returncode == 0, cancelled.stderr
            assert "resume held" in cancelled.stdout
        assert process.wait(timeout=60) == 130
    assert state_of(calm, "held") == "cancelled"
    other = calm.run(calm.submit("--images", "noisy", "--run", "held", "--set", "seed=1", settings=LONGER))
    assert other.returncode == 2
    assert "seed: 0, now 1" in other.stderr
    done = calm.run(submit)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_as_calm(calm, "held")
    again = calm.run(calm.command("cancel", "held"))
    assert (again.returncode, "finished" in again.stdout) == (0, True)


def test_a_drained_run_ends_what_it_had_under_way_and_starts_nothing(calm: CommandLine) -> None:
    with begun(calm, calm.submit("--images", "noisy", "--run", "drained", settings=LONGER)) as process:
        wait_for(process, lambda: a_checkpoint_is_there(calm, "drained"), "in mid-fit")
        for _ in range(2):
            assert calm.run(calm.command("cancel", "--drain", "drained")).returncode == 0
        process.communicate(timeout=120)
        assert process.returncode == 130
    assert state_of(calm, "drained") == "cancelled"
    assert not a_checkpoint_is_there(calm, "drained")
    finished = finished_fits(calm, "drained")
    assert finished
    assert len(finished) < len(finished_fits(calm, "calm"))


# Both sides of the story with a shorter patience, so that the test need not wait for half a minute.
IMPATIENT = """
import sys
from orchestrator.run import claim as claims
from orchestrator.cli import main

claims.BEAT_S, claims.STALE_S = 0.5, 4.0
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_a_driver_held_up_is_overtaken_and_what_it_says_later_is_ignored(calm: CommandLine) -> None:
    (calm.folder / "impatient.py").write_text(IMPATIENT)

    def impatient(command: list[str]) -> list[str]:
        return [command[0], "impatient.py", *command[command.index("orchestrator") + 1 :]]

    submit = impatient(calm.submit("--images", "noisy", "--run", "overtaken", settings=LONGER))
    with begun(calm, submit) as old:
        wait_for(old, lambda: a_checkpoint_is_there(calm, "overtaken"), "in mid-fit")
        os.kill(old.pid, signal.SIGSTOP)
        resume = impatient(calm.command("resume", "overtaken", "--no-dashboard"))
        with begun(calm, resume) as new:
            wait_for(new, (folder_of(calm, "overtaken") / "claims/000002/state.json").exists, "taken over")
            os.kill(old.pid, signal.SIGCONT)
            output, _ = old.communicate(timeout=120)
            assert old.returncode == 2, output
            assert f"has been taken over by process {new.pid} on " in output
            output, _ = new.communicate(timeout=200)
            assert new.returncode == 0, output
    assert state_of(calm, "overtaken") == "finished"
    assert_as_calm(calm, "overtaken")
