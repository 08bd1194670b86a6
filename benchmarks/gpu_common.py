"""Shared by the parts of `benchmarks.gpu`: the setting, and measurements that may fail without stopping the others."""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from benchmarks.fit import milliseconds

Row = dict[str, "str | float | None"]
"""A line of a table, by the heads of its columns."""

T = TypeVar("T")


@dataclass(frozen=True)
class Setting:
    """The subject of a measurement.

    Attributes:
        device: as PyTorch names it.
        tiny: small networks, small images and few iterations, to see that everything runs.
        image: a clean picture for the fit in full; None takes one that comes with scikit-image.
    """

    device: str
    tiny: bool
    image: Path | None

    @property
    def on_gpu(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.startswith("cuda")

    @property
    def width(self) -> int:
        """Channels of every scale."""
        return 16 if self.tiny else 128

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of images in pixels; the first is a cohort's."""
        return (64,) if self.tiny else (64, 512, 128, 256)


def wait(device: str) -> None:
    """Wait until the device has finished everything."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def release() -> None:
    """Free memory that nobody uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def attempt(work: Callable[[], T]) -> T | str:
    """The result of ``work``, or in words why there is none: a GPU may lack the memory or the means for some of it."""
    try:
        return work()
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    finally:
        release()


def typical(run: Callable[[int], object], device: str, seconds: float) -> float:
    """Milliseconds per iteration, the median of three rounds that take about ``seconds`` together."""
    run(4)
    wait(device)
    once = milliseconds(run, 2, device) / 1000
    iterations = max(2, min(500, int(seconds / 3 / max(once, 1e-6))))
    return median(milliseconds(run, iterations, device) for _ in range(3))


def cell(value: str | float | None) -> str:
    """A value as the table shows it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
