import json
import shutil
import threading
import tomllib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.doctor import check as doctor
from orchestrator.doctor.check import (
    RAY_SERIES,
    Check,
    Torch,
    answers,
    check_cluster,
    check_disk,
    check_environment,
    check_machine,
    check_objects,
    check_python,
    check_ray,
    check_token,
    check_torch,
    examine,
)
from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.resources.share import Machine
from orchestrator.store import LocalStore

GB = 10**9
TOKEN = "0123456789abcdef"  # noqa: S105 - of no cluster


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom Ray knows nothing of yet."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def leave_token(home: Path, mode: int = 0o600, token: str = TOKEN) -> Path:
    path = home / ".ray/auth_token"
    path.parent.mkdir(parents=True)
    path.write_text(token)
    path.chmod(mode)
    return path


def of(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.check: check for check in checks}


# Questions and answers.


def test_a_question_that_fails_or_hangs_is_an_answer_and_leaves_what_was_told_before() -> None:
    def fails() -> Iterator[Check]:
        yield Check("x", "here")
        raise ValueError("two\nlines")

    def misses() -> Iterator[Check]:
        raise ImportError("no module")
        yield

    def errs() -> Iterator[Check]:
        raise StoreError("the URL is wrong")
        yield

    released = threading.Event()

    def hangs() -> Iterator[Check]:
        yield Check("x", "here")
        released.wait(30)

    told, failed = answers("x", fails)
    assert told == Check("x", "here")
    assert (failed.check, failed.ok, failed.found) == ("x", False, "ValueError: two lines")
    assert "make install" in str(next(answers("x", misses)).advice)
    assert [check.found for check in answers("x", errs)] == ["the URL is wrong"]
    told, late = answers("x", hangs, deadline_s=1)
    released.set()
    assert told == Check("x", "here")
    assert (late.ok, late.found) == (False, "no answer within 1 s")


def test_everything_is_asked_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Torch:
        raise RuntimeError("a broken driver")

    monkeypatch.setattr(doctor, "_torch_here", broken)
    found = of(examine("gs://nowhere/x", "no address"))
    wrong = {name for name, check in found.items() if not check.ok}
    assert wrong == {"torch", "store", "cluster"}
    assert list(found) == ["python", "ray", "token", "environment", "torch", "machine", "disk", "store", "cluster"]
    assert found["torch"].found == "RuntimeError: a broken driver"


def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    checks = list(examine(str(tmp_path / "store")))
    assert {check.check for check in checks if not check.ok} <= {"gpu", "disk", "machine"}
    assert not (tmp_path / "store").exists()
    for check in checks:
        assert json.loads(json.dumps(check.to_dict())) == {
            "check": check.check,
            "ok": check.advice is None,
            "found": check.found,
            "advice": check.advice,
        }


# This machine.


def test_the_releases_are_those_that_the_project_asks_for() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    major, minor = RAY_SERIES.split(".")
    assert f"ray[default,tune]>={RAY_SERIES},<{major}.{int(minor) + 1}" in project["dependencies"]
    assert project["requires-python"] == ">=3.11"
    assert check_python((3, 11, 0)).ok
    assert check_python((4, 0, 0)).ok
    assert check_python((3, 10, 14)) == Check(
        "python", "Python 3.10.14", "install Python 3.11 or newer: make install PYTHON=python3.11"
    )


@pytest.mark.parametrize(
    ("version", "ok"), [("2.60.0", True), ("2.60.12", True), ("2.6.0", False), ("2.61.0", False), (None, False)]
)
def test_only_rays_that_were_tried_will_do(version: str | None, ok: bool) -> None:
    check = check_ray(version)
    assert check.ok is ok
    assert (version or "not installed") in check.found
    assert ok or "install" in str(check.advice)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o601])
def test_a_token_that_others_can_use_is_to_be_closed(home: Path, mode: int) -> None:
    path = leave_token(home, mode)
    assert check_token() == Check("token", f"{path} has the mode {mode:04o}", f"chmod 600 {path}")
    path.chmod(0o600)
    assert check_token().ok


def test_a_token_is_looked_for_where_ray_does(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "first run makes one" in check_token().found
    assert check_token().ok
    leave_token(home)
    other = tmp_path / "token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(other))
    assert "RAY_AUTH_TOKEN_PATH" in check_token().found
    assert not check_token().ok
    other.write_text("other")
    other.chmod(0o644)
    assert check_token().advice == f"chmod 600 {other}"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    assert check_token() == Check("token", "from RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_MODE", "Disabled")
    assert "may run code as you" in check_token().found
    assert not check_token().ok


def test_of_the_environment_only_names_are_told() -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "DIP_STORE", "HOME", "CUDA_VISIBLE_DEVICES", "MY_RAY_X", "PATH")
    assert check_environment(names).found == "set: AWS_SECRET_ACCESS_KEY, CUDA_VISIBLE_DEVICES, DIP_STORE"
    assert check_environment(["HOME"]) == Check("environment", "nothing set that changes a run")


def right(device: str) -> float:
    return 36.0


PLAIN = Torch("2.9.0+cpu", None, "AVX2")
CUDA = Torch("2.9.0", "12.8", "AVX2", [("NVIDIA H200", 150 * GB), ("NVIDIA L4", 24 * GB)])


def test_a_machine_without_a_gpu_is_all_right_and_what_follows_is_said() -> None:
    found = of(check_torch(PLAIN, [], right))
    assert found["torch"] == Check("torch", "torch 2.9.0+cpu, AVX2")
    assert found["gpu"].ok
    assert "fitted on the CPU" in found["gpu"].found


def test_every_gpu_is_named_and_has_to_compute() -> None:
    asked: list[str] = []

    def convolve(device: str) -> float:
        asked.append(device)
        if device == "cuda:1":
            raise RuntimeError("CUDA error: no kernel image is available\nCUDA kernel errors might be ...")
        return 36.0

    torch, first, second = check_torch(CUDA, ["NVIDIA H200"], convolve)
    assert asked == ["cpu", "cuda:0", "cuda:1"]
    assert torch.ok
    assert first == Check("gpu", "NVIDIA H200, 150.0 GB")
    assert second.found.startswith("NVIDIA L4, 24.0 GB: a convolution fails on cuda:1: CUDA error: no kernel image")
    assert "\n" not in second.found
    assert not second.ok


def test_a_device_that_computes_nonsense_is_found_out() -> None:
    checks = list(check_torch(CUDA, [], lambda device: 36.0 if device == "cpu" else 0.0))
    assert [check.ok for check in checks] == [True, False, False]
    assert checks[1].found.endswith("a convolution on cuda:0 gives 0 instead of 36")


def test_a_gpu_that_torch_cannot_use_is_told_with_the_reason() -> None:
    without = of(check_torch(PLAIN, ["NVIDIA L4"], right))["gpu"]
    assert "NVIDIA L4 is here, but torch 2.9.0+cpu is built without CUDA" in without.found
    assert "install a torch with CUDA" in str(without.advice)
    blind = of(check_torch(Torch("2.9.0", "13.0", "AVX2"), ["NVIDIA L4"], right))["gpu"]
    assert "does not see it" in blind.found
    assert "CUDA 13.0" in str(blind.advice)


def test_the_cpu_of_this_machine_convolves() -> None:
    assert doctor._convolve("cpu") == 36


def test_gpus_that_were_hidden_on_purpose_are_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4'\necho\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert doctor._nvidia_gpus() == ["NVIDIA L4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert doctor._nvidia_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert doctor._nvidia_gpus() == []


def test_a_limit_of_a_container_is_told_and_too_little_memory_is_wrong() -> None:
    whole = Machine(8, 64 * GB)
    assert check_machine(whole, whole) == Check("machine", "8 CPUs, 64.0 GB of memory")
    limited = check_machine(Machine(2, 8 * GB), whole)
    assert limited.ok
    assert limited.found.startswith("2 CPUs, 8.0 GB of memory (the machine's 8 and 64.0 GB")
    assert not check_machine(Machine(8, 3 * GB), whole).ok


def test_a_disk_that_is_nearly_full_is_wrong_also_where_the_folder_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def usage(path: Path) -> SimpleNamespace:
        asked.append(path)
        return SimpleNamespace(free=free)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    folder = tmp_path / "a/b"
    free = 2 * GB
    assert check_disk("the store", folder, "move").ok
    free -= 1
    assert check_disk("the store", folder, "move").advice == "free some space, or move"
    assert asked == [tmp_path, tmp_path]


def test_room_is_looked_for_wherever_a_run_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)

    def folders(place: str) -> list[Path]:
        return [folder for _, folder, _ in doctor._folders(place)]

    assert folders(str(tmp_path / "s")) == [tmp_path / "s", Path("/elsewhere/ray")]
    assert folders("s3://bucket/x") == [tmp_path / "cache", Path("/elsewhere/ray")]
    assert folders("gs://bucket") == [Path("/elsewhere/ray")]
    monkeypatch.setenv("RAY_TMPDIR", "/ours")
    assert folders("gs://bucket") == [Path("/ours/ray")]


# The store.


class Careless(LocalStore):
    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        self.put(key, data)
        return True


class Forgetful(LocalStore):
    def get(self, key: str) -> bytes:
        return b""

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(())

    def delete(self, key: str) -> None:
        pass


class Full(LocalStore):
    def put(self, key: str, data: bytes) -> None:
        raise StoreUnavailableError("the disk is full")


class Locked(LocalStore):
    def keys(self, prefix: str) -> Iterator[str]:
        raise StoreError("permission denied")


def test_a_store_that_does_all_that_a_run_needs_is_left_as_it_was(tmp_path: Path) -> None:
    new = LocalStore(tmp_path / "new")
    assert [check.ok for check in check_objects(new)] == [True, True]
    assert list(tmp_path.iterdir()) == []
    used = LocalStore(tmp_path / "used")
    used.put("runs/x", b"1")
    assert all(check.ok for check in check_objects(used))
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["runs"]


def test_a_store_that_does_not_create_once_is_told_apart(tmp_path: Path) -> None:
    plain, once = check_objects(Careless(tmp_path))
    assert plain.ok
    assert once.check == "create-once"
    assert once.found.startswith("two drivers could take one run: ")
    assert "overwrites what was created" in once.found
    assert "docs/store.md" in str(once.advice)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "found", "advice"),
    [
        (Forgetful, "does not give back what it was given nor list what it holds nor delete", "another place"),
        (Full, "the disk is full", "bring it back"),
        (Locked, "permission denied", "docs/store.md"),
    ],
)
def test_what_a_store_does_not_do_is_one_answer(
    tmp_path: Path, kind: type[LocalStore], found: str, advice: str
) -> None:
    (check,) = check_objects(kind(tmp_path))
    assert check.check == "store"
    assert found in check.found
    assert advice in str(check.advice)


# A cluster. The server stands for a dashboard of Ray: what it answers was seen on one (tests/system/test_security.py).


Behaviour = Callable[[str, str | None], tuple[int, Any]]


class Dashboard:
    """An HTTP server on loopback that answers as it is told, and remembers what it was asked with which token."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.behaviour: Behaviour = protected()
        dashboard = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("Authorization")
                dashboard.asked.append((self.path, token))
                status, answer = dashboard.behaviour(self.path, token)
                self.send_response(status)
                self.send_header("Location", "/api/version")
                self.end_headers()
                self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def dashboard() -> Iterator[Dashboard]:
    made = Dashboard()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


def node(state: str = "ALIVE", **resources: float) -> dict[str, Any]:
    return {"raylet": {"state": state, "resourcesTotal": {"memory": 1.0, **resources}}}


NODES = [node(CPU=16.0, GPU=2.0), node(CPU=4.0), node("DEAD", CPU=64.0, GPU=8.0)]


def answer(path: str, version: str = "2.60.0", nodes: Any = NODES) -> Any:
    return {"ray_version": version} if path == "/api/version" else {"result": True, "data": {"summary": nodes}}


def protected(**told: Any) -> Behaviour:
    def behaviour(path: str, token: str | None) -> tuple[int, Any]:
        if token is None:
            return 401, b"Unauthorized: Missing authentication token"
        return (200, answer(path, **told)) if token == f"Bearer {TOKEN}" else (403, b"Forbidden")

    return behaviour


@pytest.fixture(autouse=True)
def _ray_here(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"ray": "2.60.0"}
    monkeypatch.setattr(doctor, "_version", versions.get)


def test_a_cluster_that_asks_for_our_token_and_takes_it_is_all_right(home: Path, dashboard: Dashboard) -> None:
    leave_token(home, token=TOKEN + "\n")
    found = of(check_cluster(f"{dashboard.address}/"))
    assert [check.ok for check in found.values()] == [True] * 4
    assert found["cluster"].found == f"{dashboard.address} asks for a token"
    assert found["cluster token"].found == "ours is accepted"
    assert found["cluster version"].found == "Ray 2.60.0"
    assert found["cluster nodes"].found == "2 alive, 20 CPUs, 2 GPUs"
    ours = f"Bearer {TOKEN}"
    assert dashboard.asked == [("/api/version", None), ("/api/version", ours), ("/nodes?view=summary", ours)]


def test_a_cluster_that_lets_in_everybody_is_told_loudly_and_shown_no_token(home: Path, dashboard: Dashboard) -> None:
    leave_token(home)
    dashboard.behaviour = lambda path, token: (200, answer(path))
    found = of(check_cluster(dashboard.address))
    assert "ANSWERS WITHOUT A TOKEN: whoever reaches it may run any code" in found["cluster"].found
    assert "RAY_AUTH_MODE=token" in str(found["cluster"].advice)
    assert list(found) == ["cluster", "cluster version", "cluster nodes"]
    assert {token for _, token in dashboard.asked} == {None}


@pytest.mark.parametrize("token", [None, "", "two\nlines", "Zürich"])
def test_without_a_token_nothing_more_is_asked(home: Path, dashboard: Dashboard, token: str | None) -> None:
    if token is not None:
        leave_token(home, token=token)
    asks, none = check_cluster(dashboard.address)
    assert asks.ok
    assert (none.check, none.ok, none.found) == ("cluster token", False, "none here")
    assert len(dashboard.asked) == 1


def test_a_token_that_is_refused_is_never_shown(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-cluster")
    checks = list(check_cluster(dashboard.address))
    assert [(check.check, check.ok) for check in checks] == [("cluster", True), ("cluster token", False)]
    assert checks[1].found == "ours is refused (HTTP 403)"
    assert "of-another-cluster" not in str(checks)


def test_another_ray_and_a_cluster_without_machines_are_wrong(home: Path, dashboard: Dashboard) -> None:
    leave_token(home)
    dashboard.behaviour = protected(version="2.52.1", nodes=[node("DEAD", CPU=4.0)])
    found = of(check_cluster(dashboard.address))
    assert found["cluster version"].found == "Ray 2.52.1"
    assert "2.60.0 is here" in str(found["cluster version"].advice)
    assert found["cluster nodes"].found == "0 alive, 0 CPUs, 0 GPUs"
    assert not found["cluster nodes"].ok


def test_a_head_without_cpus_may_wait_for_work(home: Path, dashboard: Dashboard) -> None:
    leave_token(home)
    dashboard.behaviour = protected(nodes=[node(), node("DEAD", CPU=4.0)])
    found = of(check_cluster(dashboard.address))["cluster nodes"]
    assert found.ok
    assert found.found.startswith("1 alive, 0 CPUs, 0 GPUs; if more are to come when there is work")


@pytest.mark.parametrize("nodes", [None, [1], [{}], [{"raylet": None}], {"a": 1}, [node(CPU="many")]])
def test_nodes_that_make_no_sense_are_one_answer(home: Path, dashboard: Dashboard, nodes: Any) -> None:
    leave_token(home)
    dashboard.behaviour = protected(nodes=nodes)
    assert not of(check_cluster(dashboard.address))["cluster nodes"].ok


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[1]"),
        (200, b"{}"),
        (200, b"[" * 100_000),
        (404, b""),
        (500, b'{"ray_version": "2.60.0"}'),
        (302, b""),
        (407, b""),
    ],
    ids=["page", "list", "object", "nested", "404", "500", "redirect", "proxy"],
)
def test_what_is_no_dashboard_is_told_and_shown_no_token(
    home: Path, dashboard: Dashboard, status: int, body: bytes
) -> None:
    leave_token(home)
    dashboard.behaviour = lambda path, token: (status, body)
    (check,) = check_cluster(dashboard.address)
    assert check.found == f"{dashboard.address} answers (HTTP {status}), but not as Ray's dashboard does"
    assert dashboard.asked == [("/api/version", None)]


def test_no_redirection_learns_the_token(home: Path, dashboard: Dashboard) -> None:
    leave_token(home)
    dashboard.behaviour = lambda path, token: (401 if token is None else 307, b"")
    *_, last = check_cluster(dashboard.address)
    assert "answers (HTTP 307)" in last.found
    assert [path for path, _ in dashboard.asked] == ["/api/version", "/api/version"]


def test_no_proxy_is_asked(home: Path, dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_token(home)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert all(check.ok for check in check_cluster(dashboard.address))


def test_a_cluster_out_of_reach_is_told_with_the_way_there(dashboard: Dashboard) -> None:
    (check,) = check_cluster("http://127.0.0.1:1")
    assert check.found.startswith("http://127.0.0.1:1 cannot be reached: ")
    assert "ssh -N -L" in str(check.advice)


def test_an_answer_that_breaks_off_or_is_no_http_is_told(home: Path, dashboard: Dashboard) -> None:
    leave_token(home)

    def breaks(path: str, token: str | None) -> tuple[int, Any]:
        raise ConnectionAbortedError

    dashboard.server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
    dashboard.behaviour = breaks
    (check,) = check_cluster(dashboard.address)
    assert "cannot be reached: " in check.found


@pytest.mark.parametrize(
    "address",
    [
        *("", "127.0.0.1:8265", "localhost", "ray://127.0.0.1:10001", "file:///etc/passwd", "http://", "http://a:port"),
        *("http://me:hush@127.0.0.1:8265", "http://127.0.0.1:8265/?token=hush", "http://127.0.0.1:8265/hush"),
        *("http://a b:1", "http://[::1", "http://a:99999"),
    ],
)
def test_what_is_no_address_is_not_asked_and_not_echoed(address: str) -> None:
    (check,) = check_cluster(address)
    assert check.check == "cluster"
    assert not check.ok
    assert "http://127.0.0.1:8265" in str(check.advice)
    assert "hush" not in str(check)


@pytest.mark.parametrize(
    ("address", "shown", "clear"),
    [
        ("http://127.0.0.1:8265", "http://127.0.0.1:8265", False),
        ("http://localhost", "http://localhost:80", False),
        ("http://[::1]:8265/", "http://[::1]:8265", False),
        ("https://head.example.org", "https://head.example.org:443", False),
        ("http://head.example.org:8265", "http://head.example.org:8265", True),
        ("http://10.0.0.7:8265", "http://10.0.0.7:8265", True),
    ],
)
def test_it_is_known_which_way_can_be_listened_on(address: str, shown: str, clear: bool) -> None:
    parsed = doctor._Dashboard.parse(address)
    assert str(parsed) == shown
    assert parsed is not None
    assert parsed.in_clear is clear
