"""What the machine has, and what trials may use of it."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.config import Config
from orchestrator.errors import UserMistakeError
from orchestrator.ingest import InputImage
from orchestrator.scoring import candidates_of
from workers.networks.memory import fit_bytes_per_pixel
from workers.views import padded_side

_USABLE = 0.8
"""The share of the memory that fits may plan with; the rest is for Ray, Python and the system."""
_NETWORKS_LOOKED_AT = 8


@dataclass(frozen=True)
class Machine:
    """CPUs this process may use, GPUs, and bytes of memory: of each GPU if there are any, else of the machine."""

    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True)
class Resources:
    """What trials may use, resolved once and recorded with the run.

    ``parallel`` trials at once, each with ``threads`` CPU threads and ``gpus`` of a GPU; ``trial_memory`` is its share of
    the memory in bytes.
    """

    parallel: int
    threads: int
    gpus: float
    trial_memory: float

    @property
    def device(self) -> str:
        """Where networks are fitted. Named, because a task without GPUs sees all of them."""
        return "cuda" if self.gpus else "cpu"


def cpu_count() -> int:
    """The CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def this_machine() -> Machine:
    """The machine at hand."""
    gpus = torch.cuda.device_count()
    if gpus:
        memory = min(torch.cuda.get_device_properties(index).total_memory for index in range(gpus))
        return Machine(cpu_count(), gpus, memory)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container may be allowed less than the machine has; the file says "max" where it is not limited.
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return Machine(cpu_count(), 0, memory)


def resolve_resources(config: Config, machine: Machine) -> Resources:
    """The settings' wishes on a machine.

    Raises:
        UserMistakeError: the machine could never place a trial; Ray would wait for ever.
    """
    wish = config.resources
    per_trial = wish.gpus if wish.gpus is not None else float(machine.gpus > 0)
    if per_trial > machine.gpus:
        raise UserMistakeError(
            f"resources.gpus={per_trial:g}: this machine has no GPU; set resources.gpus=0 to fit on the CPU"
        )
    if per_trial:
        # A whole number of trials shares each GPU.
        sharing = int(1 / per_trial + 1e-9)
        parallel = min(machine.gpus * sharing, wish.parallel or machine.gpus * sharing)
        return Resources(parallel, wish.threads, per_trial, _USABLE * machine.memory / sharing)
    parallel = wish.parallel or max(1, machine.cpus // wish.threads)
    return Resources(parallel, wish.threads, 0.0, _USABLE * machine.memory / parallel)


def bytes_per_pixel(config: Config, channels: int) -> float:
    """Memory that fitting an image of so many channels takes per pixel: the most of a few of the run's candidates."""
    depth = config.network.input_depth(channels)
    candidates = candidates_of(config)[:_NETWORKS_LOOKED_AT]
    return max(fit_bytes_per_pixel(candidate, depth, channels, config.network.width) for candidate in candidates)


def why_too_large(image: InputImage, per_pixel: float, resources: Resources) -> str | None:
    """Why an image's full-size fit would not fit into a trial's memory; None if it does."""
    needed = per_pixel * padded_side(image.height) * padded_side(image.width)
    if needed <= resources.trial_memory:
        return None
    return (
        f"too large: fitting {image.width}x{image.height} pixels takes about {needed / 1e9:.0f} GB of memory, and each of"
        f" {resources.parallel} trials has {resources.trial_memory / 1e9:.0f} GB here; make the image smaller, or set a"
        " lower network.width" + (" or resources.parallel=1" if resources.parallel > 1 else "")
    )
