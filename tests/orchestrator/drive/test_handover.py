import io
import json
import shlex
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray._raylet import AuthenticationTokenLoader

from orchestrator.drive.handover import Cluster, Job, check_reachable_from_machines, hand_over
from orchestrator.errors import UserMistakeError
from orchestrator.plan.make import make_plan, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.run.inputs import Source, read_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.progress import Stage
from orchestrator.run.record import read_run
from orchestrator.run.versions import project_version
from orchestrator.store import LocalStore, open_store
from tests.orchestrator.conftest import Encoded, MakeConfig

TOKEN = "0123456789abcdef" * 4  # of no cluster
SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "hush-of-aws",
    "AWS_SESSION_TOKEN": "hush-of-a-session",
    "HF_TOKEN": "hush-of-others",
}
BUCKET = "s3://bucket/prefix?endpoint=http://127.0.0.1:9"


class Asked(NamedTuple):
    method: str
    path: str
    token: str | None
    headers: str
    body: bytes


Trouble = Callable[[str, str], tuple[int, bytes] | None]


class Head:
    """The Jobs API of a Ray head, on loopback: it remembers its requests, and runs nothing.

    Its answers were seen on one of Ray 2.60. ``trouble`` may answer instead, by method and path.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.jobs: list[dict[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.packages: dict[str, bytes] = {}
        self.trouble: Trouble = lambda method, path: None
        head = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                token = self.headers.get("Authorization")
                del self.headers["Authorization"]
                head.asked.append(Asked(self.command, self.path, token, str(self.headers), body))
                status, answer = head.trouble(self.command, self.path) or head.answer(self.command, self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def do_GET(self) -> None:
                self._answer()

            def do_POST(self) -> None:
                self._answer()

            def do_PUT(self) -> None:
                self._answer()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        found: Any = None
        match [method, *path.strip("/").split("/")]:
            case ["GET", "api", "version"]:
                found = {"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "s"}
            case ["GET", "api", "jobs"]:
                found = self.jobs
            case ["POST", "api", "jobs"]:
                asked = json.loads(body)
                self.add(asked["submission_id"], entrypoint=asked["entrypoint"], metadata=asked["metadata"])
                found = {"job_id": asked["submission_id"], "submission_id": asked["submission_id"]}
            case ["GET", "api", "jobs", id, "logs"] if id in self.logs:
                found = {"logs": self.logs[id]}
            case ["GET", "api", "jobs", id]:
                found = next((job for job in self.jobs if job["submission_id"] == id), None)
            case ["GET", "api", "packages", "gcs", name] if name in self.packages:
                found = {}
            case ["PUT", "api", "packages", "gcs", name]:
                self.packages[name] = body
                found = {}
        return (404, b"no such thing") if found is None else (200, json.dumps(found).encode())

    def add(self, id: str | None, *, status: str = "RUNNING", log: str = "", **more: Any) -> None:
        """A job; one without an id was started otherwise (by hand on a machine of the cluster)."""
        kind = "DRIVER" if id is None else "SUBMISSION"
        self.jobs.append(
            {"type": kind, "submission_id": id, "status": status, "entrypoint": "", "start_time": 1, **more}
        )
        if id is not None:
            self.logs[id] = log

    @property
    def posted(self) -> dict[str, Any]:
        """The one job that was submitted, as requested."""
        (asked,) = [asked for asked in self.asked if asked.method == "POST"]
        assert asked.path == "/api/jobs/"
        job: dict[str, Any] = json.loads(asked.body)
        return job


@pytest.fixture
def head(monkeypatch: pytest.MonkeyPatch) -> Iterator[Head]:
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    # Ray keeps the first token that it has seen for as long as the process lives.
    AuthenticationTokenLoader.instance().reset_cache()
    made = Head()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()
    AuthenticationTokenLoader.instance().reset_cache()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for seed, name in enumerate(("a.png", "b.png")):
        (path / name).write_bytes(encoded(9, 7, noise_seed=seed))
    (path / "notes.txt").write_text("x")
    return path


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.stages: list[list[Stage]] = []

    def note(self, message: str) -> None:
        raise AssertionError(message)

    def update(self, stages: Sequence[Stage]) -> None:
        self.stages.append(list(stages))


def mistake(caught: pytest.ExceptionInfo[UserMistakeError], head: Head) -> str:
    """The message of a mistake: one line that names the address and the way to learn more."""
    said = str(caught.value)
    assert said.isprintable()
    assert said.startswith(f"--address {head.address}: ")
    assert said.endswith(f"; `python -m orchestrator doctor --address {head.address}` says what is wrong")
    return said


# The stores that a cluster can see.


@pytest.mark.parametrize("place", ["dip-store", "/data/store", "~/store"])
def test_a_folder_of_this_machine_is_no_store_for_a_cluster(place: str) -> None:
    with pytest.raises(UserMistakeError, match="cannot be seen by the cluster; give a bucket") as caught:
        check_reachable_from_machines(open_store(place))
    assert "--address auto" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bucket_is_a_store_for_a_cluster() -> None:
    check_reachable_from_machines(open_store(BUCKET))


# The job.


def test_the_driver_s_job_is_the_run_s_resumption_on_the_cluster(head: Head) -> None:
    store = open_store(BUCKET)
    job = Cluster(f"{head.address}/").drive(store, "r1", [], ship_code=False)
    assert job == Job(head.address, "dip-r1-1")
    assert shlex.split(head.posted["entrypoint"]) == [
        *("python", "-P", "-m", "orchestrator", "resume", "r1", "--store", store.url, "--address", "auto"),
        *("--submitted-by", project_version(), "--after", "0"),
    ]
    assert head.posted["submission_id"] == "dip-r1-1"
    assert head.posted["metadata"] == {"run": "r1", "store": store.url}
    # No code, no folder, no variable goes along, and the driver takes no CPU from the fits.
    assert head.posted["runtime_env"] == {}
    assert not {name for name in head.posted if name.startswith("entrypoint_")}
    assert head.packages == {}


def test_settings_reach_the_job_word_for_word_and_are_no_code_for_its_shell(head: Head) -> None:
    assignments = ["resources.parallel=2", "a.b='$(touch x)'; `y` | \"z\""]
    Cluster(head.address).drive(open_store(BUCKET), "r1", assignments, ship_code=False)
    words = shlex.split(head.posted["entrypoint"])
    assert words[-4:] == ["--set", assignments[0], "--set", assignments[1]]


def test_no_secret_of_the_environment_is_sent_and_the_token_only_as_a_token(head: Head) -> None:
    cluster = Cluster(head.address)
    job = cluster.drive(open_store(BUCKET), "r1", ["resources.parallel=2"], ship_code=True)
    cluster.log(cluster.last_job(open_store(BUCKET), "r1"))
    cluster.why_it_ended(job)
    assert {asked.method for asked in head.asked} == {"GET", "POST", "PUT"}
    assert {asked.token for asked in head.asked} == {f"Bearer {TOKEN}"}
    sent = [f"{asked.path} {asked.headers}".encode() + asked.body for asked in head.asked]
    for package in head.packages.values():
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            sent += [archive.read(name) for name in archive.namelist()]
    for secret in (TOKEN, *SECRETS.values()):
        assert not any(secret.encode() in piece for piece in sent)


def test_code_that_is_shipped_is_the_project_s_own_two_packages(head: Head) -> None:
    cluster, store = Cluster(head.address), open_store(BUCKET)
    cluster.drive(store, "r1", [], ship_code=True)
    modules = head.posted["runtime_env"]["py_modules"]
    assert len(modules) == len(head.packages) == 2
    assert {uri.removeprefix("gcs://") for uri in modules} == head.packages.keys()
    names: list[str] = []
    for package in head.packages.values():
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            names += archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"orchestrator", "workers"}
    assert {"orchestrator/cli/resume.py", "workers/seeds.py"} <= set(names)
    # What the cluster has already is not sent again.
    cluster.drive(store, "r1", [], ship_code=True)
    assert [asked.method for asked in head.asked].count("PUT") == 2


def test_every_job_has_a_number_of_its_own(head: Head) -> None:
    head.add(None)  # somebody's driver, which is no job
    cluster, store = Cluster(head.address), open_store(BUCKET)
    jobs = [cluster.drive(store, run, [], ship_code=False).id for run in ("r1", "r1", "r2")]
    assert jobs == ["dip-r1-1", "dip-r1-2", "dip-r2-3"]


def test_the_last_job_of_a_run_is_found_among_all(head: Head) -> None:
    there = {"store": open_store(BUCKET).url}
    head.add("dip-r1-1", metadata={"run": "r1"} | there, start_time=10)
    head.add("dip-r1-3", metadata={"run": "r1"} | there, start_time=30)
    head.add("dip-r1-2", metadata={"run": "r1"} | there, start_time=20)
    head.add("dip-r1-9", metadata={"run": "r1"} | there, status="PENDING", start_time=None)
    head.add("dip-r2-4", metadata={"run": "r2"} | there, start_time=40)
    head.add("dip-r1-5", metadata={"run": "r1", "store": "s3://another"}, start_time=45)
    head.add("somebody-s", metadata=None, start_time=50)
    head.add(None, start_time=60)
    cluster = Cluster(head.address)
    assert cluster.last_job(open_store(BUCKET), "r1") == Job(head.address, "dip-r1-3")
    with pytest.raises(UserMistakeError, match=r"^--address http://\S+: the run r3 has no job there$"):
        cluster.last_job(open_store(BUCKET), "r3")


@pytest.mark.parametrize(
    ("status", "ended"),
    [("PENDING", False), ("RUNNING", False), ("STOPPED", True), ("SUCCEEDED", True), ("FAILED", True)],
)
def test_what_a_driver_said_last_is_known_once_it_has_ended(head: Head, status: str, ended: bool) -> None:
    head.add("dip-r1-1", status=status, log="x" * 5000 + "the end\n")
    cluster, job = Cluster(head.address), Job(head.address, "dip-r1-1")
    said = cluster.why_it_ended(job)
    assert said == ("x" * 2992 + "the end\n" if ended else None)
    assert cluster.log(job) == "x" * 5000 + "the end\n"


# Possible failures.

NO_TOKEN = b"Unauthorized: Missing authentication token"


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, NO_TOKEN, "Authentication required: Unauthorized: Missing authentication token"),
        (403, b"Forbidden: Invalid authentication token", "Authentication failed: Forbidden"),
        (500, b"Traceback:\n  File ...\nRuntimeError: \x1b[31mno", "500"),
        (404, b"", "404"),
        (200, b"<html>", ""),
        (200, b"{}", ""),
        (200, b"[1]", ""),
        (200, b'{"ray_version": "1.0.0"}', "Ray version 1.0.0 is running on the cluster"),
    ],
    ids=["401", "403", "500", "404", "page", "object", "list", "old"],
)
def test_a_cluster_that_does_not_take_us_is_a_mistake_of_one_line(
    head: Head, status: int, body: bytes, said: str
) -> None:
    head.trouble = lambda method, path: (status, body)
    with pytest.raises(UserMistakeError) as caught:
        Cluster(head.address)
    assert said in mistake(caught, head)
    assert TOKEN not in str(caught.value)


def test_a_cluster_out_of_reach_is_a_mistake_of_one_line(head: Head) -> None:
    head.address = "http://127.0.0.1:1"
    with pytest.raises(UserMistakeError) as caught:
        Cluster(head.address)
    assert "Failed to connect to Ray" in mistake(caught, head)


@pytest.mark.parametrize("address", ["http://", "os://x", "ray://127.0.0.1:1", "file:///etc/passwd", "h:8265", "auto"])
def test_what_is_no_address_of_a_dashboard_is_a_mistake_of_one_line(address: str) -> None:
    with pytest.raises(UserMistakeError, match=f"^--address {address}: ") as caught:
        Cluster(address)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, NO_TOKEN),
        (403, b"Forbidden"),
        (500, b"Traceback:\n  \x1b[31mFile ...\n"),
        (404, b"no such thing"),
        (200, b"<html>"),
        (200, b'[{"type": "?"}]'),
    ],
    ids=["401", "403", "500", "404", "page", "jobs"],
)
@pytest.mark.parametrize(
    "act",
    [
        lambda cluster: cluster.drive(open_store(BUCKET), "r1", [], ship_code=False),
        lambda cluster: cluster.last_job(open_store(BUCKET), "r1"),
        lambda cluster: cluster.log(Job(cluster.address, "dip-r1-1")),
        lambda cluster: cluster.why_it_ended(Job(cluster.address, "dip-r1-1")),
    ],
    ids=["drive", "last job", "log", "why it ended"],
)
def test_trouble_on_the_way_is_a_mistake_of_one_line(
    head: Head, act: Callable[[Cluster], object], status: int, body: bytes
) -> None:
    cluster = Cluster(head.address)
    head.trouble = lambda method, path: (status, body)
    with pytest.raises(UserMistakeError) as caught:
        act(cluster)
    mistake(caught, head)


def test_a_job_that_is_refused_is_a_mistake_of_one_line(head: Head) -> None:
    def trouble(method: str, path: str) -> tuple[int, bytes] | None:
        return (500, b"Job with submission_id dip-r1-1 already exists") if method == "POST" else None

    head.trouble = trouble
    with pytest.raises(UserMistakeError) as caught:
        Cluster(head.address).drive(open_store(BUCKET), "r1", [], ship_code=False)
    assert "already exists" in mistake(caught, head)


# Ray 2.60 prefers these to the address that it is given.
@pytest.mark.parametrize("name", ["RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"])
def test_the_cluster_is_the_one_that_was_named_whatever_the_environment_names(
    head: Head, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:1")
    Cluster(head.address).drive(open_store(BUCKET), "r1", [], ship_code=False)
    assert head.posted["submission_id"] == "dip-r1-1"


# Handing a run over.


def planned(store: LocalStore, folder: Path, config: Any) -> Plan:
    return make_plan(store, config, Source(str(folder)), run="r1", resolve=None)


def files_of(store: LocalStore) -> dict[Path, tuple[bytes, int]]:
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in Path(store.url).rglob("*") if path.is_file()}


def test_a_run_that_is_handed_over_is_all_in_the_store_before_its_driver_starts(
    head: Head, store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    there: list[bool] = []

    def when_submitted(method: str, path: str) -> None:
        if method == "POST":
            inputs = read_inputs(store, RunLayout("r1"))
            assert inputs is not None
            there.extend(store.exists(image_key(image.file)) for image in inputs.images)

    head.trouble = when_submitted
    heard, plan = Heard(), planned(store, folder, make_config())
    job = hand_over(store, plan, Cluster(head.address), heard)
    assert there == [True, True]
    assert job == Job(head.address, "dip-r1-1")
    assert heard.stages[-1] == [Stage("upload", 2, 2)]
    record = read_run(store, "r1")
    assert (record.images, record.rejected, record.reason) == (3, 1, "no driver has begun it yet")
    # Nothing is known yet of the machines that its figures will depend on.
    assert record.machine == {"dip-orchestrator": project_version()}
    # All its settings are in its record.
    assert "--set" not in shlex.split(head.posted["entrypoint"])
    assert head.packages == {}


def test_a_run_that_is_in_the_store_is_handed_over_without_its_folder(
    head: Head, store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    cluster = Cluster(head.address)
    hand_over(store, planned(store, folder, make_config()), cluster, Heard())
    before = files_of(store)
    for path in folder.iterdir():
        path.unlink()
    heard = Heard()
    plan = resume_plan(store, "r1", ["resources.parallel=2"], resolve=None)
    job = hand_over(store, plan, cluster, heard, ship_code=True)
    # Not the first job's, whose settings are all in the record.
    *_, posted = [json.loads(asked.body) for asked in head.asked if asked.method == "POST"]
    assert shlex.split(posted["entrypoint"])[-2:] == ["--set", "resources.parallel=2"]
    assert job.id == "dip-r1-2"
    assert heard.stages == []
    assert files_of(store) == before
    assert len(head.packages) == 2


def test_a_run_whose_job_could_not_be_started_can_be_handed_over_again(
    head: Head, store: LocalStore, folder: Path, make_config: MakeConfig
) -> None:
    cluster = Cluster(head.address)
    head.trouble = lambda method, path: (500, b"no")
    with pytest.raises(UserMistakeError):
        hand_over(store, planned(store, folder, make_config()), cluster, Heard())
    head.trouble = lambda method, path: None
    job = hand_over(store, planned(store, folder, make_config()), cluster, Heard())
    assert job.id == "dip-r1-1"
