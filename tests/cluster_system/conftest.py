"""A user's commands at a terminal, against clusters of hosts on this machine.

They are not part of ``make test``, since they need root and some programs: ``make test-system``.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import yaml

from orchestrator.run.layout import RunLayout
from orchestrator.store import open_store
from tests.cluster_system.hosts import Hosts, what_is_missing
from tests.ports import free_ports
from tests.seaweed import SeaweedFS
from tests.system.conftest import LONGER, save_rgb

ROOT = Path(__file__).parents[2]
OBJECT_STORE_BYTES = 100_000_000
# Where a user has Ray's token, and the shipped clusters look for it.
TOKEN = ".ray/auth_token"  # noqa: S105
ORCHESTRATOR = ("python", "-m", "orchestrator")
IMAGES = ("a", "b", "c")
SETTINGS = "small.yaml"


@dataclass
class Terminal:
    """Runs commands in a folder of its own, which is also the home, and keeps a transcript.

    Attributes:
        folder: The folder.
        transcript: The file for every command, with the lines looked for in its output and the seconds it took.
        environment: The variables that the commands have besides those of this process.
    """

    folder: Path
    transcript: Path
    environment: dict[str, str] = field(default_factory=dict)

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] = MappingProxyType({}),
        shown: str = "(?!)",
        status: int = 0,
        timeout_s: float = 600,
    ) -> str:
        """Run a command to its end, which must have the given status; returns its output.

        The lines in which the pattern ``shown`` is found go into the transcript.
        """
        self.note("$ " + " ".join([*(f"{name}={value}" for name, value in environment.items()), shlex.join(command)]))
        begun = time.monotonic()
        with self.start(*command, environment=environment) as process:
            said, _ = process.communicate(timeout=timeout_s)
        assert process.returncode == status, said
        plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
        for line in plain.splitlines():
            if re.search(shown, line):
                self.note(f"  {line.strip()}")
        self.note(f"  ({time.monotonic() - begun:.1f} s)")
        return plain

    @contextlib.contextmanager
    def start(
        self, *command: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> "Iterator[subprocess.Popen[str]]":
        """A command that runs beside the block and no longer."""
        # Modules that this process has imported set some of Ray's variables.
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        env |= {"PATH": f"{sys.prefix}/bin:{os.environ.get('PATH', '')}", "HOME": str(self.folder)}
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=env | self.environment | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def wait_until(self, what: str, condition: Callable[[], Any], deadline_s: float) -> Any:
        """Wait until a condition is true, and return its value."""
        begun = time.monotonic()
        while not (value := condition()):
            waited = time.monotonic() - begun
            assert waited < deadline_s, f"not within {deadline_s:g} s: {what}"
            time.sleep(0.5)
        self.note(f"# {what} ({time.monotonic() - begun:.1f} s)")
        return value

    def note(self, line: str) -> None:
        """A line of the transcript."""
        line = line.replace(str(self.folder), "~")
        with self.transcript.open("a") as file:
            file.write(f"{line}\n")
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@dataclass(frozen=True)
class Dashboard:
    """A dashboard's HTTP interface at a port of this network's loopback, and the token for it."""

    port: int
    token: str = field(repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        """The answer as JSON; None while there is none."""
        status, answer = self.ask(path, self.token)
        return answer if status == http.client.OK else None

    def ask(self, path: str, token: str | None) -> tuple[int, Any]:
        """The status of an answer, 0 where there is none, and its JSON, if it is that."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
            with contextlib.suppress(ValueError):
                return answer.status, json.loads(body)
            return answer.status, None
        return 0, None

    def nodes(self) -> dict[str, str]:
        """The nodes that are alive: address by id."""
        answer = self.get("/nodes?view=summary")
        nodes = [node["raylet"] for node in answer["data"]["summary"]] if answer else []
        return {node["nodeId"]: node["nodeManagerAddress"] for node in nodes if node.get("state") == "ALIVE"}

    def what_goes_on(self) -> str:
        """For debugging: the nodes, what they wait for, and the ends of the drivers' logs."""
        status = self.get("/api/cluster_status?format=1") or {}
        parts = [str(self.nodes()), str(status.get("data", {}).get("clusterStatus"))]
        for job in self.get("/api/jobs/") or ():
            said = self.get(f"/api/jobs/{job['submission_id']}/logs") or {}
            parts.append(str(said.get("logs"))[-4000:])
        return "\n".join(parts)

    def busy(self) -> set[str]:
        """The addresses of the nodes on which trials of Ray Tune live."""
        answer = self.get("/api/v0/actors?limit=1000")
        actors = answer["data"]["result"]["result"] if answer else []
        on = {each["node_id"] for each in actors if each["state"] == "ALIVE" and "Func" in each["class_name"]}
        return {address for node, address in self.nodes().items() if node in on}


@contextlib.contextmanager
def tunnel(terminal: Terminal, key: Path, user_at: str, token: str) -> Iterator[Dashboard]:
    """A dashboard, by ssh from a port of ours to the head's own loopback."""
    (port,) = free_ports(1)
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ExitOnForwardFailure=yes"]
    command = ["ssh", "-N", "-L", f"{port}:127.0.0.1:8265", "-i", str(key), user_at]
    terminal.note("$ " + shlex.join([*command, "&"]).replace("'&'", "&"))
    with terminal.start(*command, *(word for option in options for word in ("-o", option))) as process:
        dashboard = Dashboard(port, token)

        def open_now() -> bool:
            assert process.poll() is None, process.communicate()[0]
            return dashboard.ask("/api/authentication_mode", None)[0] != 0

        terminal.wait_until("the dashboard answers through the tunnel", open_now, 60)
        try:
            yield dashboard
        except Exception:
            terminal.note(dashboard.what_goes_on())
            raise


def submit(terminal: Terminal, url: str, dashboard: Dashboard, run: str, *more: str) -> list[str]:
    """Hand a run over to a cluster; returns the option that names its store."""
    where = ["--store", url]
    options = ["--images", "noisy", "--config", SETTINGS, *where, "--address", dashboard.address, "--run", run]
    terminal.run(*ORCHESTRATOR, "submit", *options, "--detach", *more, shown="job|watch")
    return where


def see_to_the_end(terminal: Terminal, where: Sequence[str], run: str) -> str:
    """Watch a run that has lost a machine until all images are there; returns the output of its driver."""
    assert re.match(r"state +running", terminal.run(*ORCHESTRATOR, "status", run, *where, shown="."))
    terminal.run(*ORCHESTRATOR, "watch", run, *where, shown="lost|taken|restored")
    told = terminal.run(*ORCHESTRATOR, "logs", run, *where, shown="lost|taken")
    rows: list[dict[str, Any]] = json.loads(terminal.run(*ORCHESTRATOR, "results", run, "--json", *where))
    assert {(row["image"], row["state"]) for row in rows} == {(f"{name}.png", "restored") for name in IMAGES}
    return told


def save_inputs(folder: Path) -> None:
    """The inputs and settings of the runs: small, but long enough to be interrupted in the middle."""
    for number, name in enumerate(IMAGES):
        save_rgb(folder / f"noisy/{name}.png", phase=number, noise=0.1)
    settings: dict[str, dict[str, Any]] = {}
    longer = ("cohort.iterations=400", "fit.iterations=400", "fit.patience=400")
    # The loss of a machine is no crash of a fit, and needs none of its retries.
    for assignment in (*LONGER, *longer, "resources.retries=0", "resources.parallel=null"):
        name, _, value = assignment.partition("=")
        section, _, key = name.partition(".")
        settings.setdefault(section, {})[key] = yaml.safe_load(value)
    (folder / SETTINGS).write_text(yaml.safe_dump(settings))


def checkpoints(url: str, run: str) -> list[str]:
    """The checkpoints of a run that are in the store now."""
    return [key for key in open_store(url, patience_s=60).keys(RunLayout(run).root) if key.endswith("checkpoint.pt")]


def adapted(config: Path, name: str, variables: Mapping[str, str]) -> dict[str, Any]:
    """A shipped cluster whose hosts have everything installed: named otherwise, with small object stores.

    Args:
        config: The file.
        name: The cluster's name, by which Ray calls its files on this machine.
        variables: For the environment of Ray and of everything that it starts.
    """
    cluster: dict[str, Any] = yaml.safe_load(config.read_text())
    cluster["cluster_name"] = name
    # The hosts' virtual environment is ours, and in .bashrc.
    cluster["initialization_commands"] = cluster["setup_commands"] = []
    # Relative to the checkout, from which a user calls `ray up`.
    mounts = cluster["file_mounts"].items()
    cluster["file_mounts"] = {there: here if here.startswith("~") else str(ROOT / here) for there, here in mounts}
    exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in variables.items())
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        cluster[commands] = [
            exports + with_options(command, f"--object-store-memory={OBJECT_STORE_BYTES}")
            if "ray start" in command
            else command
            for command in cluster[commands]
        ]
    return cluster


def with_options(command: str, *options: str) -> str:
    """A command line with ``ray start`` in it, with options of ours instead of its own."""
    for option in options:
        command = re.sub(rf"\s{option.partition('=')[0]}[= ]\S+", "", command)
    return command.replace("ray start", shlex.join(["ray", "start", *options]))


def set_cpus(commands: Sequence[str], cpus: int) -> list[str]:
    """Start commands whose node has ``cpus`` CPUs, whatever this machine has."""
    return [with_options(each, f"--num-cpus={cpus}") if "ray start" in each else each for each in commands]


def make_token(folder: Path) -> str:
    """A token where a user has it, for nobody else to read."""
    path = folder / TOKEN
    path.parent.mkdir()
    token = os.urandom(32).hex()
    path.touch(0o600)
    path.write_text(token)
    return token


@pytest.fixture
def terminal(request: pytest.FixtureRequest, tmp_path: Path) -> Terminal:
    """A terminal whose transcript goes to ``tmp_path``, or to the folder that $TRANSCRIPTS names."""
    folder = Path(os.environ.get("TRANSCRIPTS", tmp_path)).absolute()
    transcript = folder / f"{request.path.stem.removeprefix('test_')}.txt"
    transcript.write_text("")
    environment = {
        # Where `ray up` keeps its records of clusters.
        "RAY_TMPDIR": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONWARNINGS": "default",
    }
    return Terminal(tmp_path, transcript, environment)


@pytest.fixture
def cluster_name() -> Iterator[str]:
    """A name that no other run has: two clusters of one name and user would share their ssh connections."""
    name = f"test-{os.getpid()}"
    yield name
    # Ray puts the connections' sockets here, whatever TMPDIR says.
    hashed = hashlib.sha256(name.encode()).hexdigest()[:10]
    for folder in Path("/tmp").glob(f"ray_ssh_*/{hashed}"):  # noqa: S108
        shutil.rmtree(folder)


@pytest.fixture
def ready() -> None:
    if (missing := what_is_missing()) is not None:
        pytest.fail(missing, pytrace=False)


@pytest.fixture
def hosts(ready: None, tmp_path: Path) -> Iterator[Hosts]:
    with Hosts(tmp_path) as hosts:
        yield hosts


@pytest.fixture
def server(hosts: Hosts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SeaweedFS]:
    """A store that all hosts can reach, with the keys to it in the environment of this process."""
    monkeypatch.setenv("DIP_CACHE", str(tmp_path / "cache"))
    for name, value in SeaweedFS.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "server").mkdir()
    with SeaweedFS(tmp_path / "server", hosts.address) as server:
        server.make_bucket("images")
        yield server
