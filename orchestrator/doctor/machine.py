"""Check what a run needs of this machine: Python, Ray, its token, torch, memory and disk space."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.doctor.check import ASKED_S, INSTALL, Check
from orchestrator.resources.place import ray_place, why_no_ray
from orchestrator.text import counted

if TYPE_CHECKING:
    from orchestrator.resources.share import Machine

RAY_SERIES = "2.60"
"""The supported releases of Ray, as in pyproject.toml."""
_LEAST_DISK = 2e9
_LEAST_MEMORY = 4e9


def installed_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_python(version: Sequence[int]) -> Check:
    """Check Python by its (major, minor, micro) version."""
    old = tuple(version[:2]) < (3, 11)
    return Check(
        "python",
        f"Python {'.'.join(map(str, version))}",
        "install Python 3.11 or newer: make install PYTHON=python3.11" if old else None,
    )


def check_ray(version: str | None) -> Check:
    """Check Ray by its version; None means that it is not installed."""
    if version is None:
        return Check("ray", "Ray is not installed", INSTALL)
    supported = f"{version}.".startswith(f"{RAY_SERIES}.")
    return Check("ray", f"Ray {version}", None if supported else f"install Ray {RAY_SERIES}: {INSTALL}")


def check_token() -> Check:
    """Check the token, the secret that Ray asks every client for."""
    if os.environ.get("RAY_AUTH_MODE", "").lower() == "disabled":
        found = "RAY_AUTH_MODE=disabled: whoever reaches a port of Ray may run code as you"
        return Check("token", found, "unset RAY_AUTH_MODE, or set it to token")
    if os.environ.get("RAY_AUTH_TOKEN"):
        return Check("token", "from RAY_AUTH_TOKEN")
    path = _token_file()
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        if "RAY_AUTH_TOKEN_PATH" in os.environ:
            return Check("token", f"there is no {path}, which RAY_AUTH_TOKEN_PATH names", "correct it, or unset it")
        return Check("token", "none yet: the first run makes one that only you can read")
    open_to_others = mode & (stat.S_IRWXG | stat.S_IRWXO)
    return Check("token", f"{path} has the mode {mode:04o}", f"chmod 600 {path}" if open_to_others else None)


def _token_file() -> Path:
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or "~/.ray/auth_token").expanduser()


def our_token() -> str | None:
    """Return the token, found as Ray finds it; None if there is none that a request can carry."""
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    if not token:
        with contextlib.suppress(OSError, UnicodeDecodeError):
            token = _token_file().read_text(encoding="ascii")
    token = token.strip()
    return token if token.isascii() and token.isprintable() and token else None


def check_environment(names: Iterable[str]) -> Check:
    """List the variables that the project, Ray, torch or boto3 read; only their names, because values may be
    secrets."""
    relevant = re.compile(r"(DIP|RAY|AWS)_.*|CUDA_VISIBLE_DEVICES|(OMP|MKL)_NUM_THREADS|TMPDIR|XDG_CACHE_HOME")
    found = sorted(name for name in names if relevant.fullmatch(name))
    return Check("environment", f"set: {', '.join(found)}" if found else "nothing set that changes a run")


@dataclass(frozen=True)
class Torch:
    """The facts about torch.

    Attributes:
        version: its version.
        cuda: the CUDA that it was built with.
        capability: the instructions of the CPU that it uses.
        gpus: the GPUs that it sees, by name and bytes of memory.
    """

    version: str
    cuda: str | None
    capability: str
    gpus: Sequence[tuple[str, int]] = ()


def torch_here() -> Torch:
    """Return the facts about the torch of this process.

    Raises:
        ImportError: torch cannot be imported.
    """
    import torch  # noqa: PLC0415 - if torch cannot be imported, only this question must fail

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings about drivers; the answers show their consequences
        count = torch.cuda.device_count()
        seen = [torch.cuda.get_device_properties(index) for index in range(count)]
    built_with = torch.version.cuda or getattr(torch.version, "hip", None)
    gpus = [(gpu.name, gpu.total_memory) for gpu in seen]
    return Torch(torch.__version__, built_with, torch.backends.cpu.get_cpu_capability(), gpus)


def nvidia_gpus() -> list[str]:
    """Return the GPUs that NVIDIA's driver lists; none if they were hidden on purpose."""
    program = shutil.which("nvidia-smi")
    if program is None or "CUDA_VISIBLE_DEVICES" in os.environ:
        return []
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = [program, "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=ASKED_S)  # noqa: S603
        return [name.strip() for name in listed.stdout.splitlines() if name.strip()]
    return []


def _convolve(device: str) -> float:
    """Compute a convolution on a device and return its sum, which is 36 if the device works."""
    import torch  # noqa: PLC0415

    image, kernel = torch.ones(1, 1, 4, 4, device=device), torch.ones(1, 1, 3, 3, device=device)
    return float(torch.nn.functional.conv2d(image, kernel).sum())


def check_torch(torch: Torch, listed: Sequence[str], convolve: Callable[[str], float] = _convolve) -> Iterator[Check]:
    """Check that torch computes on the CPU and on every GPU.

    Args:
        torch: The facts about torch.
        listed: The GPUs that the driver knows.
        convolve: Computes a convolution on a device and returns its sum.
    """
    yield _computes("torch", f"torch {torch.version}, {torch.capability}", "cpu", INSTALL, convolve)
    for index, (name, memory) in enumerate(torch.gpus):
        found = f"{name}, {memory / 1e9:.1f} GB"
        advice = "install a torch that supports this GPU and its driver (https://pytorch.org), or set resources.gpus=0"
        yield _computes("gpu", found, f"cuda:{index}", advice, convolve)
    if torch.gpus:
        return
    if not listed:
        yield Check("gpu", "none: networks are fitted on the CPU; `submit --dry-run` says how long that takes")
    elif torch.cuda is None:
        found = f"{listed[0]} is here, but torch {torch.version} is built without CUDA: networks are fitted on the CPU"
        yield Check("gpu", found, "install a torch with CUDA: https://pytorch.org/get-started/locally")
    else:
        found = f"{listed[0]} is here, but torch {torch.version} does not see it"
        yield Check(
            "gpu", found, f"install a driver that is new enough for CUDA {torch.cuda}, or a torch for an older one"
        )


def _computes(check: str, found: str, device: str, advice: str, convolve: Callable[[str], float]) -> Check:
    try:
        total = convolve(device)
    except RuntimeError as error:
        reason = (str(error).splitlines() or [""])[0]
        return Check(check, f"{found}: a convolution fails on {device}: {reason}", advice)
    if total != 36:
        return Check(check, f"{found}: a convolution on {device} gives {total:g} instead of 36", advice)
    return Check(check, found)


def check_this_machine() -> list[Check]:
    """Check the CPUs and the memory of this machine."""
    from orchestrator.resources.share import Machine, this_machine  # noqa: PLC0415 - it imports torch

    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [check_machine(this_machine(), Machine(os.cpu_count() or 1, pages))]


def check_machine(usable: "Machine", whole: "Machine") -> Check:
    """Check the CPUs and the memory that a run may use; ``whole`` are those of the whole machine."""
    found = f"{counted(usable.cpus, 'CPU')}, {usable.memory / 1e9:.1f} GB of memory"
    if usable.cpus < whole.cpus or usable.memory < whole.memory:
        found += f" (the machine's {whole.cpus} and {whole.memory / 1e9:.1f} GB are limited for this process)"
    small = usable.memory < _LEAST_MEMORY
    return Check("machine", found, "allow it 4 GB or more: Ray and its workers alone take 2 to 3" if small else None)


def folders_of(place: str) -> Iterator[tuple[str, Path, str]]:
    """Yield the folders that a run writes to on this machine: the contents, the folder, and how to choose another."""
    if place.lower().startswith("s3://"):
        from orchestrator.store.s3.connection import cache_folder  # noqa: PLC0415 - it imports boto3

        yield "the store's copies", Path(cache_folder()).expanduser(), "set DIP_CACHE to another place"
    elif "://" not in place:
        yield "the store", Path(place).expanduser().absolute(), "choose another place with --store"
    yield "Ray's files", ray_place(), "set RAY_TMPDIR to another place"


def check_ray_place() -> Check:
    """Check that a run can start a Ray of its own, and that its files have a place."""
    return Check("ray", *(why_no_ray() or (f"a run's Ray has its files in {ray_place()}",)))


def check_disk(of: str, folder: Path, advice: str) -> Check:
    """Check the free disk space for a folder, which need not exist yet; ``of`` names its contents."""
    existing = next(path for path in (folder, *folder.parents) if os.path.isdir(path))  # noqa: PTH112 - never raises
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free for {of}, {folder}"
    return Check("disk", found, f"free some space, or {advice}" if free < _LEAST_DISK else None)
