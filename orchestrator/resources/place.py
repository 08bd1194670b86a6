"""The place of a Ray of our own on this machine: where its files are, and whether it can start from here."""

import os
import sys
from pathlib import Path

from orchestrator.resources.scratch import scratch

_LONGEST = 22
"""Of the place in bytes: names of sockets have at most 107, and Ray's lie up to 85 bytes below it (2.60)."""
PURPOSE = "ray"
"""Of the folder that each run makes there."""


def ray_place() -> Path:
    """The folder in which each run makes one for its Ray's files: ``RAY_TMPDIR``, else ``/tmp``."""
    return Path(os.environ.get("RAY_TMPDIR") or "/tmp")  # noqa: S108 - what is made in it, only its owner may enter


def why_no_ray() -> tuple[str, str] | None:
    """Say why no Ray can be started here, and what to do; None if nothing is known that is in the way."""
    place = ray_place()
    name = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "/tmp"  # noqa: S108
    elsewhere = f"set RAY_TMPDIR to another folder, whose path has at most {_LONGEST} bytes"
    if " " in sys.executable:
        # Ray starts its workers by a line that a shell splits (2.60), and the run would wait for them without end.
        return f"Ray starts no workers where Python's path has a space, {sys.executable}", "move the environment"
    if not place.is_absolute():
        return f"{name}: {place} is no absolute path", elsewhere
    if len(os.fsencode(place)) > _LONGEST:
        return f"{name}: the path {place} is too long for Ray's sockets, whose names have at most 107 bytes", elsewhere
    try:
        with scratch(PURPOSE, place) as folder:
            (folder / "probe").write_bytes(bytes(4096))
    except OSError as error:
        return f"{name}: nothing can be written to {place}, where Ray's files would be ({error.strerror})", elsewhere
    return None
