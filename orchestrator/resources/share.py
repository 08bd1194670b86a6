"""The resources of the machines, and the share that trials may use."""

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

from orchestrator.arms.candidates import candidates_of
from orchestrator.arms.chains import decoder_name
from orchestrator.arms.lottery import chains_of, rounds_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import UserMistakeError
from orchestrator.resources.cpus import cpu_count
from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config, ViewName
from workers.names import FitName, Round, chain_of
from workers.networks.memory import fit_bytes_per_pixel
from workers.views import padded_side, view_size

_USABLE = 0.8
"""The share of the memory that fits may use; the rest is for Ray, Python and the system."""
_NETWORKS_LOOKED_AT = 8
_SHARES = (0.125, 0.1666, 0.25, 0.3333, 0.5, 1.0)
"""The shares of a GPU that a fit may reserve. There are few, because a worker is reused only for a trial that reserves
the same share. They are rounded down, so that a whole number of them fits.
"""
_CUDA_BYTES = 0.7e9
"""The memory that CUDA and cuDNN take in every process that uses a GPU."""
_SCORING_SHARE = 0.25


@dataclass(frozen=True)
class Machine:
    """CPUs to use, bytes of memory, GPUs, and bytes of memory of the smallest GPU (0: not known)."""

    cpus: int
    memory: int
    gpus: int = 0
    gpu_memory: int = 0


@dataclass(frozen=True)
class Resources:
    """The resources that trials may use, resolved once and recorded with the run.

    ``parallel`` trials run at the same time on the machines that are there. Each has ``threads`` CPU threads and, on
    the device ``cuda``, ``gpus`` of a GPU. If ``gpus`` is None, a trial's share is the memory of its fit divided by
    ``gpu_memory`` bytes. ``trial_memory`` is the most memory that a trial may use, in bytes. ``score_gpus`` is the
    share of a GPU that scoring reserves.
    """

    parallel: int
    threads: int
    device: Literal["cpu", "cuda"]
    gpus: float | None
    trial_memory: float
    gpu_memory: int = 0
    score_gpus: float = 0.0

    @property
    def score_device(self) -> Literal["cpu", "cuda"]:
        """The device on which candidates are scored. It is named, as ``device`` is, because a task
        without GPUs sees all of them.
        """
        return "cuda" if self.score_gpus else "cpu"

    def gpu_share(self, config: Config, image: InputImage, view: ViewName, name: FitName) -> float:
        """The share of a GPU that a fit reserves: the smallest whose memory is enough for it.

        The memory of a fit is known from the network itself (`workers.networks.memory`). The share is 0 on the CPU, and
        a whole GPU where its size is not known.
        """
        if self.device == "cpu" or self.gpus is not None:
            return self.gpus or 0.0
        needed = _CUDA_BYTES + fit_bytes(config, image, view, name)
        enough = (share for share in _SHARES if needed <= _USABLE * share * self.gpu_memory)
        return next(enough, 1.0)

    def slots(self, machine: Machine) -> int:
        """How many trials a machine can run at the same time; the most possible where their shares of a GPU differ."""
        by_cpu = machine.cpus // self.threads
        if self.device == "cpu":
            return by_cpu
        return min(by_cpu, machine.gpus * int(1 / (self.gpus or _SHARES[0]) + 1e-3))


def this_machine() -> Machine:
    """The resources of this machine."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # A container may be limited to less than the machine has; the file holds "max" where it is not.
    with contextlib.suppress(OSError, ValueError):
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    gpus = torch.cuda.device_count()
    gpu_memory = min((torch.cuda.get_device_properties(index).total_memory for index in range(gpus)), default=0)
    return Machine(cpu_count(), memory, gpus, gpu_memory)


def resolve_resources(config: Config, machines: Sequence[Machine], *, gpus_may_come: bool = False) -> Resources:
    """The settings resolved on these machines.

    Args:
        config: The settings.
        machines: Those that are there.
        gpus_may_come: Whether machines with GPUs may be started when fits wait for them.

    Raises:
        UserMistakeError: no trial could ever be placed; Ray would wait forever.
    """
    wish = config.resources
    there = sum(machine.gpus for machine in machines)
    wanted = wish.gpus if wish.gpus is not None else "auto" if there or gpus_may_come else 0
    if wanted and not (there or gpus_may_come):
        raise UserMistakeError(f"resources.gpus={wanted}: there is no GPU; set resources.gpus=0 to fit on the CPU")
    if wanted:
        share = None if wanted == "auto" else float(wanted)
        memory = min((machine.gpu_memory for machine in machines if machine.gpus), default=0)
        # Each GPU is shared by a whole number of trials.
        sharing = 1 if share is None else int(1 / share + 1e-3)
        most = there * (int(1 / _SHARES[0]) if share is None else sharing)
        return Resources(
            parallel=max(1, min(most, wish.parallel or most)),
            threads=wish.threads,
            device="cuda",
            gpus=share,
            trial_memory=_USABLE * memory / sharing if memory else math.inf,
            gpu_memory=memory,
            score_gpus=(share or _SCORING_SHARE) if _scores_on_gpus(config, machines) else 0.0,
        )
    slots = [machine.cpus // wish.threads for machine in machines]
    parallel = wish.parallel or max(1, sum(slots))
    if len(machines) == 1 and machines[0].cpus:
        slots = [parallel]
    shares = [machine.memory / slot for machine, slot in zip(machines, slots, strict=True) if slot]
    return Resources(parallel, wish.threads, "cpu", 0.0, _USABLE * min(shares, default=math.inf))


def with_gpus_seen(resources: Resources, machines: Sequence[Machine]) -> Resources:
    """The same resources once more machines are there: the smallest GPU of known memory counts."""
    known = [machine.gpu_memory for machine in machines if machine.gpu_memory]
    known += [resources.gpu_memory] if resources.gpu_memory else []
    return replace(resources, gpu_memory=min(known, default=0))


def _scores_on_gpus(config: Config, machines: Sequence[Machine]) -> bool:
    """Whether candidates are scored on GPUs. By default they are, unless machines without
    GPUs have most of the CPUs.
    """
    if config.resources.score != "auto":
        return config.resources.score == "gpu"
    without = sum(machine.cpus for machine in machines if not machine.gpus)
    return without < sum(machine.cpus for machine in machines if machine.gpus)


def fit_bytes(config: Config, image: InputImage, view: ViewName, name: FitName) -> float:
    """Memory at the peak of one fit, in bytes."""
    crop, downscale, scale = config.cohort.crop_px, config.cohort.downscale_px, config.task.scale
    sides = view_size(view, image.height, image.width, crop_px=crop, downscale_px=downscale, scale=scale)
    height, width = (scale * padded_side(side, scale) for side in sides)
    depth = config.network.input_depth(image.channels)
    generator = config.generator(name.network)
    if generator is not None:
        return generator.kept_bytes
    return (
        fit_bytes_per_pixel(_largest(config, name, image.channels), image.channels, config.network.width, depth)
        * height
        * width
    )


def _largest(config: Config, name: FitName, channels: int) -> str:
    """The network of a fit, or the largest of a chain's, by name."""
    chain = chain_of(name)
    if chain is not None and chain.traits.decoder:
        first = name.number if isinstance(name, Round) else min(rounds_of(config, chain))
        return decoder_name(config, chain.network, first, channels)
    return name.network


def bytes_per_pixel(config: Config, channels: int) -> float:
    """Memory that fitting an image with ``channels`` channels takes per restored pixel: the most of a
    few of the run's networks.
    """
    arms = arms_of(config)
    decoders = [arm for arm in arms if arm.is_lottery and arm.traits.decoder]
    names = {name for arm in arms if arm not in decoders for name in arm.all_networks}
    names |= {
        _largest(config, chains_of(config, arm, arm.networks[0])[0], channels) for arm in decoders if arm.networks
    }
    if any(arm.networks is None for arm in arms):
        names |= {candidate.id for candidate in candidates_of(config)[:_NETWORKS_LOOKED_AT]}
    depth = config.network.input_depth(channels)
    generators = {name: generator for name in names if (generator := config.generator(name)) is not None}
    found = [generator.per_pixel for generator in generators.values()]
    found += [fit_bytes_per_pixel(name, channels, config.network.width, depth) for name in names - set(generators)]
    return max(found)


def why_too_large(image: InputImage, scale: int, per_pixel: float, resources: Resources) -> str | None:
    """The reason why an image's full-size fit would not fit into a trial's memory; None if it does."""
    needed = per_pixel * scale**2 * padded_side(image.height, scale) * padded_side(image.width, scale)
    if needed <= resources.trial_memory:
        return None
    share_less = "resources.parallel=1" if resources.device == "cpu" else "resources.gpus=1"
    alone = resources.gpus in (None, 1) or (resources.device == "cpu" and resources.parallel == 1)
    return (
        f"too large: fitting {scale * image.width}x{scale * image.height} pixels takes about {needed / 1e9:.0f} GB of"
        f" memory, and each trial has {resources.trial_memory / 1e9:.0f} GB here; make the image smaller, or set a"
        " lower network.width" + ("" if alone else f" or {share_less}")
    )
