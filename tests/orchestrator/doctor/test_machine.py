import shutil
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.doctor import machine
from orchestrator.doctor.check import Check
from orchestrator.doctor.machine import (
    RAY_SERIES,
    Torch,
    check_disk,
    check_environment,
    check_machine,
    check_python,
    check_ray,
    check_token,
    check_torch,
)
from orchestrator.resources.share import Machine
from tests.orchestrator.doctor.conftest import GB, leave_token, of


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
    assert machine._convolve("cpu") == 36


def test_gpus_that_were_hidden_on_purpose_are_not_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA L4'\necho\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert machine.nvidia_gpus() == ["NVIDIA L4"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert machine.nvidia_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert machine.nvidia_gpus() == []


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
    # Ray's sockets need a short path, so that only the variable of Ray's own counts.
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.delenv("RAY_TMPDIR", raising=False)

    def folders(place: str) -> list[Path]:
        return [folder for _, folder, _ in machine.folders_of(place)]

    assert folders(str(tmp_path / "s")) == [tmp_path / "s", Path("/tmp")]  # noqa: S108
    assert folders("s3://bucket/x") == [tmp_path / "cache", Path("/tmp")]  # noqa: S108
    assert folders("gs://bucket") == [Path("/tmp")]  # noqa: S108
    monkeypatch.setenv("RAY_TMPDIR", "/ours")
    assert folders("gs://bucket") == [Path("/ours")]
