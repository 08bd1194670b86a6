"""The fits of an image as an arm sees them: its cohort, its decision, and its fits at full size."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.arms.arm import HEARS_HELD_OUT, NEEDS_OUTPUTS, Arm
from orchestrator.errors import NotFoundError
from orchestrator.fit.arrays import FitArrays, read_arrays
from orchestrator.fit.cost import prior_cost
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FIT_RECORDS, FitRecord, fit_keys, read_record
from orchestrator.pick.decide import Decision
from orchestrator.pick.rules import Member, final_order
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import FitLayout
from orchestrator.score.score import Scored
from workers.names import FitName, PriorName, chain_of
from workers.views import ViewName

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Chosen:
    """An arm's choices for an image: its cohort with scores, its decision, and its fits at full size in order.

    ``ended`` has the members that halving ended, each with its number of iterations.
    """

    arm: Arm
    cohort: Sequence[Scored]
    decision: Decision
    full: Sequence[FitName]
    ended: Mapping[FitName, int]

    def cost(self, fits: "Sequence[Fitted]") -> "Cost":
        """Sum up the cost of the arm's fits. If halving ended a fit here, another arm's rest is not counted."""
        iterations, seconds, multiply_adds = 0, 0.0, 0
        known = True
        for record in (fit.record for fit in fits):
            every = (record.iterations or 0) + (record.revealed or 0)
            own = min(every, self.ended.get(record.candidate, every)) if record.view == self.arm.view else every
            iterations += own
            seconds += record.seconds * (own / every if every else 1)
            known = known and (record.multiply_adds is not None or not every)
            multiply_adds += (record.multiply_adds or 0) * own // max(every, 1)
        return Cost(iterations, round(seconds, 3), multiply_adds if known else None)


@dataclass(frozen=True)
class Cost:
    """What fits have cost, as a row has it; ``multiply_adds`` is None where that of one of them is not known."""

    iterations: int
    seconds: float
    multiply_adds: int | None


@dataclass(frozen=True)
class Fitted:
    """A fit that ended, or paused for good: its record, and its curves if it has a result."""

    record: FitRecord
    held_out: Array | None = None
    psnr: Array | None = None


class Fits:
    """An image's fits. Each is read once, however many arms ask for it; output images are read only on demand.

    ``chosen`` are the arms' choices, which say where halving has ended fits that have no result.
    """

    def __init__(self, context: RunContext, image: InputImage, chosen: Iterable[Chosen] = ()) -> None:
        self._context, self._image = context, image
        self._pauses: dict[tuple[ViewName, FitName], set[int]] = {}
        for choice in chosen:
            for name, iterations in choice.ended.items():
                self._pauses.setdefault((choice.arm.view, name), set()).add(iterations)
        self._read: dict[tuple[ViewName, FitName], Fitted | None] = {}

    def get(self, view: ViewName, names: Iterable[FitName]) -> list[Fitted]:
        """Return the fits of these names that have a record, in the given order."""
        ordered = list(names)
        for name in ordered:
            if (view, name) not in self._read:
                self._read[view, name] = self._load(view, name)
        return [fit for name in ordered if (fit := self._read[view, name]) is not None]

    def searches(self, choice: Chosen) -> list[Fitted]:
        """Return the chains' own records, which hold what a lottery has spent on its masks in addition to its fits."""
        chains = dict.fromkeys(chain for scored in choice.cohort if (chain := chain_of(scored.name)) is not None)
        records = [read_record(self._context.store, self._keys(choice.arm.view, chain)) for chain in chains]
        return [Fitted(record) for record in records if record is not None]

    def all(self) -> list[Fitted]:
        """Return all fits that were asked for, those at full size first."""
        fits = [fit for fit in self._read.values() if fit is not None]
        return sorted(fits, key=lambda fit: fit.record.view != "full")

    def output(self, fit: Fitted, *, steady: bool) -> Array:
        """Read the restored image (C, H, W) that hidden pixels judge: where the fit was stopped, or where its outputs
        varied least (``steady``)."""
        arrays = self._arrays(fit, "steady" if steady else "output")
        return arrays.steady if steady else arrays.output

    def delivered(self, fit: Fitted, *, steady: bool) -> Array:
        """Read the restored image (C, H, W) that has seen most (`FitArrays.delivered`), or the ``steady`` one."""
        revealed = None if steady else self._arrays(fit, "revealed").revealed
        return revealed if revealed is not None and revealed.size else self.output(fit, steady=steady)

    def _arrays(self, fit: Fitted, *only: str) -> FitArrays:
        """Read some arrays of a fit that has a result: all of those of a photograph would take much memory."""
        return read_arrays(self._context.store, self._keys(fit.record.view, fit.record.candidate), fit.record, only)

    def _keys(self, view: ViewName, name: FitName) -> FitLayout:
        return fit_keys(self._context, FitJob(self._image, view, name))

    def _load(self, view: ViewName, name: FitName) -> Fitted | None:
        keys = self._keys(view, name)
        record = read_record(self._context.store, keys) or self._last_pause(keys, self._pauses.get((view, name), ()))
        if record is not None and record.multiply_adds is None and isinstance(name, PriorName) and record.iterations:
            # A contest ended the fit, or an earlier version made it.
            cost = prior_cost(self._context.config, self._image, view, name)
            record = replace(record, multiply_adds=record.iterations * cost)
        if record is None or record.state != "done":
            return None if record is None else Fitted(record)
        arrays = self._arrays(Fitted(record), "held_out", "psnr")
        return Fitted(record, arrays.held_out, arrays.psnr)

    def _last_pause(self, keys: FitLayout, pauses: Iterable[int]) -> FitRecord | None:
        # The keys are known, so no listing is asked for: some services show late what was written last.
        for iterations in sorted(pauses, reverse=True):
            with contextlib.suppress(NotFoundError):
                return FIT_RECORDS.read(self._context.store, keys.rung(iterations))
        return None


def by_final_order(choice: Chosen, fits: Fits, done: Sequence[Fitted]) -> list[Fitted]:
    """Put the fits at full size in order, the pick first; those of a cohort at full size are in order already."""
    rule = choice.decision.rule
    if choice.arm.view == "full":
        return list(done)
    by_name = {fit.record.candidate: fit for fit in done}
    scores = {scored.name: scored.score for scored in choice.cohort}
    members = [
        Member(
            name,
            scores[name],
            fit.record.held_out_error,
            fits.output(fit, steady=False) if rule in HEARS_HELD_OUT & NEEDS_OUTPUTS else None,
        )
        for name, fit in by_name.items()
    ]
    return [by_name[name] for name in final_order(rule, members)]


def picked_network(context: RunContext, image: InputImage, choice: Chosen) -> str | None:
    """Return the network that an arm has picked for an image, or None."""
    fits = Fits(context, image)
    done = [fit for fit in fits.get("full", choice.full) if fit.record.state == "done"]
    return next((fit.record.candidate.network for fit in by_final_order(choice, fits, done)), None)
