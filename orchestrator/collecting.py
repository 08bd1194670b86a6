"""When an image's fits are done: its restored files, its figures, its packed record.

This is the only place, beside the observer inside a fit, that sees a clean reference.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.context import RunContext
from orchestrator.fits import FitArrays, fit_keys, read_record
from orchestrator.images import encode, preview
from orchestrator.ingest import InputImage
from orchestrator.jobs import FitJob, FitRecord
from orchestrator.layout import Preview
from orchestrator.picking import Decision, Member, final_order
from orchestrator.problem import load_degraded, load_picture, load_reference
from orchestrator.results import Row, RowState, rows_from_json, rows_to_json
from orchestrator.scoring import Scored
from workers.quality import psnr, ssim
from workers.views import ViewName

CURVE_POINTS = 200
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Fitted:
    """A fit that came to an end: its record, and its arrays if it has a result."""

    record: FitRecord
    arrays: FitArrays | None


def _load(context: RunContext, image: InputImage, view: ViewName, candidates: Sequence[str]) -> list[Fitted]:
    fitted = []
    for candidate in candidates:
        keys = fit_keys(context, FitJob(image, context.config.method, view, candidate))
        record = read_record(context.store, keys)
        if record is not None:
            done = record.state == "done"
            fitted.append(Fitted(record, FitArrays.from_bytes(context.store.get(keys.arrays)) if done else None))
    return fitted


def thin(length: int, keep: int | None, points: int = CURVE_POINTS) -> NDArray[np.int64]:
    """About ``points`` indices of a curve of this length, evenly spread, with both ends and the index ``keep``."""
    at = np.linspace(0, length - 1, min(length, points)).round().astype(np.int64)
    return np.unique(np.append(at, at[:0] if keep is None else keep))


def pack(fitted: Sequence[Fitted], scores: Mapping[str, float]) -> bytes:
    """The records and thinned curves of an image's fits as one Parquet table, a row per fit."""
    rows = []
    for fit in fitted:
        row = {**asdict(fit.record), "score": scores.get(fit.record.candidate)}
        evaluation = row.pop("evaluation") or {"psnr": None, "psnr_oracle_stop": None}
        held_out = fit.arrays.held_out if fit.arrays else np.zeros(0, np.float32)
        psnr_curve = fit.arrays.psnr if fit.arrays else held_out
        stop = fit.record.stop_iteration if fit.arrays else None
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
        ("score", pa.float64()),
        ("held_out_error", pa.float64()),
        ("stop_iteration", pa.int64()),
        ("iterations", pa.int64()),
        ("parameters", pa.int64()),
        ("seconds", pa.float64()),
        ("psnr", pa.float64()),
        ("psnr_oracle_stop", pa.float64()),
        ("curve_iteration", pa.list_(pa.int64())),
        ("curve_held_out", pa.list_(pa.float32())),
        ("curve_psnr", pa.list_(pa.float32())),
    ]
)


def collect(
    context: RunContext,
    image: InputImage,
    shortlist: Sequence[Scored],
    decision: Decision,
    full: Sequence[str],
    *,
    previews: bool,
) -> list[Row]:
    """Write an image's restored files, packed record and row; then let go of what the settings do not keep.

    Args:
        context: the run.
        image: the image.
        shortlist: its cohort with the scores.
        decision: the cohort's order.
        full: the candidates fitted at full size, in the cohort's order.
        previews: whether to leave small pictures for the report.
    """
    config, store, layout = context.config, context.store, context.layout
    if store.exists(layout.row(image.id)):
        # An earlier attempt came this far, and may have let go of what the row was made from.
        _let_go(context, image, full)
        return rows_from_json(store.get(layout.row(image.id)))
    cohort = _load(context, image, config.cohort.view, [scored.candidate for scored in shortlist])
    # A cohort fitted at full size needs no second fit: the same fit is both.
    final = _load(context, image, "full", full)
    scores = {scored.candidate: scored.score for scored in shortlist}
    done = _by_final_order(config.pick.rule, [fit for fit in final if fit.arrays is not None], scores)
    every = cohort if config.cohort.view == "full" else final + cohort
    seconds = round(sum(fit.record.seconds for fit in every), 3)
    if done:
        row = _restore(context, image, done, previews=previews)
        row = replace(row, seconds=seconds)
    else:
        row = Row(image.name, config.method, RowState.FAILED, reason=_why_nothing(decision, final), seconds=seconds)
    store.put(layout.cohort(image.id), pack(every, scores))
    store.put(layout.row(image.id), rows_to_json([row]).encode())
    _let_go(context, image, [fit.record.candidate for fit in done])
    return [row]


def _by_final_order(rule: str, done: Sequence[Fitted], scores: Mapping[str, float]) -> list[Fitted]:
    by_candidate = {fit.record.candidate: fit for fit in done}
    members = [Member(c, scores[c], fit.record.held_out_error) for c, fit in by_candidate.items()]
    return [by_candidate[candidate] for candidate in final_order(rule, members)]


def _restore(context: RunContext, image: InputImage, done: Sequence[Fitted], *, previews: bool) -> Row:
    config, store, layout = context.config, context.store, context.layout
    picture = load_picture(context, image)
    outputs = [fit.arrays.output for fit in done if fit.arrays is not None]
    pick, record = outputs[0], done[0].record
    mean: Array | None = None
    if len(outputs) > 1:
        mean = np.asarray(np.mean(outputs, axis=0, dtype=np.float64), dtype=np.float32)
    degraded, reference = load_degraded(context, image), load_reference(context, image)
    results: dict[Literal["pick", "mean"], Array | None] = {"pick": pick, "mean": mean}
    for which, pixels in results.items():
        if pixels is not None:
            store.put(layout.restored(config.method, which, image.restored), encode(pixels, picture))
    if previews:
        shown: dict[Preview, Array | None] = {
            "degraded": degraded,
            "restored": pick,
            "mean": mean,
            "reference": reference,
        }
        for what, pixels in shown.items():
            if pixels is not None:
                store.put(layout.preview(image.id, what), preview(pixels))
    return Row(
        image.name,
        config.method,
        RowState.RESTORED,
        candidate=record.candidate,
        stop_iteration=record.stop_iteration,
        held_out_error=record.held_out_error,
        psnr_degraded=None if reference is None else psnr(degraded, reference),
        psnr=None if reference is None else psnr(pick, reference),
        ssim=None if reference is None else ssim(pick, reference),
        psnr_oracle_stop=record.evaluation.psnr_oracle_stop if record.evaluation else None,
        psnr_mean=None if reference is None or mean is None else psnr(mean, reference),
    )


def _why_nothing(decision: Decision, final: Sequence[Fitted]) -> str:
    reasons = [fit.record.reason for fit in final if fit.record.reason] or list(decision.failed.values())
    return f"no fit came to an end; the last reason: {reasons[-1] if reasons else 'unknown'}"


def _let_go(context: RunContext, image: InputImage, full: Sequence[str]) -> None:
    config, store, layout = context.config, context.store, context.layout
    if config.keep.fits == "all":
        return
    kept = {layout.fit(image.id, config.method, "full", candidate).root for candidate in full}
    if config.keep.fits == "none":
        kept = set()
    roots = {key.rsplit("/", 1)[0] for key in store.keys(layout.fits(image.id))}
    for root in sorted(roots - kept):
        store.delete_all(root)
