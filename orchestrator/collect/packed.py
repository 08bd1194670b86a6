"""The packed record of an image's fits: one Parquet table, from which reports and studies are made."""

import io
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.collect.fits import Fitted
from orchestrator.fit.record import Evaluation, FitRecord
from orchestrator.run.parquet import columns_of

CURVE_POINTS = 200
"""About how many points a packed curve has."""

_SCHEMA = pa.schema(
    [
        *(column for column in columns_of(FitRecord) if column[0] not in ("arrays", "evaluation")),
        *columns_of(Evaluation),
        ("curve_iteration", pa.list_(pa.int64())),
        ("curve_held_out", pa.list_(pa.float32())),
        ("curve_psnr", pa.list_(pa.float32())),
    ]
)
"""Every figure of a fit and of its evaluation is a column; the outputs stay with the fit."""


def thin(length: int, keep: int | None, points: int = CURVE_POINTS) -> NDArray[np.int64]:
    """Return about ``points`` indices of a curve of this length, evenly spread, with both ends and the index
    ``keep``."""
    at = np.linspace(0, length - 1, min(length, points)).round().astype(np.int64)
    return np.unique(np.append(at, at[:0] if keep is None else keep))


def pack(fitted: Sequence[Fitted]) -> bytes:
    """Pack the records and thinned curves of an image's fits into one Parquet table, a row per fit."""
    rows = []
    for fit in fitted:
        held_out = np.zeros(0, np.float32) if fit.held_out is None else fit.held_out
        psnr_curve = held_out[:0] if fit.psnr is None else fit.psnr
        stop = fit.record.stop_iteration if held_out.size else None
        at = thin(len(held_out), None if stop is None else stop - 1)
        known = asdict(fit.record) | {"candidate": str(fit.record.candidate)}
        curves = {
            "curve_iteration": (at + 1).tolist(),
            "curve_held_out": held_out[at].tolist(),
            "curve_psnr": psnr_curve[at].tolist() if psnr_curve.size else None,
        }
        rows.append(known | (known["evaluation"] or {}) | curves)
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer)
    return buffer.getvalue()
