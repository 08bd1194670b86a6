"""Degraded pictures with all their fits of a pool (`benchmarks.pool`), and what can be made of some of them."""

import argparse
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.pool import TASKS, kept, observed, with_known
from orchestrator.collect.combining import delivered_of
from orchestrator.run.rows import Delivered
from workers.classical import Given, Member, restore_classically
from workers.fingerprints import BankSpec, bank_metrics, compute_bank, image_fingerprint, score_bank, square_size
from workers.quality import psnr
from workers.seeds import seed_of
from workers.space import Candidate
from workers.stacking import Combination, HeldOut, best_of, mean_of, stacked
from workers.tasks import measure

Figures = dict[str, float]
METRIC = "psd db strip mse"


class Scene:
    """One degraded picture with all its fits."""

    def __init__(self, options: argparse.Namespace, task: str, picture: str) -> None:
        self.picture, self.task = picture, TASKS[task]
        self.clean, self.observation, self.measurement = observed(task, picture, options.side)
        self.fits: dict[str, dict[str, NDArray[np.float32]]] = kept(options, task, picture)
        self.width = options.width
        self._seed = seed_of("worth", task, picture)

    @cached_property
    def hidden(self) -> NDArray[np.bool_]:
        """The pixels that judge."""
        return self.measurement.held_out

    @cached_property
    def noise(self) -> float | None:
        """The noise's variance, by what the fit of least held-out error leaves over; None where it cannot be told."""
        best = min(self.fits.values(), key=lambda fit: float(fit["held_out_error"]))
        found = self.task.estimated_noise(self.observation, best["output"])
        return None if found is None else found.value

    @cached_property
    def filters(self) -> list[Member]:
        """The classical filters' images."""
        given = Given(self.observation, self.hidden, self.task, self.noise, self._seed)
        return restore_classically(given)[0]

    @cached_property
    def classical(self) -> float:
        """PSNR of the filter with the least error as a run judges it."""
        return self.shown(min(self.filters, key=self.risk).delivered)

    def risk(self, member: Member) -> float:
        """The error of a filter's image on the hidden pixels, as on pixels that it has not seen."""
        image, optimism = member.as_delivered(self.noise)
        error = np.square(measure(self.task.operator, image) - self.observation.pixels, dtype=np.float64)
        return float(error[:, self.hidden].mean()) + 2 * optimism

    def shown(self, image: NDArray[np.floating]) -> float:
        """PSNR of an image as a user gets it: with the known pixels of an inpainting kept."""
        return psnr(with_known(image.astype(np.float32), self.observation), self.clean)

    @cached_property
    def psnr(self) -> dict[str, float]:
        """PSNR of each fit's delivered image."""
        return {name: self.shown(fit["delivered"]) for name, fit in self.fits.items()}

    @cached_property
    def _seen(self) -> dict[str, NDArray[np.float32]]:
        """Each fit's output on the hidden pixels as it would be measured, unseen by it."""
        return {name: measure(self.task.operator, fit["output"])[:, self.hidden] for name, fit in self.fits.items()}

    def combined(self, names: Sequence[str]) -> Figures:
        """PSNR of every way to make one image of some fits; and the stack's estimated and true squared errors."""
        measured = self.observation.pixels[:, self.hidden]
        restored = [self._seen[name] for name in names]
        images = [self.fits[name]["delivered"] for name in names]
        noise = self.noise or 0.0
        alone = HeldOut(np.stack(restored), measured, np.random.default_rng(self._seed))
        found = {
            "pick": alone.combined(best_of),
            "mean": alone.combined(mean_of(noise)),
            "stack": alone.combined(stacked),
        }
        figures = {way: self.shown(np.tensordot(each.weights, np.stack(images), 1)) for way, each in found.items()}
        if (error := found["stack"].error) is not None:
            at_stop = np.tensordot(found["stack"].weights, np.stack([self.fits[name]["output"] for name in names]), 1)
            figures["stack at stop"] = psnr(at_stop.astype(np.float32), self.clean)
            figures["estimated"] = -10 * float(np.log10(max(error.value - noise, 1e-9)))
        if not self.task.stacks:
            return figures | {"delivered": figures["pick"]}
        filters = self.filters
        judged = [measure(self.task.operator, each.judged)[:, self.hidden] for each in filters]
        everything = HeldOut(np.stack([*restored, *judged]), measured, np.random.default_rng(self._seed))
        floor = HeldOut(np.stack(judged), measured, np.random.default_rng(self._seed))
        together = everything.combined(stacked)
        figures["stack with filters"] = self.shown(
            np.tensordot(together.weights, np.stack([*images, *(each.delivered for each in filters)]), 1)
        )
        ways: dict[Delivered, Combination] = {"pick": found["pick"], "mean": found["mean"], "stack": together}
        delivered = delivered_of(ways | {"classical": floor.combined(best_of)})
        values = figures | {"stack": figures["stack with filters"], "classical": self.classical}
        return figures | {"delivered": values[delivered]}

    def cost(self, names: Iterable[str]) -> tuple[float, float]:
        """Multiply-adds (in 10^12) and CPU seconds of some fits."""
        fits = [self.fits[name] for name in names]
        return (sum(float(fit["multiply_adds"]) for fit in fits) / 1e12, sum(float(fit["seconds"]) for fit in fits))

    def error_at(self, name: str, iteration: int) -> float:
        """The held-out error of a fit's average after so many iterations, or at its end."""
        curve = self.fits[name]["held_out_curve"]
        return float(curve[min(iteration, len(curve)) - 1])

    @cached_property
    def scores(self) -> dict[str, float]:
        """The papers' metric of every candidate in the pool, without a fit; lower is better."""
        scored = [name for name in self.fits if name[0].isdigit()]
        side, channels = self.observation.pixels.shape[1], len(self.observation.pixels)
        size = square_size(side, side, self.task.operator.scale)
        operator = self.task.operator
        spec = BankSpec(
            *size,
            channels,
            3,
            self.width,
            draws=3,
            seed=0,
            metrics=bank_metrics([METRIC]),
            operator=operator.name,
            scale=operator.scale,
        )
        bank = compute_bank([Candidate.parse(name) for name in scored], spec, operator)
        found = score_bank(bank, image_fingerprint(self.observation.pixels, spec), METRIC)
        return dict(zip(scored, found.tolist(), strict=True))
