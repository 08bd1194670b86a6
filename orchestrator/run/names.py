"""Names of fits in records: text in JSON, and `workers.names.FitName` in Python."""

from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from workers.names import FitName, parse_name


def _parsed(value: Any) -> Any:
    return parse_name(value) if isinstance(value, str) else value


Name = Annotated[FitName, BeforeValidator(_parsed), PlainSerializer(str)]
"""The type of a record's field that names a fit. `pydantic.TypeAdapter` reads and writes it as text, also as a key."""
