"""The head of a ticket, and whether the whole file is as it was written. This module imports no torch."""

import hashlib
import json
from typing import Any

KIND, FORMAT = b"dip-ticket", 1
MAGIC = b"%s %d" % (KIND, FORMAT)


class NewerTicketError(ValueError):
    """A ticket was written by a newer version, whose format this version does not know."""


def header(data: bytes) -> dict[str, Any]:
    """The JSON object at the head of a ticket, without reading masks; its content is not checked.

    Raises:
        NewerTicketError: a newer version has written them.
        ValueError: the bytes are no ticket.
    """
    magic, *lines = data.split(b"\n", 2)
    kind, _, number = magic.rpartition(b" ")
    if kind == KIND and number.isdigit() and int(number) > FORMAT:
        raise NewerTicketError(
            f"the bytes do not begin with {MAGIC.decode()!r} but have format {int(number)}: a newer version has"
            " written them; install that version"
        )
    if magic != MAGIC or len(lines) != 2:
        raise ValueError("the bytes are no ticket: they do not begin with 'dip-ticket 1' and a header")
    try:
        fields = json.loads(lines[0].decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise ValueError("the bytes are no ticket: the header is not JSON") from error
    if not isinstance(fields, dict):
        raise ValueError("the bytes are no ticket: the header is not a JSON object")
    return fields


def header_line(fields: dict[str, Any]) -> bytes:
    """The line of a header."""
    return json.dumps(fields).encode("ascii") + b"\n"


def digest(fields: dict[str, Any], bits: bytes) -> str:
    """The SHA-256, in hex, of a header without its own digest and of the masks' bits."""
    return hashlib.sha256(header_line(fields) + bits).hexdigest()


def check_digest(data: bytes) -> None:
    """Make sure that a ticket has the content that its digest says, without rebuilding its masks.

    Raises:
        NewerTicketError: a newer version has written it.
        ValueError: it is damaged, or no ticket.
    """
    fields = header(data)
    written = fields.pop("sha256", None)
    if digest(fields, data.split(b"\n", 2)[2]) != written:
        raise ValueError("its content is not what its digest says")
