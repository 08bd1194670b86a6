"""Shared by the benchmarks: the machine in words, and tables."""

import os
import platform
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch


def machine(device: str, threads: int) -> str:
    """The machine and settings that a figure depends on, on one line."""
    name = torch.cuda.get_device_name() if device.startswith("cuda") else torch.backends.cpu.get_cpu_capability()
    return (
        f"torch {torch.__version__}, numpy {np.__version__}, Python {platform.python_version()}, {device} ({name}),"
        f" {os.cpu_count()} CPUs, {threads} thread(s)"
    )


def spread(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + " --- |" * len(header), *lines[1:]])


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    print(table(header, rows), end="\n\n")
