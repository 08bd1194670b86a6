"""The table of results: one row per image and arm."""

import io
import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.run.formats import RecordFormat
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from orchestrator.text import to_csv

if TYPE_CHECKING:
    import pyarrow as pa


class RowState(StrEnum):
    """How an image ended: a row starts without a state and ends in one of these.

    RESTORED has a restored file. REJECTED could not be used at all. FAILED could, but no fit finished.
    """

    RESTORED = "restored"
    REJECTED = "rejected"
    FAILED = "failed"


Delivered = Literal["pick", "mean", "stack", "classical"]
"""The restored image that is an arm's result."""

NOT_BLIND = "not blind: the masks were found on the clean reference (lottery.target: clean)"
"""The note of a row that is not blind."""


@dataclass(frozen=True)
class Row:
    """The result for one image and arm; None where a value is not known.

    ``candidate``, ``stop_iteration`` and ``held_out_error`` (mean squared, images in [0, 1]) belong to the blind pick's
    fit at full size; so do ``psnr`` (dB), ``ssim``, ``psnr_oracle_stop`` and ``psnr_y`` (of the luma of RGB, for
    super-resolution). ``psnr_oracle_stop`` is the best of the iterations that hid pixels. ``psnr_low`` to ``psnr_high``
    is a 95 % interval for the PSNR, estimated without a reference. For a denoised image it covers pixels that the fit
    has not seen, so it is rather low for the whole image. It is unknown where wider than 1 dB. ``psnr_mean`` is the
    PSNR of the mean of the best few. PSNR and SSIM need a reference.

    ``delivered`` is what the restored image ``best`` is: ``pick``, ``mean``, ``stack`` or ``classical``, and
    ``psnr_delivered`` its PSNR. ``psnr_stack`` is the PSNR of the stack, and ``stack_weights`` has the networks and
    filters in it with their weights, the heaviest first (``name=0.61 other=0.39``). ``held_out_pick``,
    ``held_out_mean`` and ``held_out_stack`` are cross-validated errors on the held-out pixels, which decide what is
    delivered; unlike ``held_out_error`` they are not flattered by the choice. Without a stack these are unknown, and
    the pick is delivered. Runs of earlier versions have none of these.

    ``classical`` names the best classical filter of the image, chosen without the reference, ``psnr_classical`` is its
    PSNR, and ``held_out_classical`` its error as ``held_out_pick`` is. ``gain_over_classical`` is what the delivered
    image gains over it in dB: by the reference where there is one, else by these errors less the noise's variance.
    ``gain_over_degraded`` is likewise what it gains over the degraded image.

    Where hidden pixels have stopped a fit at full size, it has gone on with all pixels for ``revealed`` iterations, and
    ``psnr`` is that of the image which came of it; ``psnr_before_reveal`` is that at the stop. Held-out errors and
    ``psnr_low`` to ``psnr_high`` are those at the stop, since nothing is hidden afterwards.

    ``rule`` and ``stopping`` are how network and iteration were chosen; ``note`` is the reason if they
    differ from the settings. ``iterations``, ``seconds`` and ``multiply_adds`` are those of all fits the arm looked at;
    arms share fits. Networks and views differ in what an iteration costs, and machines in seconds: ``multiply_adds``
    (`workers.networks.cost`) compares them.

    The picked row of a lottery has the arm's ``iterations``, ``seconds`` and ``multiply_adds``, as in other arms; its
    other rows have the fit's.

    The arm of a lottery has a row for every round and initialisation; the one that it restored the image with is
    ``picked`` (as all rows of other arms are). ``sparsity`` is the share of the network's convolution weights that are
    gone, counted in the mask that was applied (for a deep decoder: the share of the dense network's weights that it
    lacks). ``parameters`` is how many are left to fit. ``source`` is the image whose ticket it is, if that was found
    elsewhere. ``psnr_last`` is the PSNR after the last iteration.

    A row is not ``blind`` if its masks were found on a clean reference. Its figures then show what would be possible,
    and are not the result of a method that sees only the degraded image.
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
    blind: bool = True
    delivered: Delivered | None = None
    psnr_delivered: float | None = None
    psnr_stack: float | None = None
    held_out_pick: float | None = None
    held_out_mean: float | None = None
    held_out_stack: float | None = None
    held_out_stack_standard_error: float | None = None
    stack_weights: str | None = None
    multiply_adds: int | None = None
    classical: str | None = None
    psnr_classical: float | None = None
    held_out_classical: float | None = None
    gain_over_classical: float | None = None
    gain_over_degraded: float | None = None
    revealed: int | None = None
    psnr_before_reveal: float | None = None


COLUMNS = tuple(field.name for field in fields(Row))


@dataclass(frozen=True)
class ImageRows:
    """The rows of one image, as the store has them."""

    rows: Sequence[Row]


def _rows_of_a_list(listed: Any) -> Mapping[str, Any]:
    """Format 0 of an image's rows: a list. Where a row has no ``blind``, only the wording of its note shows it."""
    return {"rows": [{"blind": NOT_BLIND not in (row.get("note") or ""), **row} for row in listed]}


ROWS = RecordFormat("the rows", ImageRows, (_rows_of_a_list,))


def rows_to_json(rows: Iterable[Row]) -> str:
    """Rows for people and other programs: a list of objects."""
    return json.dumps([asdict(row) for row in rows], indent=2, allow_nan=False)


def rows_record(rows: Sequence[Row]) -> bytes:
    """An image's rows as the store has them."""
    return ROWS.to_json(ImageRows(rows), indent=2)


def rows_from_json(text: str | bytes, place: str = "") -> list[Row]:
    """The rows back, from a record in the store or from what `rows_to_json` gives.

    Raises:
        NewerFormatError: a newer version has written them.
        ValueError: these are no rows.
    """
    return list(ROWS.from_json(text, place).rows)


def rows_to_csv(rows: Iterable[Row]) -> str:
    """Comma-separated values with a header; an unknown value is empty."""
    return to_csv(COLUMNS, map(asdict, rows))


def rows_to_table(rows: Iterable[Row]) -> "pa.Table":
    """An Arrow table; an unknown value is null."""
    # Imported here, because the commands that list and show need no Arrow and answer sooner without it.
    import pyarrow as pa  # noqa: PLC0415

    from orchestrator.run.parquet import columns_of  # noqa: PLC0415

    return pa.Table.from_pylist([asdict(row) for row in rows], schema=pa.schema(columns_of(Row)))


def write_results(store: Store, layout: RunLayout, rows: Sequence[Row]) -> None:
    """Write the table to the store, as CSV and as Parquet."""
    import pyarrow.parquet as pq  # noqa: PLC0415

    store.put(layout.results("csv"), rows_to_csv(rows).encode())
    buffer = io.BytesIO()
    pq.write_table(rows_to_table(rows), buffer)
    store.put(layout.results("parquet"), buffer.getvalue())


def rows_of(store: Store, key: str) -> list[Row]:
    """The rows of one image.

    Raises:
        NotFoundError: the store has none.
        NewerFormatError: a newer version has written them.
        DamagedError: the object is no list of rows.
    """
    return list(ROWS.read(store, key).rows)


def read_rows(
    store: Store, layout: RunLayout, skip: Callable[[str], None] | None = None, known: Iterable[str] = ()
) -> list[Row]:
    """The rows so far, in the order of the images' names and of the run's arms; also for a run in progress.

    Args:
        store: The store.
        layout: The run.
        known: Keys of rows that a listing may not show yet, whether they are there or not.
        skip: Is told of every object that cannot be read, a line each; the others are returned. None raises instead.

    Raises:
        StoreError: the store cannot be read; without ``skip`` also: an object is damaged, or of a newer version.
    """
    rest = deque(sorted({*store.keys(layout.rows), *known}))
    rows: list[Row] = []
    while rest:
        # An object that cannot be read ends the series; another begins after it.
        objects = store.get_many(tuple(rest))
        try:
            while rest:
                rows += ROWS.from_store(next(objects), store.show(rest[0])).rows
                rest.popleft()
        except (DamagedError, NewerFormatError) as error:
            if skip is None:
                raise
            skip(str(error))
            rest.popleft()
        except NotFoundError:
            rest.popleft()  # it is not there yet, or has been put aside since it was listed
    return sorted(rows, key=lambda row: row.image)
