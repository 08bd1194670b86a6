"""How many CPUs this process may use."""

import contextlib
import os
from pathlib import Path


def cpu_count() -> int:
    """How many CPUs this process may use."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # A container's quota, as "microseconds period", or "max" where there is none.
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split())
        count = min(count, max(1, quota // period))
    return count
