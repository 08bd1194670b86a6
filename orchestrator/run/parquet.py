"""Parquet columns from dataclasses, so that a new field becomes a new column by itself."""

from dataclasses import fields
from types import NoneType
from typing import Any, get_args

import pyarrow as pa

_KINDS = {int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def columns_of(record: type[Any]) -> list[tuple[str, pa.DataType]]:
    """A name and a type for each field of a dataclass: numbers and booleans stay, everything else becomes text."""
    return [(field.name, _kind(field.type)) for field in fields(record)]


def _kind(annotation: Any) -> pa.DataType:
    known = [kind for kind in get_args(annotation) or (annotation,) if kind is not NoneType]
    return _KINDS.get(known[0], pa.string()) if len(known) == 1 else pa.string()
