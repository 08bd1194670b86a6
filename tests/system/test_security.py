"""A local Ray, as every run starts one: who can reach it, and who is let in."""

import contextlib
import http.client
import ipaddress
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.doctor.check import Check
from orchestrator.doctor.cluster import check_cluster
from orchestrator.doctor.machine import check_token

SERVE = """
import sys
from orchestrator.drive.local_ray import local_ray
from orchestrator.resources.share import Resources

with local_ray(Resources(1, 1, "cpu", 0.0, 1e9), dashboard=True) as address:
    import ray

    ray.get(ray.remote(num_cpus=1)(lambda: None).remote())
    print(address, flush=True)
    sys.stdin.read()
"""
SERVERS = {"gcs_server", "raylet", "ray::DashboardAgent", "ray::RuntimeEnvAgent"}


@dataclass(frozen=True)
class Ray:
    """A Ray of somebody who has never used one."""

    address: str
    home: Path
    process: psutil.Process

    @property
    def token_file(self) -> Path:
        return self.home / ".ray/auth_token"

    def ask(self, path: str, token: str | None = None, job: dict[str, Any] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.address.removeprefix("http://"), timeout=10)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        with contextlib.closing(connection):
            if job is None:
                connection.request("GET", path, headers=headers)
            else:
                connection.request("POST", path, json.dumps(job), headers | {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def listening(self) -> list[tuple[str, str]]:
        """(process, address) of every TCP socket that takes connections."""
        found = []
        for process in (self.process, *self.process.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [
                    (process.name(), each.laddr.ip)
                    for each in process.net_connections("tcp")
                    if each.status == psutil.CONN_LISTEN
                ]
        return found


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ray]:
    home = tmp_path_factory.mktemp("home")
    # As users have it: its workers are Ray's own.
    ours = ("RAY_", "WARM_WORKER")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    with subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env={**environment, "HOME": str(home)},
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        family: list[psutil.Process] = []
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            family = psutil.Process(process.pid).children(recursive=True)
            yield Ray(address, home, psutil.Process(process.pid))
            process.stdin.close()
            process.wait(timeout=60)
        finally:
            process.kill()
            _, alive = psutil.wait_procs(family, timeout=30)
            for each in alive:
                each.kill()
    assert process.returncode == 0
    assert alive == []


def test_nothing_listens_to_other_machines(ray: Ray) -> None:
    deadline = time.monotonic() + 60
    while not {name for name, _ in ray.listening()} >= SERVERS:
        assert time.monotonic() < deadline, ray.listening()
        time.sleep(0.2)
    assert [(name, ip) for name, ip in ray.listening() if not is_loopback(ip)] == []


def is_loopback(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def test_other_users_of_the_machine_see_none_of_its_files(ray: Ray) -> None:
    (folder,) = {
        Path(*Path(word).parts[:3])
        for process in ray.process.children(recursive=True)
        for word in process.cmdline()
        for word in word.split("=")
        if word.startswith("/tmp/dip-ray-")  # noqa: S108
    }
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    paths = [str(path) for path in (folder, *folder.rglob("*"))]
    assert any("sockets" in path for path in paths)
    if os.geteuid() != 0:
        return
    # The system itself is asked, as a user who is nobody.
    asked = subprocess.run(
        ["find", *paths[:500], "-maxdepth", "0"],
        capture_output=True,
        text=True,
        check=False,
        user=65534,
        group=65534,
        extra_groups=[],
    )
    assert asked.stdout.splitlines() == [str(folder)]


def test_the_token_is_made_for_its_owner_alone(ray: Ray) -> None:
    assert stat.S_IMODE(ray.token_file.stat().st_mode) == 0o600
    assert len(ray.token_file.read_text()) >= 32


@pytest.mark.parametrize("path", ["/api/version", "/nodes?view=summary", "/api/cluster_status", "/api/jobs/", "/logs"])
def test_who_does_not_know_the_token_is_told_nothing(ray: Ray, path: str) -> None:
    assert ray.ask(path)[0] == 401
    assert ray.ask(path, "0" * 64)[0] == 403


def test_who_does_not_know_the_token_can_run_nothing(ray: Ray, tmp_path: Path) -> None:
    job = {"entrypoint": f"touch {tmp_path / 'ran'}"}
    assert ray.ask("/api/jobs/", job=job)[0] == 401
    assert ray.ask("/api/jobs/", "0" * 64, job=job)[0] == 403
    submitted = json.loads(ray.ask("/api/jobs/", ray.token_file.read_text())[1])
    assert [each["type"] for each in submitted] == ["DRIVER"]
    assert not (tmp_path / "ran").exists()


def test_its_owner_is_let_in_and_no_usage_is_reported(ray: Ray) -> None:
    token = ray.token_file.read_text()
    assert ray.ask("/api/version", token)[0] == 200
    status, told = ray.ask("/usage_stats_enabled", token)
    assert status == 200
    assert json.loads(told)["data"]["usageStatsEnabled"] is False


def test_the_doctor_finds_nothing_wrong_with_it(ray: Ray, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(ray.home))
    assert check_token().ok
    found = list(check_cluster(ray.address))
    assert [check.check for check in found] == ["cluster", "cluster token", "cluster version", "cluster nodes"]
    assert [check for check in found if not check.ok] == []
    assert found[-1] == Check("cluster nodes", "1 alive, 1 CPU, 0 GPUs")
    stranger = tmp_path / "token"
    stranger.write_text("0" * 64)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(stranger))
    assert [(check.check, check.ok) for check in check_cluster(ray.address)] == [
        ("cluster", True),
        ("cluster token", False),
    ]
