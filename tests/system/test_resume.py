"""A run survives driver deaths, cancellations, delays, a killed worker and a lost machine, and ends as the calm one.

They are in one file because they share the calm run, which each process of the tests would make for itself.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.drive.local_ray import make_token
from tests.system.conftest import LONGER, MEMORY, PATIENCE_S, CommandLine, assert_as_calm, folder_of

from ray.cluster_utils import Cluster  # isort: skip - what it reads from the environment, local_ray has set


@contextlib.contextmanager
def begun(cli: CommandLine, command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, cwd=cli.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE_S)


def wait_for(process: "subprocess.Popen[str]", condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert process.poll() is None, f"ended before {what}: {process.communicate()[0]}"
        assert time.monotonic() < deadline, f"never {what}"
        time.sleep(0.05)


def a_checkpoint_is_there(cli: CommandLine, run: str, after: float = 0) -> bool:
    """Whether there is one that was written after this time."""
    for path in (folder_of(cli, run) / "fits").rglob("checkpoint.pt"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > after:
                return True
    return False


def kill_a_worker(process: "subprocess.Popen[str]") -> None:
    """Wait until a trial is under way, then kill its process as the kernel would for want of memory.

    Its Ray was started by this process, and holds this run alone.
    """

    def killed() -> bool:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if "ImplicitFunc.train" in " ".join(child.cmdline()):
                    child.kill()
                    return True
        return False

    wait_for(process, killed, "a trial was under way")


def finished_fits(cli: CommandLine, run: str) -> dict[str, bytes]:
    fits = folder_of(cli, run) / "fits"
    return {path.relative_to(fits).as_posix(): path.read_bytes() for path in fits.rglob("result.json")}


def state_of(cli: CommandLine, run: str) -> str:
    (state,) = [record["state"] for record in cli.records() if record["run"] == run]
    return str(state)


# Every driver of the story with a shorter patience, so that the test need not wait for half a minute.
IMPATIENT = """
import sys
from orchestrator.run import claim as claims
from orchestrator.cli import main

claims.BEAT_S, claims.STALE_S = 0.5, 4.0
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""
# A driver that is killed in one of its first operations of the store after the run has its name: in claiming the run,
# in bringing the images, before the first fit or in it. `benchmarks.chaos` kills at later moments.
DOOMED = """
import os
import signal
import sys
from orchestrator.cli import main
from orchestrator.run.layout import RECORD
from orchestrator.store import PatientStore

patiently, create = PatientStore._patiently, PatientStore.create
left = None


def doomed(self, operation):
    global left
    result = patiently(self, operation)
    if left is not None:
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return result


def counting(self, key, *arguments, **options):
    global left
    created = create(self, key, *arguments, **options)
    if key.endswith(RECORD):
        left = operations
    return created


if __name__ == "__main__":
    operations = int(sys.argv.pop(1))
    PatientStore._patiently, PatientStore.create = doomed, counting
    sys.exit(main(sys.argv[1:]))
"""
MOMENTS = 40


def impatient(command: list[str]) -> list[str]:
    return [command[0], "impatient.py", *command[command.index("orchestrator") + 1 :]]


def doomed(command: list[str], moment: int) -> list[str]:
    return [command[0], "doomed.py", str(moment), *command[command.index("orchestrator") + 1 :]]


def test_a_run_outlives_its_drivers(calm: CommandLine, ray_address: str) -> None:
    """One is killed, one is held up and overtaken, one is drained, one is cancelled; of the last a worker is killed.

    The first has a Ray of its own, which dies with it. The others join one.
    """
    (calm.folder / "impatient.py").write_text(IMPATIENT)
    (calm.folder / "doomed.py").write_text(DOOMED)
    moment = random.randint(1, MOMENTS)
    submit = calm.submit("--images", "noisy", "--run", "shot", settings=LONGER)
    with begun(calm, doomed(submit, moment)) as process:
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == -signal.SIGKILL, f"operation {moment}: {output}"
    assert state_of(calm, "shot") == "interrupted", f"killed after operation {moment} of the store"
    done = finished_fits(calm, "shot")

    calm = CommandLine(calm.folder, ray_address)
    submit = calm.submit("--images", "noisy", "--run", "shot", settings=LONGER)
    overtake_and_drain(calm, submit)
    # Work once recorded is never done again: the very records stay.
    drained = finished_fits(calm, "shot")
    assert done.items() <= drained.items(), f"killed after operation {moment} of the store"
    assert 0 < len(drained) < len(finished_fits(calm, "calm"))

    other = calm.here(calm.submit("--images", "noisy", "--run", "shot", "--set", "seed=1", settings=LONGER))
    assert (other.returncode, "seed: 0, now 1" in other.stderr) == (2, True)

    # The folder that the images came from is no longer needed.
    (calm.folder / "noisy").rename(calm.folder / "away")
    try:
        cancel(calm)
        with begun(calm, calm.driving("resume", "shot")) as process:
            kill_a_worker(process)
            output, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        (calm.folder / "away").rename(calm.folder / "noisy")
    assert process.returncode == 0, output
    assert drained.items() <= finished_fits(calm, "shot").items()
    assert_as_calm(calm, "shot")
    assert state_of(calm, "shot") == "finished"
    again = calm.here(calm.command("cancel", "shot"))
    assert (again.returncode, "finished" in again.stdout) == (0, True)


def test_a_plan_says_how_much_is_stored(calm: CommandLine) -> None:
    plan = calm.submit("--images", "noisy", "--dry-run", "--json", "--store", "none", "--run", "other", settings=LONGER)
    said = json.loads(calm.here(plan).stdout)["store_bytes"]
    store = calm.folder / "dip-store"
    kept = [folder_of(calm, "calm"), store / "fingerprints", store / "images"]
    stored = sum(path.stat().st_size for folder in kept for path in folder.rglob("*") if path.is_file())
    assert stored <= said <= 2 * stored, (stored, said)


def overtake_and_drain(calm: CommandLine, submit: list[str]) -> None:
    """Hold a driver up; another takes the run over and is told to end what it has begun."""
    start = time.time()
    with begun(calm, impatient(submit)) as old:
        wait_for(old, lambda: a_checkpoint_is_there(calm, "shot", after=start), "in mid-fit")
        # A second driver is refused.
        second = calm.here(submit)
        assert second.returncode == 2, second.stdout
        (line,) = second.stderr.strip().splitlines()
        assert f"the run shot is under way, by process {old.pid} on " in line
        assert ", since 20" in line
        # A driver that is held up is overtaken, and what it says later is ignored.
        os.kill(old.pid, signal.SIGSTOP)
        claims = folder_of(calm, "shot") / "claims"
        before = set(claims.iterdir())
        with begun(calm, impatient(calm.driving("resume", "shot"))) as new:
            wait_for(
                new, lambda: any((it / "state.json").exists() for it in {*claims.iterdir()} - before), "taken over"
            )
            os.kill(old.pid, signal.SIGCONT)
            output, _ = old.communicate(timeout=PATIENCE_S)
            assert old.returncode == 2, output
            assert f"has been taken over by process {new.pid} on " in output
            overtaken = time.time()
            wait_for(new, lambda: a_checkpoint_is_there(calm, "shot", after=overtaken), "in mid-fit")
            # A drained run ends what it had under way and starts nothing.
            for _ in range(2):
                assert calm.here(calm.command("cancel", "--drain", "shot")).returncode == 0
            output, _ = new.communicate(timeout=PATIENCE_S)
            assert new.returncode == 130, output
    assert state_of(calm, "shot") == "cancelled"
    assert not a_checkpoint_is_there(calm, "shot")


def cancel(calm: CommandLine) -> None:
    """Resume the run and cancel it in the middle of a fit."""
    with begun(calm, calm.driving("resume", "shot")) as process:
        wait_for(process, lambda: a_checkpoint_is_there(calm, "shot"), "in mid-fit")
        for _ in range(2):
            cancelled = calm.here(calm.command("cancel", "shot"))
            assert cancelled.returncode == 0, cancelled.stderr
            assert "resume shot" in cancelled.stdout
        output, _ = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 130, output
    assert state_of(calm, "shot") == "cancelled"


@pytest.fixture
def cluster(trace: Path) -> Iterator[Any]:
    """One node for the driver; those that fit are added by the tests."""
    make_token()
    head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


def told(trace: Path) -> list[tuple[str, str, int]]:
    """(node, fit, iteration) after every block, in the order of time."""
    if not trace.exists():
        return []
    lines = [line.split() for line in trace.read_text().splitlines()]
    return [(node, "/".join(fit), int(iteration)) for node, *fit, iteration in lines]


def wait_for_fits_on(trace: Path, node: str, blocks: int) -> None:
    """Wait until so many blocks of fits were done on a node."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(each == node for each, _, _ in told(trace)) < blocks:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_lost_and_a_node_drained_cost_nothing_but_time(calm: CommandLine, cluster: Any, trace: Path) -> None:
    lost = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    settings = [*LONGER, "resources.retries=0", "resources.parallel=null"]
    command = calm.submit("--images", "noisy", "--run", "moved", "--address", cluster.address, settings=settings)
    with subprocess.Popen(
        command, cwd=calm.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            wait_for_fits_on(trace, lost.node_id, 20)
            drained = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
            cluster.remove_node(lost, allow_graceful=False)
            wait_for_fits_on(trace, drained.node_id, 20)
            cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
            drain(cluster.address, drained.node_id)
            output, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    # Not one of its retries was spent: the loss of a machine is no crash of a fit.
    assert process.returncode == 0, output
    assert "its machine was lost" in output
    assert "its machine is being taken away at iteration" in output
    assert_as_calm(calm, "moved")
    # A warning costs not one iteration: what was under way on the drained node went on where it had been.
    blocks = [block for block in told(trace) if block[0] != lost.node_id]
    moved = [fit for node, fit, _ in blocks if node == drained.node_id][-1]
    iterations = [iteration for _, fit, iteration in blocks if fit == moved]
    assert iterations == sorted(set(iterations))
    assert len({node for node, fit, _ in blocks if fit == moved}) == 2


def drain(address: str, node: str) -> None:
    """What a watcher of spot warnings does."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", address, "--node-id", node]
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
    done = subprocess.run(
        [*command, *reason, "--deadline-remaining-seconds", "60"],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
