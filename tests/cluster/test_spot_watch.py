"""The watcher of spot notices against services that answer as EC2's and Google's do, and a command in Ray's place."""

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cluster import spot_watch

WATCHER = Path(spot_watch.__file__)
NODE, GCS = "ab" * 28, "10.0.0.1:6379"


class Service(ThreadingHTTPServer):
    """A metadata service on the loopback: its requests, and its answers."""

    def __init__(self, answer: Callable[["Service", BaseHTTPRequestHandler], tuple[int, str, dict[str, str]]]) -> None:
        self.asked: list[str] = []
        self.notice: str | None = None
        self.tokens: set[str] = set()

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                service.asked.append(f"{self.command} {self.path}")
                status, body, headers = answer(service, self)
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

            do_GET = do_PUT = handle_any  # noqa: N815

            def log_message(self, format: str, *args: object) -> None:
                pass

        service = self
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


def as_ec2(service: Service, request: BaseHTTPRequestHandler) -> tuple[int, str, dict[str, str]]:
    if (request.command, request.path) == ("PUT", "/latest/api/token"):
        if not request.headers["X-aws-ec2-metadata-token-ttl-seconds"]:
            return 400, "", {}
        token = f"token-{len(service.asked)}=="
        service.tokens.add(token)
        return 200, token, {}
    if request.headers["X-aws-ec2-metadata-token"] not in service.tokens:
        return 401, "Unauthorized", {}
    if request.path == "/latest/meta-data/events/recommendations/rebalance":
        return 200, json.dumps({"noticeTime": "2030-01-01T00:00:00Z"}), {}
    if request.path != "/latest/meta-data/spot/instance-action" or service.notice is None:
        return 404, "Not Found", {}
    return 200, service.notice, {}


def as_google(service: Service, request: BaseHTTPRequestHandler) -> tuple[int, str, dict[str, str]]:
    if request.headers["Metadata-Flavor"] != "Google":
        return 403, "Forbidden", {}
    if request.path != "/computeMetadata/v1/instance/preempted":
        return 404, "", {"Metadata-Flavor": "Google"}
    return 200, service.notice or "FALSE", {"Metadata-Flavor": "Google"}


@contextlib.contextmanager
def serving(service: Service) -> Iterator[Service]:
    thread = threading.Thread(target=service.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


@pytest.fixture
def ec2() -> Iterator[Service]:
    with serving(Service(as_ec2)) as service:
        yield service


@pytest.fixture
def google() -> Iterator[Service]:
    with serving(Service(as_google)) as service:
        yield service


def action(seconds: float) -> str:
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return json.dumps({"action": "terminate", "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")})


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like a raylet."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "raylet"
    program.symlink_to(sys.executable)
    flags = ["--raylet_socket_name=/tmp/r", f"--node_id={NODE}", f"--gcs-address={GCS}", "--labels={}"]
    with subprocess.Popen([program, "-c", "import time; time.sleep(600)", *flags]) as process:
        # Wait until it has become the process that it imitates.
        wait_for(lambda: spot_watch.Raylet.of(Path(f"/proc/{process.pid}")) is not None)
        try:
            yield process
        finally:
            process.kill()


class Ray:
    """A command in Ray's place, which writes down how it was called and fails a given number of times."""

    def __init__(self, folder: Path) -> None:
        self.calls_file, self.failures = folder / "calls", folder / "failures"
        self.command = folder / "ray"
        self.command.write_text(
            f"#!{sys.executable}\n"
            "import json, os, pathlib, sys\n"
            f"with open({str(self.calls_file)!r}, 'a') as file:\n"
            "    print(json.dumps([sys.argv[1:], os.environ.get('RAY_AUTH_MODE')]), file=file)\n"
            f"failures = pathlib.Path({str(self.failures)!r})\n"
            "left = int(failures.read_text()) if failures.exists() else 0\n"
            "if left:\n"
            "    failures.write_text(str(left - 1))\n"
            "    sys.exit('InvalidAuthToken')\n"
        )
        self.command.chmod(self.command.stat().st_mode | stat.S_IXUSR)

    @property
    def calls(self) -> list[list[str]]:
        if not self.calls_file.exists():
            return []
        return [json.loads(line)[0] for line in self.calls_file.read_text().splitlines()]

    @property
    def modes(self) -> list[str | None]:
        return [json.loads(line)[1] for line in self.calls_file.read_text().splitlines()]


@pytest.fixture
def ray(tmp_path: Path) -> Ray:
    return Ray(tmp_path)


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def command(tmp_path: Path, cloud: str, url: str, ray: Ray, *more: str) -> list[str]:
    fast = ["--interval", "0.05", "--files", str(tmp_path), "--metadata", url, "--ray", str(ray.command)]
    return [sys.executable, str(WATCHER), cloud, *fast, *more]


@contextlib.contextmanager
def watching(arguments: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        arguments, stderr=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"], **environment}
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def flags_of(call: list[str]) -> dict[str, str]:
    assert call[0] == "drain-node"
    return dict(zip(call[1::2], call[2::2], strict=True))


def test_a_notice_of_ec2_drains_this_node_until_the_time_that_ec2_names(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments, RAY_AUTH_MODE="token") as process:
        wait_for(lambda: len(ec2.asked) > 5)
        assert ray.calls == []
        ec2.notice = action(100)
        assert process.wait(30) == 0
    (call,) = ray.calls
    flags = flags_of(call)
    assert (flags["--node-id"], flags["--address"]) == (NODE, GCS)
    assert flags["--reason"] == "DRAIN_NODE_REASON_PREEMPTION"
    assert 60 < int(flags["--deadline-remaining-seconds"]) <= 100
    assert flags["--reason-message"]
    assert ray.modes == ["token"]
    # One token serves all requests, and nothing else was asked: a recommendation to rebalance is no notice.
    assert ec2.asked.count("PUT /latest/api/token") == 1
    assert set(ec2.asked[1:]) == {"GET /latest/meta-data/spot/instance-action"}


def test_the_flags_are_those_of_the_installed_ray() -> None:
    from ray.core.generated import autoscaler_pb2
    from ray.scripts.scripts import drain_node

    known = {option for parameter in drain_node.params for option in parameter.opts}
    used = {"--address", "--node-id", "--reason", "--reason-message", "--deadline-remaining-seconds"}
    assert used <= known
    assert all(f'"{flag}"' in WATCHER.read_text() for flag in used)
    assert "DRAIN_NODE_REASON_PREEMPTION" in dict(autoscaler_pb2.DrainNodeReason.items())


def test_ray_is_told_again_until_it_has_heard_it(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    ec2.notice = action(100)
    ray.failures.write_text("2")
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments) as process:
        _, messages = process.communicate(timeout=120)
    assert len(ray.calls) == 3
    left = [int(flags_of(call)["--deadline-remaining-seconds"]) for call in ray.calls]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    assert "InvalidAuthToken" in messages


def test_a_token_that_has_expired_is_replaced(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments) as process:
        wait_for(lambda: len(ec2.asked) > 3)
        ec2.tokens.clear()
        wait_for(lambda: ec2.asked.count("PUT /latest/api/token") == 2)
        ec2.notice = action(100)
        assert process.wait(30) == 0
    assert len(ray.calls) == 1


def test_googles_notice_counts_as_long_as_the_machine_was_promised(
    tmp_path: Path, google: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    more = ("--raylet", str(raylet.pid), "--foreground", "--notice", "120")
    with watching(command(tmp_path, "gce", google.url, ray, *more)) as process:
        wait_for(lambda: len(google.asked) > 5)
        assert ray.calls == []
        google.notice = "TRUE"
        assert process.wait(30) == 0
    (call,) = ray.calls
    assert 80 < int(flags_of(call)["--deadline-remaining-seconds"]) <= 120
    assert set(google.asked) == {"GET /computeMetadata/v1/instance/preempted"}


@pytest.mark.parametrize("cloud", ["aws", "gce"])
def test_a_machine_without_a_metadata_service_is_left_alone(
    tmp_path: Path, raylet: subprocess.Popen[bytes], ray: Ray, cloud: str
) -> None:
    with serving(Service(as_ec2)) as closed:
        url = closed.url
    more = ("--raylet", str(raylet.pid), "--foreground", "--patience", "0.5")
    with watching(command(tmp_path, cloud, url, ray, *more)) as process:
        _, messages = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "no metadata service" in messages
    assert "Traceback" not in messages
    assert ray.calls == []


def as_anything(service: Service, request: BaseHTTPRequestHandler) -> tuple[int, str, dict[str, str]]:
    return 200, "TRUE", {}


@pytest.mark.parametrize(
    ("cloud", "answer"), [("aws", as_google), ("gce", as_ec2), ("aws", as_anything), ("gce", as_anything)]
)
def test_what_is_not_the_clouds_service_is_none(
    tmp_path: Path,
    raylet: subprocess.Popen[bytes],
    ray: Ray,
    cloud: str,
    answer: Callable[[Service, BaseHTTPRequestHandler], tuple[int, str, dict[str, str]]],
) -> None:
    with serving(Service(answer)) as service:
        service.notice = "TRUE"
        more = ("--raylet", str(raylet.pid), "--foreground", "--patience", "0.5")
        with watching(command(tmp_path, cloud, service.url, ray, *more)) as process:
            _, messages = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "no metadata service" in messages
    assert ray.calls == []


def test_a_service_that_fails_for_a_while_is_asked_again(
    tmp_path: Path, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    failing = threading.Event()

    def at_times(service: Service, request: BaseHTTPRequestHandler) -> tuple[int, str, dict[str, str]]:
        return (500, "", {}) if failing.is_set() else as_ec2(service, request)

    with serving(Service(at_times)) as service:
        more = ("--raylet", str(raylet.pid), "--foreground", "--patience", "0.3")
        with watching(command(tmp_path, "aws", service.url, ray, *more)) as process:
            wait_for(lambda: len(service.asked) > 3)
            failing.set()
            before = len(service.asked)
            began = time.monotonic()
            wait_for(lambda: len(service.asked) > before + 5 and time.monotonic() > began + 0.6)
            assert process.poll() is None
            service.notice = action(100)
            failing.clear()
            assert process.wait(30) == 0
    assert len(ray.calls) == 1


def test_the_watcher_ends_with_the_raylet(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments) as process:
        wait_for(lambda: len(ec2.asked) > 3)
        raylet.kill()
        raylet.wait()
        assert process.wait(30) == 0
    assert ray.calls == []


def test_a_raylet_that_ends_while_ray_cannot_be_told_is_not_waited_for(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    ec2.notice = action(100)
    ray.failures.write_text("1000")
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments) as process:
        wait_for(lambda: len(ray.calls) > 1)
        raylet.kill()
        raylet.wait()
        assert process.wait(30) == 0


def test_only_one_watches(tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray) -> None:
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    with watching(arguments) as first:
        wait_for(lambda: len(ec2.asked) > 3)
        with watching([*arguments, "--patience", "0.3"]) as second:
            _, messages = second.communicate(timeout=120)
        assert "another one watches already" in messages
        assert first.poll() is None


def test_a_new_watcher_takes_over_when_the_old_ones_raylet_is_gone(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    old = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid), "--foreground")
    program = tmp_path / "bin" / "raylet"
    with watching(old) as first:
        wait_for(lambda: len(ec2.asked) > 3)
        again = [program, "-c", "import time; time.sleep(600)", f"--node_id={'cd' * 28}", f"--gcs-address={GCS}"]
        with subprocess.Popen(again) as restarted:
            wait_for(lambda: spot_watch.Raylet.of(Path(f"/proc/{restarted.pid}")) is not None)
            with watching([*old[: old.index("--raylet")], "--raylet", str(restarted.pid), "--foreground"]) as second:
                raylet.kill()
                raylet.wait()
                assert first.wait(30) == 0
                ec2.notice = action(100)
                assert second.wait(30) == 0
            restarted.kill()
    assert [flags_of(call)["--node-id"] for call in ray.calls] == ["cd" * 28]


def test_it_goes_into_the_background_and_lets_go_of_who_started_it(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    # The pipes are read to their end, which comes only when no process holds them any more, as ssh does.
    started = subprocess.run(
        command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid)),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )
    assert (started.stdout, started.stderr) == ("", "")
    wait_for(lambda: len(ec2.asked) > 3)
    ec2.notice = action(100)
    wait_for(lambda: len(ray.calls) == 1)
    messages = tmp_path / ".dip-spot-watch.log"
    wait_for(lambda: "Ray has been told" in messages.read_text())


def test_it_survives_the_end_of_the_session_that_started_it(
    tmp_path: Path, ec2: Service, raylet: subprocess.Popen[bytes], ray: Ray
) -> None:
    arguments = command(tmp_path, "aws", ec2.url, ray, "--raylet", str(raylet.pid))
    with subprocess.Popen([*arguments], start_new_session=True) as session:
        assert session.wait(30) == 0
    wait_for(lambda: len(ec2.asked) > 3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(session.pid, signal.SIGHUP)
    ec2.notice = action(100)
    wait_for(lambda: len(ray.calls) == 1)


def process_folder(proc: Path, number: int, words: list[str], *, state: str = "S", started: int = 100) -> Path:
    folder = proc / str(number)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    zeros = " ".join(["0"] * 18)
    (folder / "stat").write_text(f"{number} (a) b) {state} {zeros} {started} 0 0\n")
    return folder


def raylet_words(node: str) -> list[str]:
    return [
        "/opt/ray/raylet/raylet",
        f"--node_id={node}",
        "--python_worker_command=python --node-id=x",
        f"--gcs-address={GCS}",
    ]


def test_the_raylet_is_found_among_all_processes(tmp_path: Path) -> None:
    (tmp_path / "sys").mkdir()
    process_folder(tmp_path, 1, ["/sbin/init"])
    process_folder(tmp_path, 7, [])
    process_folder(tmp_path, 10, raylet_words("01"), started=300)
    process_folder(tmp_path, 900, raylet_words("02"), started=200)
    process_folder(tmp_path, 901, raylet_words("03"), started=400, state="Z")
    process_folder(tmp_path, 902, ["python", "agent.py", "--node_id=04", f"--gcs-address={GCS}"], started=500)
    process_folder(tmp_path, 903, ["/opt/ray/raylet/raylet", "--version"], started=600)
    found = spot_watch.find_raylet(tmp_path)
    assert found is not None
    assert (found.node_id, found.gcs_address, found.alive) == ("01", GCS, True)
    # Its number may be given to another process.
    process_folder(tmp_path / "later", 10, raylet_words("01"), started=301)
    (tmp_path / "10" / "stat").write_text((tmp_path / "later" / "10" / "stat").read_text())
    assert not found.alive


def test_where_no_raylet_runs_none_is_found(tmp_path: Path) -> None:
    process_folder(tmp_path, 1, ["/sbin/init"])
    assert spot_watch.find_raylet(tmp_path) is None


def test_another_users_raylet_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process_folder(tmp_path, 10, raylet_words("01"))
    monkeypatch.setattr(os, "getuid", lambda: 12345678)
    assert spot_watch.find_raylet(tmp_path) is None


@pytest.mark.parametrize("when", [None, "soon", 5])
def test_a_notice_without_a_time_is_one_all_the_same(ec2: Service, when: object) -> None:
    ec2.notice = json.dumps({"action": "stop", "time": when})
    assert spot_watch.Aws(spot_watch.Metadata(ec2.url)).notice() == 120


@pytest.mark.parametrize("body", ["", "no JSON", "[]", "5", '"terminate"', '{"time": "2030-01-01T00:00:00Z"}'])
def test_what_is_no_notice_is_none(ec2: Service, body: str) -> None:
    ec2.notice = body
    with pytest.raises(spot_watch.NoMetadataError):
        spot_watch.Aws(spot_watch.Metadata(ec2.url)).notice()


def test_a_notice_whose_time_has_come_leaves_none(ec2: Service) -> None:
    ec2.notice = action(-30)
    assert spot_watch.Aws(spot_watch.Metadata(ec2.url)).notice() == 0


def test_a_proxy_is_not_asked(ec2: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert spot_watch.Aws(spot_watch.Metadata(ec2.url)).notice() is None


def test_it_needs_the_standard_library_only_and_asks_the_metadata_address() -> None:
    subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", str(WATCHER), "--help"], check=True, stdout=subprocess.DEVNULL
    )
    assert spot_watch.parse(["aws"]).metadata == "http://169.254.169.254"
