"""How long a run will take here, from a few timed steps: for the plan of a dry run."""

import time
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from orchestrator.cpus import cpu_count
from orchestrator.plan import Plan
from orchestrator.problem import operator_of
from orchestrator.scoring import bank_of, bank_parts, candidates_of
from orchestrator.store import Store
from workers.fingerprints import BankSpec, untrained_output
from workers.fitting import Fit, FitSettings, Measurement
from workers.networks import build
from workers.seeds import generator_of
from workers.space import Candidate
from workers.stopping import held_out_mask
from workers.views import padded_side, view_size

_SIDES = (64, 128)
_STEPS = 4
_NETWORKS = 3


@dataclass(frozen=True)
class Estimate:
    """Seconds a run takes at most, if every fit uses all its iterations.

    ``cpu_seconds`` of computing, spread over ``parallel`` trials.
    """

    score_seconds: float
    fit_seconds: float
    parallel: int

    @property
    def seconds(self) -> float:
        """Until the end, on this machine."""
        return (self.score_seconds + self.fit_seconds) / self.parallel


def _seconds_per_iteration(plan: Plan, candidate: Candidate, side: int) -> float:
    width, channels = plan.config.network.width, plan.images[0].channels
    depth = plan.config.network.input_depth(channels)
    pixels = np.full((channels, side, side), 0.5, dtype=np.float32)
    fit = Fit(
        build(candidate, depth, channels, width, generator=generator_of("estimate")),
        Measurement(pixels, held_out_mask(side, side, 0.05, np.random.default_rng(0))),
        operator_of(plan.config),
        FitSettings(),
        input_channels=depth,
        seed=0,
    )
    fit.advance(1)
    started = time.perf_counter()
    fit.advance(_STEPS)
    return (time.perf_counter() - started) / _STEPS


def _seconds_per_fingerprint(candidates: list[Candidate], spec: BankSpec) -> float:
    started = time.perf_counter()
    for candidate in candidates:
        untrained_output(candidate, spec, draw=0)
    return (time.perf_counter() - started) / len(candidates) * spec.draws


def estimate(plan: Plan, store: Store) -> Estimate:
    """Time a few steps of a few candidates at two sizes and extend the line through them to the plan's images.

    It is for the CPU at hand; a GPU's pace is not known before one is there.
    """
    config = plan.config
    torch.set_num_threads(min(config.resources.threads, cpu_count()))
    candidates = candidates_of(config)[:_NETWORKS]
    small, large = (median(_seconds_per_iteration(plan, c, side) for c in candidates) for side in _SIDES)
    per_pixel = max(0.0, large - small) / (_SIDES[1] ** 2 - _SIDES[0] ** 2)

    def iteration(height: int, width: int) -> float:
        pixels = padded_side(height) * padded_side(width)
        return max(small + (pixels - _SIDES[0] ** 2) * per_pixel, small / 2)

    fit_seconds = 0.0
    for image in plan.images:
        full = iteration(image.height, image.width) * config.fit.iterations
        cohort = config.cohort
        sides = view_size(
            cohort.view, image.height, image.width, crop_px=cohort.crop_px, downscale_px=cohort.downscale_px
        )
        fit_seconds += plan.cohort_size * iteration(*sides) * config.iterations(cohort.view)
        fit_seconds += plan.full_fits * full
    banks = {spec for image in plan.images if (spec := bank_of(config, image)) is not None}
    score_seconds = 0.0
    for spec in banks:
        missing = [p for p in bank_parts(config, spec, candidates_of(config)) if not store.exists(p.key)]
        if missing:
            score_seconds += sum(len(p.candidates) for p in missing) * _seconds_per_fingerprint(candidates, spec)
    return Estimate(score_seconds, fit_seconds, plan.resources.parallel)
