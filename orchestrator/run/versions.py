"""The version of the code: one version of the project may be checked out, patched or installed in different states."""

import hashlib
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import workers
from orchestrator.text import printable
from orchestrator.version import __version__

_FIGURED = ("dip-orchestrator", "python", "torch", "numpy", "scipy", "scikit-image", "ray", "cpu")
"""The facts of a machine on which the last digits of what is fitted depend, by their names in a run's record."""


def mixture(machines: Iterable[Mapping[str, Any]]) -> str | None:
    """Say what is not the same on all machines that drove a run, oldest first, and what may differ; None if all is.

    Equal bytes are promised for equal versions and CPUs only.
    """
    known: dict[str, dict[str, None]] = {name: {} for name in _FIGURED}
    for machine in machines:
        for name in _FIGURED:
            if name in machine:
                known[name][printable(str(machine[name]))] = None
    mixed = [f"{name} {' and '.join(values)}" for name, values in known.items() if len(values) > 1]
    if not mixed:
        return None
    return (
        f"this run is made with {', '.join(mixed)}: last digits may differ from those that one version gives, and near"
        " ties be picked otherwise"
    )


def code_version() -> str:
    """The versions that all machines of a run must share: ``dip-orchestrator 0.1.0+1f9a0c3e, torch 2.13.0,
    ray 2.60.0, Python 3.11``.
    """
    packages = ", ".join(f"{package} {version(package).partition('+')[0]}" for package in ("torch", "ray"))
    python = ".".join(platform.python_version_tuple()[:2])
    return f"dip-orchestrator {project_version()}, {packages}, Python {python}"


def check_code(wanted: str) -> None:
    """Make sure that this machine has the driver's code; an empty ``wanted`` accepts any.

    Raises:
        RuntimeError: it has other code, whose results would not be the run's.
    """
    if wanted and code_version() != wanted:
        raise RuntimeError(f"this machine has {code_version()}, and the driver {wanted}")


@cache
def project_version() -> str:
    """The project's version and 8 hex digits that change with any of its source files: ``0.1.0+1f9a0c3e``."""
    digest = hashlib.sha256()
    # Each package by itself: sent along with a job, they lie in different places.
    for package in (Path(__file__).parents[1], Path(str(workers.__file__)).parent):
        for path in sorted(package.rglob("*.py")):
            name = path.relative_to(package.parent).as_posix()
            digest.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return f"{__version__}+{digest.hexdigest()[:8]}"
