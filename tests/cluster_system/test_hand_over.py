"""A run handed to a Ray cluster: submitted as a job, followed from elsewhere, resumed on another cluster."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orchestrator.drive.local_ray import make_token
from tests.ports import free_ports
from tests.seaweed import SeaweedFS
from tests.system.conftest import LONGER, TINY, CommandLine, save_rgb

from ray.cluster_utils import Cluster  # isort: skip - what it reads from the environment, local_ray has set

MEMORY = 128 * 2**20


class Elsewhere:
    """A cluster with a dashboard, and a store that all its machines can see."""

    def __init__(self, store: str) -> None:
        self.store = store
        self.start()

    def start(self) -> None:
        port, *agents = free_ports(3)
        self.address = f"http://127.0.0.1:{port}"
        head = {"num_cpus": 0, "object_store_memory": MEMORY, "include_dashboard": True, "dashboard_port": port}
        # Agents take jobs at a port that is the same for all of Ray: another Ray on this machine may have it.
        self._nodes: Any = Cluster(
            initialize_head=True, head_node_args={**head, "dashboard_agent_listen_port": agents[0]}
        )
        self._nodes.add_node(num_cpus=2, object_store_memory=MEMORY, dashboard_agent_listen_port=agents[1])

    def end(self) -> None:
        self._nodes.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("cluster")
    with pytest.MonkeyPatch.context() as patch:
        # A job runs `python`, as it is found on the head.
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        for name, value in SeaweedFS.environment.items():
            patch.setenv(name, value)
        # Ray's workers look for modules where their driver was started, too: not in this checkout.
        patch.chdir(folder)
        make_token()
        with SeaweedFS(folder) as server:
            server.make_bucket("cluster")
            place = Elsewhere(server.url("cluster", "store"))
            try:
                yield place
            finally:
                place.end()


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def there(place: Elsewhere, cli: CommandLine) -> CommandLine:
    for number, name in enumerate(("a", "b")):
        save_rgb(cli.folder / f"noisy/{name}.png", phase=number, noise=0.1)
    return cli


def handed_over(cli: CommandLine, place: Elsewhere, run: str, *more: str, settings: Sequence[str] = TINY) -> list[str]:
    arguments = ["--images", "noisy", "--run", run, "--store", place.store, "--address", place.address, *more]
    return [word for word in cli.submit(*arguments, settings=settings) if word != "--no-dashboard"]


def status(cli: CommandLine, place: Elsewhere, run: str) -> dict[str, Any]:
    asked = cli.run(cli.command("status", run, "--store", place.store, "--json"))
    assert asked.returncode == 0, asked.stderr
    answer: dict[str, Any] = json.loads(asked.stdout)
    return answer


def wait_until_fits_run(cli: CommandLine, place: Elsewhere, run: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        now = status(cli, place, run)
        running = sum(stage["running"] for stage in now["stages"] if stage["name"] in ("cohort", "full size"))
        if now["state"] == "running" and running:
            return
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_a_run_outlives_who_submitted_it_is_cancelled_from_elsewhere_and_goes_on_on_another_cluster(
    there: CommandLine, place: Elsewhere
) -> None:
    done = there.run(handed_over(there, place, "away", "--detach", settings=LONGER))
    assert done.returncode == 0, done.stderr
    assert "its driver is the job dip-away-" in done.stdout
    wait_until_fits_run(there, place, "away")
    again = there.run(handed_over(there, place, "away", settings=LONGER))
    assert again.returncode == 2
    assert "is under way, by process" in again.stderr
    cancelled = there.run(there.command("cancel", "away", "--store", place.store))
    assert "is cancelled" in cancelled.stdout
    # The folder it came from is not needed any more.
    (there.folder / "noisy").rename(there.folder / "moved")
    resume = there.command("resume", "away", "--store", place.store, "--detach", "--address")
    assert there.run([*resume, place.address]).returncode == 0
    wait_until_fits_run(there, place, "away")
    # The head is lost, and all that was on it.
    driver = re.match(r"process (\d+) ", status(there, place, "away")["driver"])
    assert driver is not None
    os.kill(int(driver[1]), signal.SIGKILL)
    place.end()
    assert status(there, place, "away")["reason"] == "its driver is gone"
    place.start()
    resumed = there.run(there.command("resume", "away", "--store", place.store, "--address", place.address))
    assert resumed.returncode == 0, resumed.stderr
    assert "2 restored" in resumed.stdout
    assert "at a time on cpu" in resumed.stdout
    ended = status(there, place, "away")
    assert ended["state"] == "finished"
    assert [stage["done"] for stage in ended["stages"] if stage["name"] == "images"] == [2]
    assert ended["usage"]["machine_hours"] > 0
    assert ended["usage"]["gpu_hours"] == 0
    watched = there.run(there.command("watch", "away", "--store", place.store))
    assert watched.returncode == 0, watched.stderr
    assert "2 restored" in watched.stdout
    logs = there.run(there.command("logs", "away", "--store", place.store))
    assert logs.stdout.count("-- process ") == 3
    assert logs.stdout.count("run away: 2 images") >= 2  # the last output of a killed driver may be lost
    printed = there.run(there.command("logs", "away", "--store", place.store, "--address", place.address))
    assert "joining Ray at auto" in printed.stdout
    assert SeaweedFS.environment["AWS_SECRET_ACCESS_KEY"] not in logs.stdout + printed.stdout


def test_other_code_on_the_cluster_is_found_and_named_and_ours_can_be_sent_along(
    there: CommandLine, place: Elsewhere, tmp_path: Path
) -> None:
    # The client's code is another state of the project: a copy with one more comment.
    root = Path(__file__).parents[2]
    for package in ("orchestrator", "workers", "configs"):
        subprocess.run(["cp", "-r", str(root / package), str(tmp_path / package)], check=True)
    with (tmp_path / "workers/seeds.py").open("a") as source:
        source.write("# another state\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    refused = there.run(handed_over(there, place, "other"), environment)
    assert refused.returncode == 2
    assert "the run was submitted by dip-orchestrator 0.1.0+" in refused.stderr
    assert "--ship-code" in refused.stderr
    for _ in range(5):
        sent = there.run(handed_over(there, place, "other", "--ship-code"), environment)
        # These nodes share one folder, in which two of them may unpack the same code at once: Ray's, and none of ours.
        if "RuntimeEnvSetupError" not in sent.stdout + sent.stderr:
            break
    assert sent.returncode == 0, sent.stderr + sent.stdout
    assert "2 restored" in sent.stdout


def test_a_folder_of_this_machine_is_no_store_for_a_cluster(there: CommandLine, place: Elsewhere) -> None:
    refused = there.run(there.submit("--images", "noisy", "--address", place.address))
    assert refused.returncode == 2
    assert "cannot be seen by the cluster" in refused.stderr
    assert not (there.folder / "dip-store").exists()


def test_who_has_not_the_token_is_refused(there: CommandLine, place: Elsewhere) -> None:
    for token, code in ((None, 401), ("f" * 64, 403)):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{place.address}/api/jobs/", headers=headers)  # noqa: S310 - loopback
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=10)  # noqa: S310
        assert refusal.value.code == code
        refusal.value.close()
    submitted = there.run(handed_over(there, place, "stranger"), {"RAY_AUTH_TOKEN": "f" * 64})
    assert submitted.returncode == 2
    assert "doctor --address" in submitted.stderr
