import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor import cluster
from orchestrator.doctor.cluster import check_cluster
from tests.orchestrator.doctor.conftest import TOKEN, leave_token, of

Behaviour = Callable[[str, str | None], tuple[int, Any]]


class Dashboard:
    """An HTTP server on loopback with prepared answers, which remembers its requests and their tokens."""

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
    monkeypatch.setattr(cluster, "installed_version", versions.get)


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
    parsed = cluster._Dashboard.parse(address)
    assert str(parsed) == shown
    assert parsed is not None
    assert parsed.in_clear is clear
