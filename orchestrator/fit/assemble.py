"""The fits of an image's tiles, assembled to one fit of the whole image: an image, a record, curves."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median, median_low
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.fit.arrays import FitArrays, packed, read_arrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import Evaluation, FitRecord, FitState, fit_keys, read_record, record_once
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from workers.names import FitName
from workers.noise import Estimate, held_out_estimate
from workers.quality import psnr
from workers.tiles import Tile, Tiling

Array = NDArray[np.float32]

_FEWEST_KNOWN = 64
"""A tile with fewer known pixels says too little to fit a network to."""


def check_tiles(context: RunContext, image: InputImage, tiling: Tiling) -> None:
    """Check that every tile of an image has something to fit a network to.

    Raises:
        ImageRejectedError: one has not; the message says what would do.
    """
    known = Problem(context, image).observation.known
    if known is None:
        return
    for tile in tiling.tiles:
        count = int((known[tile.slices] & tiling.judged(tile)).sum())
        if count < _FEWEST_KNOWN:
            scale = context.config.task.scale
            raise ImageRejectedError(
                f"a hole is as large as a tile: of the tile of {scale * tile.width}x{scale * tile.height} pixels at"
                f" {scale * tile.left},{scale * tile.top} only {count} pixels are known; give fits more memory"
                " (resources.parallel=1), or set a lower network.width or a larger fit.tile, so that tiles are larger"
            )


def assemble(context: RunContext, image: InputImage, tiling: Tiling, name: FitName, until: int | None) -> FitState:
    """Make one fit of the fits of all tiles, which have ended or paused at a rung; return its state.

    It is written once, as any fit. Tiles and their checkpoints are deleted with the other fits that nothing needs.
    """
    whole = FitJob(image, "full", name, until)
    keys, store = fit_keys(context, whole), context.store
    there = read_record(store, keys, until)
    if there is not None and (there.state != "done" or store.exists(keys.arrays(str(there.arrays)))):
        return there.state
    if there is not None:
        store.delete(keys.result)
    jobs = [replace(whole, tile=tile) for tile in tiling.tiles]
    records = [read_record(store, fit_keys(context, job), until) for job in jobs]
    failed = next((place for place, each in enumerate(records) if each is None or each.state == "failed"), None)
    if failed is not None:
        record = records[failed]
        reason = f"the tile at {tiling.tiles[failed]}: {'no result' if record is None else record.reason}"
        return record_once(store, keys.result, FitRecord(name, "full", "failed", reason=reason)).state
    ended = [record for record in records if record is not None]
    common = _sums(ended, name)
    if until is not None and any(record.state == "paused" for record in ended):
        paused = replace(common, state="paused", held_out_error=_mean([r.held_out_error for r in ended]))
        return record_once(store, keys.rung(until), paused).state
    record, data = _Whole(context, image, tiling, jobs, ended).made(common)
    record = replace(record, arrays=hashlib.sha256(data).hexdigest()[:16])
    store.put(keys.arrays(str(record.arrays)), data)
    return record_once(store, keys.result, record).state


def _sums(records: Sequence[FitRecord], name: FitName) -> FitRecord:
    """The figures that are known from the records alone: work is added up, and stops are the tiles' median."""

    def total(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return sum(known) if known else None

    def middle(values: Sequence[int | None]) -> int | None:
        known = [value for value in values if value is not None]
        return median_low(known) if known else None

    correlations = [each.residual_correlation for each in records if each.residual_correlation is not None]
    costs = [each.multiply_adds for each in records]
    return FitRecord(
        name,
        "full",
        "done",
        stop_iteration=middle([each.stop_iteration for each in records]),
        steady_iteration=middle([each.steady_iteration for each in records]),
        iterations=total([each.iterations for each in records]),
        revealed=total([each.revealed for each in records]),
        residual_correlation=median(correlations) if correlations else None,
        parameters=records[0].parameters,
        sparsity=records[0].sparsity,
        blind=all(each.blind for each in records),
        seconds=round(sum(each.seconds for each in records), 3),
        multiply_adds=None if None in costs else total(costs),
    )


class _Whole:
    """The tiles of a fit as one image. Outputs are read tile by tile: no more than the whole of one is in memory."""

    def __init__(
        self,
        context: RunContext,
        image: InputImage,
        tiling: Tiling,
        jobs: Sequence[FitJob],
        records: Sequence[FitRecord],
    ) -> None:
        self._context, self._image, self._tiling, self._records = context, image, tiling, records
        self._jobs = jobs
        self._problem = Problem(context, image)
        self._sizes = [tile.height * tile.width for tile in tiling.tiles]

    def made(self, common: FitRecord) -> tuple[FitRecord, bytes]:
        """The record, from the figures that are known already, and the arrays as they are stored.

        One output after the other is made, compared and packed: those of a photograph take much memory.
        """
        self._estimate: Estimate | None = None
        self._psnr: dict[str, float] = {}
        data = packed(self._made(revealed=common.revealed is not None))
        estimate = self._estimate
        error = None if estimate is None or not math.isfinite(estimate.standard_error) else estimate.standard_error
        record = replace(
            common,
            held_out_error=None if estimate is None else estimate.value,
            held_out_standard_error=error,
            evaluation=self._evaluation(),
        )
        return record, data

    def _made(self, *, revealed: bool) -> Iterator[tuple[str, Array]]:
        """The arrays by their names in `FitArrays`, in its order; takes note of their figures."""
        output = self._blended("output")
        with torch.no_grad():
            seen = self._context.config.task.make().operator(torch.from_numpy(output)[None])[0].numpy()
        self._estimate = held_out_estimate(seen, self._problem.observation.pixels, self._hidden)
        del seen
        yield "output", output
        del output
        yield "steady", self._blended("steady")
        curves = [(each.held_out, each.psnr) for each in self._arrays("held_out", "psnr")]
        yield "held_out", _carried([curve for curve, _ in curves], self._sizes)
        yield "psnr", self._quality([curve for _, curve in curves])
        yield "revealed", self._blended("revealed") if revealed else np.zeros(0, np.float32)

    @property
    def _hidden(self) -> NDArray[np.bool_]:
        return self._problem.measurement(self._problem.view("full")).held_out

    def _arrays(self, *only: str) -> Iterator[FitArrays]:
        for job, record in zip(self._jobs, self._records, strict=True):
            yield read_arrays(self._context.store, fit_keys(self._context, job), record, only)

    def _blended(self, name: Literal["output", "steady", "revealed"]) -> Array:
        # A tile may have no output that has seen all pixels: what it delivers is where it was stopped.
        names = ("output", "revealed") if name == "revealed" else (name,)
        arrays = (each.delivered if name == "revealed" else getattr(each, name) for each in self._arrays(*names))
        parts: Iterator[tuple[Tile, Array]] = zip(self._tiling.tiles, arrays, strict=True)
        blended = self._tiling.blend(parts, self._image.channels, self._context.config.task.scale)
        if self._problem.reference is not None:
            self._psnr[name] = psnr(blended, self._problem.reference, self._problem.peak)
        return blended

    def _quality(self, curves: Sequence[Array]) -> Array:
        """The PSNR of all tiles together after each iteration; empty without a reference."""
        if not all(curve.size for curve in curves):
            return np.zeros(0, np.float32)
        errors = _carried([np.asarray(10.0 ** (-curve / 10), np.float32) for curve in curves], self._sizes)
        quality: Array = (-10 * np.log10(errors)).astype(np.float32)
        return quality

    def _evaluation(self) -> Evaluation | None:
        own = [each.evaluation for each in self._records]
        if self._problem.reference is None or any(each is None for each in own):
            return None
        known = [each for each in own if each is not None]
        return Evaluation(
            psnr=self._psnr["output"],
            psnr_steady=self._psnr["steady"],
            psnr_oracle_stop=self._together([each.psnr_oracle_stop for each in known]) or 0.0,
            psnr_last=self._together([each.psnr_last for each in known]),
            psnr_revealed=self._psnr.get("revealed"),
        )

    def _together(self, values: Sequence[float | None]) -> float | None:
        """The PSNR of tiles together."""
        known = [10.0 ** (-value / 10) for value in values if value is not None]
        return -10 * math.log10(float(np.average(known, weights=self._sizes))) if len(known) == len(values) else None


def _carried(curves: Sequence[Array], sizes: Sequence[int]) -> Array:
    """The mean of curves; one that has ended goes on with its last value."""
    longest = max(len(curve) for curve in curves)
    rows = [np.pad(curve, (0, longest - len(curve)), mode="edge") for curve in curves]
    mean: Array = np.average(rows, axis=0, weights=sizes).astype(np.float32)
    return mean


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
