"""When an image's fits are done: its restored files, its figures, its packed record.

This is the only place, beside the observer inside a fit and a search for masks that was asked to, that sees a clean reference.
"""

import io
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.arms.arm import HEARS_HELD_OUT, NEEDS_OUTPUTS, Arm
from orchestrator.fit.arrays import FitArrays, read_arrays
from orchestrator.fit.fit import stopping_of
from orchestrator.fit.job import FitJob
from orchestrator.fit.problem import Problem
from orchestrator.fit.record import FIT_RECORDS, Evaluation, FitRecord, fit_keys, read_record
from orchestrator.images import encode, encode_map, preview, resized
from orchestrator.pick.decide import Decision, Member, final_order
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import FitLayout, Preview
from orchestrator.run.rows import NOT_BLIND, Row, RowState, rows_from_json, rows_record
from orchestrator.score.score import Scored
from orchestrator.store import create_or_read
from workers.names import Round, chain_of, parse_name
from workers.noise import Estimate
from workers.quality import psnr, psnr_y, ssim
from workers.tasks import Observation
from workers.views import ViewName

CURVE_POINTS = 200
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Chosen:
    """What an arm made of an image: its cohort with scores, its decision, and what it had fitted at full size, in order.

    ``ended`` has the members that halving ended, and after how many iterations.
    """

    arm: Arm
    cohort: Sequence[Scored]
    decision: Decision
    full: Sequence[str]
    ended: Mapping[str, int]

    def cost(self, fits: "Sequence[Fitted]") -> tuple[int, float]:
        """Iterations and seconds of the arm's fits. What another arm went on with after halving is not this arm's."""
        iterations, seconds = 0, 0.0
        for record in (fit.record for fit in fits):
            every = record.iterations or 0
            own = min(every, self.ended.get(record.candidate, every)) if record.view == self.arm.view else every
            iterations += own
            seconds += record.seconds * (own / every if every else 1)
        return iterations, round(seconds, 3)


@dataclass(frozen=True)
class Fitted:
    """A fit that came to an end, or paused for good: its record, and its curves if it has a result."""

    record: FitRecord
    held_out: Array | None = None
    psnr: Array | None = None


class _Fits:
    """An image's fits, each read once, whichever arms ask for it; of their images, only those that are asked for."""

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self._context, self._image = context, image
        self._read: dict[tuple[ViewName, str], Fitted | None] = {}

    def get(self, view: ViewName, candidates: Iterable[str]) -> list[Fitted]:
        """The fits of these candidates that have a record, in their order."""
        for candidate in candidates:
            if (view, candidate) not in self._read:
                self._read[view, candidate] = self._load(view, candidate)
        return [fit for candidate in candidates if (fit := self._read[view, candidate]) is not None]

    def searches(self, choice: Chosen) -> list[Fitted]:
        """What was spent on a lottery's masks beside the fits: what its chains' own records say."""
        chains = dict.fromkeys(str(chain_of(scored.name)) for scored in choice.cohort)
        records = [read_record(self._context.store, self._keys(choice.arm.view, chain)) for chain in chains]
        return [Fitted(record) for record in records if record is not None]

    def all(self) -> list[Fitted]:
        """All that were asked for, those at full size first."""
        fits = [fit for fit in self._read.values() if fit is not None]
        return sorted(fits, key=lambda fit: fit.record.view != "full")

    def output(self, fit: Fitted, *, steady: bool) -> Array:
        """The restored image (C, H, W): where the fit was stopped, or where its outputs varied least."""
        arrays = self._arrays(fit.record)
        return arrays.steady if steady else arrays.output

    def _keys(self, view: ViewName, candidate: str) -> FitLayout:
        return fit_keys(self._context, FitJob(self._image, view, parse_name(candidate)))

    def _arrays(self, record: FitRecord) -> FitArrays:
        return read_arrays(self._context.store, self._keys(record.view, record.candidate), record)

    def _load(self, view: ViewName, candidate: str) -> Fitted | None:
        keys = self._keys(view, candidate)
        record = read_record(self._context.store, keys) or self._last_pause(keys.root)
        if record is None or record.state != "done":
            return None if record is None else Fitted(record)
        arrays = self._arrays(record)
        return Fitted(record, arrays.held_out, arrays.psnr)

    def _last_pause(self, root: str) -> FitRecord | None:
        store = self._context.store
        pauses = [FIT_RECORDS.read(store, key) for key in store.keys(root) if key.startswith(f"{root}/rung-")]
        return max(pauses, key=lambda record: record.iterations or 0, default=None)


def thin(length: int, keep: int | None, points: int = CURVE_POINTS) -> NDArray[np.int64]:
    """About ``points`` indices of a curve of this length, evenly spread, with both ends and the index ``keep``."""
    at = np.linspace(0, length - 1, min(length, points)).round().astype(np.int64)
    return np.unique(np.append(at, at[:0] if keep is None else keep))


def pack(fitted: Sequence[Fitted]) -> bytes:
    """The records and thinned curves of an image's fits as one Parquet table, a row per fit."""
    rows = []
    for fit in fitted:
        row = asdict(fit.record)
        del row["arrays"]
        evaluation = row.pop("evaluation") or dict.fromkeys(each.name for each in fields(Evaluation))
        held_out = np.zeros(0, np.float32) if fit.held_out is None else fit.held_out
        psnr_curve = held_out[:0] if fit.psnr is None else fit.psnr
        stop = fit.record.stop_iteration if held_out.size else None
        at = thin(len(held_out), None if stop is None else stop - 1)
        row |= evaluation | {
            "curve_iteration": (at + 1).tolist(),
            "curve_held_out": held_out[at].tolist(),
            "curve_psnr": psnr_curve[at].tolist() if psnr_curve.size else None,
        }
        rows.append(row)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_COHORT_SCHEMA), buffer)
    return buffer.getvalue()


_COHORT_SCHEMA = pa.schema(
    [
        ("candidate", pa.string()),
        ("view", pa.string()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("held_out_error", pa.float64()),
        ("held_out_standard_error", pa.float64()),
        ("stop_iteration", pa.int64()),
        ("steady_iteration", pa.int64()),
        ("iterations", pa.int64()),
        ("residual_correlation", pa.float64()),
        ("parameters", pa.int64()),
        ("sparsity", pa.float64()),
        ("blind", pa.bool_()),
        ("seconds", pa.float64()),
        ("psnr", pa.float64()),
        ("psnr_steady", pa.float64()),
        ("psnr_oracle_stop", pa.float64()),
        ("psnr_last", pa.float64()),
        ("curve_iteration", pa.list_(pa.int64())),
        ("curve_held_out", pa.list_(pa.float32())),
        ("curve_psnr", pa.list_(pa.float32())),
    ]
)


def collect(context: RunContext, image: InputImage, chosen: Sequence[Chosen], *, previews: bool) -> list[Row]:
    """Write an image's restored files, packed record and rows; then let go of what the settings do not keep.

    ``previews`` leaves small pictures for the report.
    """
    store, layout = context.store, context.layout
    fits = _Fits(context, image)
    if store.exists(layout.row(image.id)):
        # An earlier attempt came this far, and may have let go of what the rows were made from.
        _let_go(context, image, chosen)
        return rows_from_json(store.get(layout.row(image.id)))
    evidence = _Evidence(context, image)
    rows = []
    for choice in chosen:
        row = _row(context, image, choice, fits, evidence, previews=previews)
        rows.append(row)
        if choice.arm.is_lottery:
            rows += evidence.rounds(choice, row, fits, previews=previews)
    if previews:
        evidence.show()
    # Who comes late, and may find fits gone that the first had, changes nothing.
    store.create(layout.cohort(image.id), pack(fits.all()))
    rows = rows_from_json(create_or_read(store, layout.row(image.id), rows_record(rows)))
    _let_go(context, image, chosen)
    return rows


class _Evidence:
    """What the figures of an image are made from, loaded once for all arms."""

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self._context, self._image = context, image
        self._task = context.config.task.make()
        problem = Problem(context, image)
        self.picture = problem.picture
        self.observation: Observation = problem.observation
        self.before = problem.unrestored
        self.reference = problem.reference

    def show(self) -> None:
        """Small pictures of what all arms have in common."""
        shown: dict[Preview, Array | None] = {"degraded": self.before, "reference": self.reference}
        for what, pixels in shown.items():
            if pixels is not None:
                self._context.store.put(self._context.layout.preview(self._image.id, what), preview(pixels))

    def with_known(self, output: Array) -> Array:
        """A network's output with the pixels that the user's mask knows as they were, if that is wished."""
        known = self.observation.known
        if known is None or self._image.mask is None or not self._context.config.task.keep_known:
            return output
        return np.where(known, self.observation.pixels, output)

    def encoded(self, pixels: Array) -> bytes:
        """A restored image as a file like the one that was given."""
        like = resized(self.picture, *pixels.shape[1:])
        # Of a clean file that was degraded for the occasion no sample may find its way into the restored one.
        return encode(pixels, replace(like, exact=None) if self._context.simulate else like)

    def noise(self, output: Array) -> Estimate | None:
        """The variance of the noise that a fit left over; None where no noise can be told from the image."""
        return self._task.estimated_noise(self.observation, output)

    def estimate(self, record: FitRecord, output: Array) -> tuple[float, float] | None:
        """The interval of PSNR that a fit's held-out error allows; None where it says too little."""
        if record.held_out_error is None or record.held_out_standard_error is None:
            return None
        held_out = Estimate(record.held_out_error, record.held_out_standard_error)
        masked = self._image.mask is not None
        return self._task.psnr_interval(held_out, self.observation, output, masked=masked)

    def figures(self, row: Row, record: FitRecord, output: Array, pixels: Array, *, correlated: bool) -> Row:
        """The row of a fit that has restored the image as ``pixels``, which are its ``output`` and what was known."""
        interval = None if correlated else self.estimate(record, output)
        name = parse_name(record.candidate)
        chain = chain_of(name)
        row = replace(
            row,
            state=RowState.RESTORED,
            candidate=record.candidate,
            stop_iteration=record.steady_iteration if correlated else record.stop_iteration,
            held_out_error=record.held_out_error,
            psnr_low=None if interval is None else interval[0],
            psnr_high=None if interval is None else interval[1],
            parameters=record.parameters,
            sparsity=record.sparsity,
            round=name.number if isinstance(name, Round) else None,
            initialisation=None if chain is None else chain.initialisation,
            source=None if chain is None else chain.source,
        )
        if self.reference is None:
            return row
        return replace(
            row,
            psnr_degraded=psnr(self.before, self.reference),
            psnr=psnr(pixels, self.reference),
            psnr_y=psnr_y(pixels, self.reference) if self._context.config.task.scale > 1 else None,
            ssim=ssim(pixels, self.reference),
            psnr_oracle_stop=record.evaluation.psnr_oracle_stop if record.evaluation else None,
            psnr_last=record.evaluation.psnr_last if record.evaluation else None,
        )

    def rounds(self, choice: Chosen, picked: Row, fits: _Fits, *, previews: bool) -> list[Row]:
        """Rows of a lottery's rounds that the image was not restored with, and small pictures of those of its first chains."""
        context, image, arm = self._context, self._image, choice.arm.name
        correlated = choice.decision.correlated
        nothing = Row(image.name, arm, RowState.FAILED, picked=False)
        common = replace(nothing, rule=picked.rule, stopping=picked.stopping, note=picked.note, blind=picked.blind)
        rows = []
        for scored in choice.cohort:
            assert isinstance(scored.name, Round)  # noqa: S101 - a lottery's cohort are rounds
            name, chain, number = str(scored.name), scored.name.chain, scored.name.number
            row = replace(
                common, candidate=name, source=chain.source, initialisation=chain.initialisation, round=number
            )
            fit = next(iter(fits.get("full", [name])), None)
            if fit is None or fit.record.state != "done":
                reason = choice.decision.failed.get(name) if fit is None else fit.record.reason
                rows.append(replace(row, reason=reason))
                continue
            output = fits.output(fit, steady=correlated)
            pixels = self.with_known(output)
            if previews and chain.initialisation == 0:
                context.store.put(context.layout.round_preview(image.id, arm, number), preview(pixels))
            if name != picked.candidate:
                row = replace(row, iterations=fit.record.iterations, seconds=fit.record.seconds)
                rows.append(self.figures(row, fit.record, output, pixels, correlated=correlated))
        return rows


def _row(
    context: RunContext, image: InputImage, choice: Chosen, fits: _Fits, evidence: _Evidence, *, previews: bool
) -> Row:
    arm, decision = choice.arm, choice.decision
    cohort = fits.get(arm.view, [str(scored.name) for scored in choice.cohort])
    # A cohort fitted at full size needs no second fit: the same fit is both.
    final = fits.get("full", choice.full)
    used = cohort if arm.view == "full" else final + cohort
    if arm.is_lottery:
        used = used + fits.searches(choice)
    iterations, seconds = choice.cost(used)
    stopping = stopping_of(context.config)
    falls_back = decision.correlated and stopping.where_correlated != stopping.name
    row = Row(
        image.name,
        arm.name,
        RowState.FAILED,
        rule=decision.rule,
        stopping=stopping.where_correlated if decision.correlated else stopping.name,
        iterations=iterations,
        seconds=seconds,
    )
    done = _by_final_order(choice, fits, [fit for fit in final if fit.record.state == "done"])
    if not done:
        return replace(row, reason=_why_nothing(decision, final))
    notes = [_why_not_held_out(decision)] * (
        context.config.pick.noise == "auto" and (falls_back or decision.rule != arm.rule)
    )
    if not all(fit.record.blind for fit in cohort):
        notes.append(NOT_BLIND)
        row = replace(row, blind=False)
    row = replace(row, note="; ".join(notes) or None)
    best = done[: arm.full_fits]
    outputs = [fits.output(fit, steady=decision.correlated) for fit in best]
    records = [fit.record for fit in best]
    correlated = decision.correlated
    return _restored(context, image, row, records, outputs, evidence=evidence, correlated=correlated, previews=previews)


def picked_network(context: RunContext, image: InputImage, choice: Chosen) -> str | None:
    """The network that an arm has picked for an image; None if it has none."""
    fits = _Fits(context, image)
    done = [fit for fit in fits.get("full", choice.full) if fit.record.state == "done"]
    return next((fit.record.candidate for fit in _by_final_order(choice, fits, done)), None)


def _why_not_held_out(decision: Decision) -> str:
    seen = "" if decision.residual_correlation is None else f" ({decision.residual_correlation:.2f})"
    return (
        f"what the fits leave over is correlated between neighbouring pixels{seen}, so held-out pixels mislead: stopped where"
        " the outputs varied least and chosen by consensus"
    )


def _by_final_order(choice: Chosen, fits: _Fits, done: Sequence[Fitted]) -> list[Fitted]:
    """The fits at full size, the pick first; those of a cohort at full size are in their final order already."""
    rule = choice.decision.rule
    if choice.arm.view == "full":
        return list(done)
    by_candidate = {fit.record.candidate: fit for fit in done}
    scores = {str(scored.name): scored.score for scored in choice.cohort}
    members = [
        Member(
            candidate,
            scores[candidate],
            fit.record.held_out_error,
            fits.output(fit, steady=False) if rule in HEARS_HELD_OUT & NEEDS_OUTPUTS else None,
        )
        for candidate, fit in by_candidate.items()
    ]
    return [by_candidate[candidate] for candidate in final_order(rule, members)]


def mean_weights(held_out_errors: Sequence[float | None], noise: float) -> NDArray[np.float64]:
    """Weights of fits in their mean: one over the estimated true error, which is held-out error less noise variance.

    So errors that are independent average best. The noise is taken to be at most nine tenths of the least error, since an
    estimate that leaves nothing says too much. Without held-out errors all weigh the same.
    """
    errors = np.array([np.nan if error is None else error for error in held_out_errors])
    if not np.isfinite(errors).all():
        return np.full(len(errors), 1 / len(errors))
    weights = 1 / np.maximum(errors - min(noise, 0.9 * errors.min()), 1e-12)
    normalised: NDArray[np.float64] = weights / weights.sum()
    return normalised


def _restored(
    context: RunContext,
    image: InputImage,
    row: Row,
    records: Sequence[FitRecord],
    outputs: Sequence[Array],
    *,
    evidence: _Evidence,
    correlated: bool,
    previews: bool,
) -> Row:
    store, layout = context.store, context.layout
    pick, record = outputs[0], records[0]
    mean: Array | None = None
    spread: Array | None = None
    if len(outputs) > 1:
        errors = [None if correlated else other.held_out_error for other in records]
        noise = evidence.noise(pick)
        weights = mean_weights(errors, 0.0 if noise is None else noise.value)
        mean = np.average(outputs, axis=0, weights=weights).astype(np.float32)
        spread = np.std(outputs, axis=0, dtype=np.float64).mean(axis=0, keepdims=True).astype(np.float32)
    pick = evidence.with_known(pick)
    store.put(layout.restored(row.arm, "pick", image.restored), evidence.encoded(pick))
    if mean is not None and spread is not None:
        mean = evidence.with_known(mean)
        store.put(layout.restored(row.arm, "mean", image.restored), evidence.encoded(mean))
        store.put(layout.restored(row.arm, "spread", image.spread), encode_map(spread))
    if previews:
        brightest = None if spread is None else spread / max(float(spread.max()), 1e-12)
        shown: dict[Preview, Array | None] = {"restored": pick, "mean": mean, "spread": brightest}
        for what, pixels in shown.items():
            if pixels is not None:
                store.put(layout.preview(image.id, what, row.arm), preview(pixels))
    row = evidence.figures(row, record, outputs[0], pick, correlated=correlated)
    if evidence.reference is None or mean is None:
        return row
    return replace(row, psnr_mean=psnr(mean, evidence.reference))


def _why_nothing(decision: Decision, final: Sequence[Fitted]) -> str:
    reasons = [fit.record.reason for fit in final if fit.record.reason] or list(decision.failed.values())
    return f"no fit came to an end; the last reason: {reasons[-1] if reasons else 'unknown'}"


def let_go_of_the_rest(context: RunContext, ended: Container[str]) -> None:
    """Remove what is left of the fits of images that have ended: by a driver that was killed before it could let go of them.

    Of images fitted at full size only, those that were not among the best stay.
    """
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    for key in list(store.keys(layout.all_fits)):
        image, view, *_ = key.removeprefix(f"{layout.all_fits}/").split("/")
        if image in ended and (view != "full" or config.keep.fits == "none"):
            store.delete(key)


def _let_go(context: RunContext, image: InputImage, chosen: Sequence[Chosen]) -> None:
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    kept = {layout.fit(image.id, "full", parse_name(candidate)).root for choice in chosen for candidate in choice.full}
    if config.keep.fits == "none":
        kept = set()
    roots = {key.rsplit("/", 1)[0] for key in store.keys(layout.fits(image.id))}
    for root in sorted(roots - kept):
        store.delete_all(root)
