"""Whether the content of an object is what its place says, beyond the checksum that its store keeps of it.

Checksums may be lost with a copy, and an object may have been damaged before it was written. So every object of a known
kind is also read as what it is, as far as that needs neither torch nor Ray.
"""

import hashlib
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.errors import DamagedError, ImageRejectedError, NewerFormatError
from orchestrator.fit.record import FIT_RECORDS, STEP_RECORDS
from orchestrator.images.png import check_chunks
from orchestrator.run.attempt import HOLDERS, STANDINGS, STOP_REQUESTS
from orchestrator.run.decisions import DECISIONS, RUNGS, TILINGS
from orchestrator.run.formats import RecordFormat
from orchestrator.run.inputs import INPUTS, check_content
from orchestrator.run.layout import bank_root
from orchestrator.run.places import Kind
from orchestrator.run.record import RUN_RECORDS
from orchestrator.run.rows import ROWS
from workers.lottery.headers import NewerTicketError, check_digest

_PNG = b"\x89PNG\r\n\x1a\n"
_ARRAYS = {"output.npy", "steady.npy", "held_out.npy", "psnr.npy"}


class WrongContentError(ValueError):
    """The content of an object is not what its place says; the message is one line."""


def read_content(kind: Kind, data: bytes, place: str) -> Any:
    """Read an object as what it is.

    Args:
        kind: What it is.
        data: Its content.
        place: Where it was found, for the message of a newer format.

    Returns:
        The record, for a kind that is one; None for other kinds.

    Raises:
        WrongContentError: it is something else.
        NewerFormatError: a newer version has written it.
    """
    try:
        if kind in _RECORDS:
            return _RECORDS[kind].from_json(data, place)
        _CHECKS.get(kind, _anything)(data)
    except NewerTicketError as error:
        raise NewerFormatError(f"{place} cannot be read by this version: {error}") from None
    except WrongContentError:
        raise
    except (ValueError, ImageRejectedError) as error:
        raise WrongContentError(f"it is not {kind} ({' '.join(str(error).split())[:200]})") from None
    return None


def check_input(key: str, data: bytes) -> None:
    """Compare an image or a reference with the SHA-256 in its name, and a mask, which is named by the file that it was
    made from, with its own checksums.

    Raises:
        WrongContentError: it differs.
    """
    try:
        if "-" in key.rpartition("/")[2]:
            check_chunks(data)
        check_content(key, hashlib.sha256(data).hexdigest())
    except ImageRejectedError as error:
        raise WrongContentError(str(error)) from None
    except DamagedError:
        raise WrongContentError("its content is not what its name says (SHA-256)") from None


def check_bank(key: str, data: bytes) -> None:
    """Read an object of a bank of fingerprints.

    Raises:
        WrongContentError: it is no description of this bank, or no part of any.
    """
    import numpy as np  # noqa: PLC0415 - listing runs needs none

    try:
        if not key.endswith("/key.json"):
            np.load(io.BytesIO(data), allow_pickle=False)
        elif bank_root(json.loads(data)) != key.rpartition("/")[0]:
            raise WrongContentError("it describes another bank")
    except WrongContentError:
        raise
    except (ValueError, EOFError, RecursionError) as error:
        raise WrongContentError(f"it is no part of a bank ({' '.join(str(error).split())[:200]})") from None


def _anything(data: bytes) -> None:
    """An object of which nothing is known but its checksum."""


def _json(data: bytes) -> None:
    try:
        json.loads(data)
    except RecursionError:
        raise WrongContentError("its brackets are nested too deep") from None


def _zip(data: bytes) -> zipfile.ZipFile:
    """The archive that NumPy and torch write, every member compared with its checksum."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        wrong = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise WrongContentError(f"it is no whole archive ({error})") from None
    if wrong is not None:
        raise WrongContentError(f"its part {wrong!r} is damaged")
    return archive


def _arrays(data: bytes) -> None:
    if not set(_zip(data).namelist()) >= _ARRAYS:
        raise WrongContentError("it lacks some of the arrays of a fit")


def _saved(data: bytes) -> None:
    _zip(data)


def _parquet(data: bytes) -> None:
    import pyarrow as pa  # noqa: PLC0415 - it takes a while to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError):
        raise WrongContentError("it is no whole Parquet table") from None


def _table(data: bytes) -> None:
    """A table of results: Parquet, or text."""
    if data.startswith(b"PAR1"):
        _parquet(data)


def _picture(data: bytes) -> None:
    """A PNG with its own checksums, or a TIFF, which has none."""
    if data.startswith(_PNG):
        check_chunks(data)
    elif data[:4] not in (b"II*\0", b"II+\0", b"MM\0*", b"MM\0+"):
        raise WrongContentError("it is no PNG and no TIFF")


_RECORDS: Mapping[Kind, RecordFormat[Any]] = {
    Kind.RECORD: RUN_RECORDS,
    Kind.INPUTS: INPUTS,
    Kind.HOLDER: HOLDERS,
    Kind.STATE: STANDINGS,
    Kind.STOP: STOP_REQUESTS,
    Kind.FIT: FIT_RECORDS,
    Kind.PAUSE: FIT_RECORDS,
    Kind.STEP: STEP_RECORDS,
    Kind.RUNG: RUNGS,
    Kind.TILING: TILINGS,
    Kind.PICK: DECISIONS,
    Kind.ROWS: ROWS,
    Kind.RETRIED: ROWS,
}
_CHECKS: Mapping[Kind, Callable[[bytes], None]] = {
    Kind.SCORES: _parquet,
    Kind.COHORT: _parquet,
    Kind.ARRAYS: _arrays,
    Kind.CHECKPOINT: _saved,
    Kind.START: _saved,
    Kind.TICKET: check_digest,
    Kind.RESTORED: _picture,
    Kind.PREVIEW: _picture,
    Kind.TABLE: _table,
}
