"""Folders as killed processes leave them."""

import os
import time
from pathlib import Path

from orchestrator.resources.scratch import OWNER, _own


def leave_behind(place: Path, purpose: str) -> Path:
    """Make a folder as a process that was killed a minute ago leaves it."""
    folder = place / f"dip-{purpose}-01234567"
    (folder / "ray/logs").mkdir(parents=True)
    (folder / "ray/logs/a.log").write_text("half")
    os.close(_own(folder))
    age(folder)
    return folder


def age(folder: Path, seconds: float = 60.0) -> None:
    """Make a folder so old."""
    os.utime(folder / OWNER, (time.time() - seconds,) * 2)
