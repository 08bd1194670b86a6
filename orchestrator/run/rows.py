"""The table of results: one row per image and arm."""

import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING

from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from orchestrator.text import to_csv

if TYPE_CHECKING:
    import pyarrow as pa


class RowState(StrEnum):
    """How an image ended: a row begins as nothing and ends in one of these.

    RESTORED has a restored file. REJECTED could not be worked on at all. FAILED could, but no fit came to an end.
    """

    RESTORED = "restored"
    REJECTED = "rejected"
    FAILED = "failed"


NOT_BLIND = "not blind: the masks were found on the clean reference (lottery.target: clean)"
"""What the note of a row says then."""


@dataclass(frozen=True)
class Row:
    """What came out for one image and arm; None where it is not known.

    ``candidate``, ``stop_iteration`` and ``held_out_error`` (mean squared, images in [0, 1]) belong to the blind pick's fit
    at full size, ``psnr`` (dB), ``ssim``, ``psnr_oracle_stop`` and ``psnr_y`` (of the luma of RGB, for super-resolution)
    too. ``psnr_low`` to ``psnr_high`` is an interval (95 %) for that PSNR, estimated without a reference; of a denoised
    image on pixels that the fit has not seen, which is rather low for all of it. It is unknown where wider than 1 dB. ``psnr_mean`` is that of the mean of the best few. PSNR and
    SSIM need a reference. ``rule`` and ``stopping`` say how network and iteration were chosen, ``note`` why otherwise than
    asked. ``iterations`` and ``seconds`` are those of all fits the arm looked at; arms share fits.

    Of the picked row of a lottery ``iterations`` and ``seconds`` are the arm's, as of other arms; of its other rows the fit's.

    The arm of a lottery has a row for every round and initialisation; the one that it restored the image with is ``picked``
    (as all rows of other arms are). ``sparsity`` is the share of the network's convolution weights that are gone, counted in
    the mask that was applied (of a deep decoder: the share of the dense network's weights that it lacks), ``parameters`` how
    many are left to fit, ``source`` the image whose ticket it is, where it was found elsewhere, and ``psnr_last`` the PSNR
    after the last iteration.
    """

    image: str
    arm: str
    state: RowState
    reason: str | None = None
    candidate: str | None = None
    rule: str | None = None
    stopping: str | None = None
    note: str | None = None
    stop_iteration: int | None = None
    held_out_error: float | None = None
    psnr_low: float | None = None
    psnr_high: float | None = None
    psnr_degraded: float | None = None
    psnr: float | None = None
    psnr_y: float | None = None
    ssim: float | None = None
    psnr_oracle_stop: float | None = None
    psnr_mean: float | None = None
    iterations: int | None = None
    seconds: float | None = None
    picked: bool = True
    round: int | None = None
    initialisation: int | None = None
    sparsity: float | None = None
    parameters: int | None = None
    source: str | None = None
    psnr_last: float | None = None


COLUMNS = tuple(field.name for field in fields(Row))
_INTEGERS = ("stop_iteration", "iterations", "round", "initialisation", "parameters")
_WORDS = ("image", "arm", "state", "reason", "candidate", "rule", "stopping", "note", "source")


def rows_to_json(rows: Iterable[Row]) -> str:
    """A list of objects."""
    return json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False)


def rows_from_json(text: str | bytes) -> list[Row]:
    """The rows back."""
    return [Row(**{**fields, "state": RowState(fields["state"])}) for fields in json.loads(text)]


def rows_to_csv(rows: Iterable[Row]) -> str:
    """Comma-separated values with a header; an unknown value is empty."""
    return to_csv(COLUMNS, map(asdict, rows))


def rows_to_table(rows: Iterable[Row]) -> "pa.Table":
    """An Arrow table; an unknown value is null."""
    # Imported here: the commands that list and show need no Arrow, and answer sooner without it.
    import pyarrow as pa  # noqa: PLC0415

    kinds = {
        **dict.fromkeys(COLUMNS, pa.float64()),
        **dict.fromkeys(_WORDS, pa.string()),
        **dict.fromkeys(_INTEGERS, pa.int64()),
        "picked": pa.bool_(),
    }
    return pa.Table.from_pylist([asdict(row) for row in rows], schema=pa.schema(kinds.items()))


def write_results(store: Store, layout: RunLayout, rows: Sequence[Row]) -> None:
    """Leave the table in the store, as CSV and as Parquet."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    store.put(layout.results("csv"), rows_to_csv(rows).encode())
    buffer = io.BytesIO()
    pq.write_table(rows_to_table(rows), buffer)
    store.put(layout.results("parquet"), buffer.getvalue())


def read_rows(store: Store, layout: RunLayout) -> list[Row]:
    """The rows there are so far, in the order of the images' names and of the run's arms, also of a run under way."""
    rows = [row for data in store.get_many(store.keys(layout.rows)) for row in rows_from_json(data)]
    return sorted(rows, key=lambda row: row.image)
