"""What the machine has, and what trials may use of it."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from orchestrator.arms import arms_of
from orchestrator.config import Config
from orchestrator.cpus import cpu_count
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
    """CPUs this process may use, bytes of memory, GPUs, and bytes of memory of the smallest GPU."""

    cpus: int
    memory: int
    gpus: int = 0
    gpu_memory: int = 0


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


def this_machine() -> Machine:
    """The machine at hand."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container may be allowed less than the machine has; the file says "max" where it is not limited.
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    gpus = torch.cuda.device_count()
    gpu_memory = min((torch.cuda.get_device_properties(index).total_memory for index in range(gpus)), default=0)
    return Machine(cpu_count(), memory, gpus, gpu_memory)


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
        return Resources(parallel, wish.threads, per_trial, _USABLE * machine.gpu_memory / sharing)
    parallel = wish.parallel or max(1, machine.cpus // wish.threads)
    return Resources(parallel, wish.threads, 0.0, _USABLE * machine.memory / parallel)


def bytes_per_pixel(config: Config, channels: int) -> float:
    """Memory that fitting an image of so many channels takes per restored pixel: the most of a few of the run's networks."""
    arms = arms_of(config)
    names = {name for arm in arms for name in arm.networks or ()}
    if any(arm.networks is None for arm in arms):
        names |= {candidate.id for candidate in candidates_of(config)[:_NETWORKS_LOOKED_AT]}
    depth = config.network.input_depth(channels)
    return max(fit_bytes_per_pixel(name, channels, config.network.width, depth) for name in names)


def why_too_large(image: InputImage, scale: int, per_pixel: float, resources: Resources) -> str | None:
    """Why an image's full-size fit would not fit into a trial's memory; None if it does."""
    needed = per_pixel * scale**2 * padded_side(image.height, scale) * padded_side(image.width, scale)
    if needed <= resources.trial_memory:
        return None
    share_less = "resources.gpus=1" if resources.gpus else "resources.parallel=1"
    alone = resources.gpus == 1 or (not resources.gpus and resources.parallel == 1)
    return (
        f"too large: fitting {scale * image.width}x{scale * image.height} pixels takes about {needed / 1e9:.0f} GB of memory,"
        f" and each of {resources.parallel} trials has {resources.trial_memory / 1e9:.0f} GB here; make the image smaller, or"
        " set a lower network.width" + ("" if alone else f" or {share_less}")
    )
