"""Estimate from a few timed steps how long a run will take here; a dry run shows it with the plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from statistics import median
from typing import Literal

import numpy as np
import torch

from orchestrator.arms.arm import Arm
from orchestrator.arms.budget import cohort_iterations, full_iterations
from orchestrator.arms.candidates import candidates_of
from orchestrator.arms.chains import iterations_of, search_iterations
from orchestrator.arms.lottery import rounds_in
from orchestrator.plan.plan import Plan
from orchestrator.resources.cpus import cpu_count
from orchestrator.score.bank import bank_of, missing_parts
from orchestrator.settings.generators import read_file
from orchestrator.store import Store
from workers.fingerprints import BankSpec, compute_bank
from workers.fitting import Fit, FitSettings
from workers.generators import load_generator
from workers.networks import Network
from workers.networks.cost import prior_multiply_adds
from workers.networks.generator import GeneratorNetwork, Search
from workers.networks.priors import prior_of
from workers.networks.search import SMALLEST_SIDE
from workers.objective import Measurement
from workers.operators import Identity, Operator
from workers.recording import WARM_UP
from workers.seeds import generator_of
from workers.space import Candidate
from workers.stopping import held_out_mask
from workers.views import padded_side, view_size

_SIDES = (64, 128)
_STEPS = 4
_NETWORKS = 3
_LEAST_SPEED = 1e9
"""Multiply-adds a second that a thread does at least: the slowest steps measured did six times as many
(docs/performance.md)."""


@dataclass(frozen=True)
class Estimate:
    """The longest time that a run takes: every fit uses all its iterations.

    Attributes:
        score_seconds: seconds that one trial would need to score the images.
        fit_seconds: seconds that one trial would need for all fits.
        parallel: how many trials share the work; on GPUs one on each, since those that share a GPU take turns.
        longest_seconds: seconds of the fits of one image that wait for each other; no number of machines saves these.
        device: where fits were timed.
    """

    score_seconds: float
    fit_seconds: float
    parallel: int
    longest_seconds: float = 0.0
    device: Literal["cpu", "cuda"] = "cpu"

    @property
    def seconds(self) -> float:
        """Seconds until the run ends on this machine."""
        return (self.score_seconds + self.fit_seconds) / self.parallel

    @property
    def gpu_hours(self) -> float:
        """Hours of GPUs that the fits take; 0 where they are fitted on the CPU."""
        return self.fit_seconds / 3600 if self.device == "cuda" else 0.0

    def cost(self, price_per_hour: float) -> float:
        """The price of the time on this one machine."""
        return self.seconds / 3600 * price_per_hour


def _seconds_per_iteration(plan: Plan, name: str, side: int, device: str) -> float:
    """Time one iteration of a network on a square of ``side`` restored pixels, without the operator, whose share is
    small."""
    generator = plan.config.generator(name)
    shape = (plan.images[0].channels, side, side) if generator is None else generator.facts.shape
    network: Network
    if generator is None:
        network = prior_of(name).build(
            shape[0],
            plan.config.network.width,
            input_channels=plan.config.network.input_depth(shape[0]),
            generator=generator_of("estimate"),
        )
    else:
        # All its images have one size, so both sides take the same.
        module = load_generator(read_file(generator.file), generator.factory)
        network = GeneratorNetwork(module, generator.facts, Search(generator.restarts), generator_of("estimate"))
    pixels = np.full(shape, 0.5, dtype=np.float32)
    hidden = held_out_mask(*shape[1:], 0.05, np.random.default_rng(0))
    fit = Fit(network, Measurement(pixels, hidden), Identity(), FitSettings(), seed=0, device=device)
    # A GPU records a step after the first ones.
    fit.advance(1 if device == "cpu" else WARM_UP + 1)
    started = time.perf_counter()
    fit.advance(_STEPS)
    return (time.perf_counter() - started) / _STEPS


def _seconds_per_fingerprint(candidates: list[Candidate], spec: BankSpec, operator: Operator) -> float:
    started = time.perf_counter()
    compute_bank(candidates, replace(spec, draws=1), operator)
    return (time.perf_counter() - started) / len(candidates) * spec.draws


def _timed_candidates(plan: Plan) -> list[Candidate]:
    return candidates_of(plan.config)[:_NETWORKS] if plan.candidates else []


def _fits(plan: Plan, seconds: Callable[[str, int], float]) -> tuple[float, float]:
    """How long one trial would need for all fits, and the longest chain of fits that wait for each other.

    ``seconds`` are those of an iteration of a network, by its name, on a square of so many restored pixels a side.
    """
    config, candidates = plan.config, _timed_candidates(plan)
    scale = config.task.scale

    @cache
    def timed(name: str) -> tuple[float, ...]:
        return tuple(seconds(name, side) for side in _SIDES)

    def iteration(arm: Arm, height: int, width: int) -> float:
        names = arm.all_networks or [candidate.id for candidate in candidates]
        small, large = (median(timed(name)[at] for name in names) for at in range(len(_SIDES)))
        per_pixel = max(0.0, large - small) / (_SIDES[1] ** 2 - _SIDES[0] ** 2)
        pixels = scale**2 * padded_side(height, scale) * padded_side(width, scale)
        return max(small + (pixels - _SIDES[0] ** 2) * per_pixel, small / 2)

    fit_seconds = longest = 0.0
    for image in plan.images:
        for arm in plan.arms:
            crop, downscale = config.cohort.crop_px, config.cohort.downscale_px
            sides = view_size(arm.view, image.height, image.width, crop_px=crop, downscale_px=downscale, scale=scale)
            if arm.is_lottery:
                continue
            most = config.iterations(arm.view)
            # Tiles overlap, so all of them take longer than the image; but they do not wait for each other.
            tiles = plan.tilings[image.id].tiles if image.id in plan.tilings else (image,)
            alone = iteration(arm, tiles[0].height, tiles[0].width)
            full = alone * len(tiles)
            cohort, of_one = (full, alone) if arm.view == "full" else (iteration(arm, *sides),) * 2
            fit_seconds += cohort_iterations(arm, most, config.cohort.keep_share) * cohort
            fit_seconds += full_iterations(config, arm) * full
            refitted = (min(arm.refits, 1) + config.fit.reveal) * config.fit.iterations
            longest = max(longest, most * of_one + refitted * alone)
        lottery = next((arm for arm in plan.arms if arm.is_lottery), None)
        if lottery is not None:
            rounds = len(rounds_in(config, plan.arms)) * (1 + config.fit.reveal)
            steps = rounds * iterations_of(config) + search_iterations(config)
            chains = steps * iteration(lottery, image.height, image.width)
            fit_seconds += chains
            longest = max(longest, chains / sum(arm.size for arm in plan.arms if arm.is_lottery))
    return fit_seconds * plan.count / max(1, len(plan.images)), longest


def estimate(plan: Plan, store: Store) -> Estimate:
    """Time a few steps of a few candidates at two sizes and extrapolate linearly to the plan's images.

    The estimate is for the device at hand that the plan would use. Images whose files have not been looked at yet are
    taken to be like those that have.
    """
    config = plan.config
    device: Literal["cpu", "cuda"] = "cpu" if plan.resources is None else plan.resources.device
    torch.set_num_threads(min(config.resources.threads, cpu_count()))
    candidates = _timed_candidates(plan)
    fit_seconds, longest = _fits(plan, lambda name, side: _seconds_per_iteration(plan, name, side, device))
    banks = {spec for image in plan.images if (spec := bank_of(config, image)) is not None}
    score_seconds = 0.0
    for spec in banks:
        missing = missing_parts(store, config, spec, candidates_of(config))
        if missing:
            each = _seconds_per_fingerprint(candidates, spec, config.task.make().operator)
            score_seconds += sum(len(p.candidates) for p in missing) * each
    parallel = plan.resources.parallel if plan.resources else 1
    if device == "cuda":
        parallel = min(parallel, max(1, torch.cuda.device_count()))
    return Estimate(score_seconds, fit_seconds, parallel, longest, device)


def most_seconds(plan: Plan) -> float:
    """A bound of the time that the fits of a plan take on any CPU, counted and not timed."""
    width, channels = plan.config.network.width, plan.images[0].channels
    depth = plan.config.network.input_depth(channels)

    def slowly(name: str, side: int) -> float:
        generator = plan.config.generator(name)
        if generator is not None:
            return generator.multiply_adds / _LEAST_SPEED
        return prior_multiply_adds(name, channels, width, depth) * (side / SMALLEST_SIDE) ** 2 / _LEAST_SPEED

    return _fits(plan, slowly)[0] / (plan.resources.parallel if plan.resources else 1)
