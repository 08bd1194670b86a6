"""The marker of a store: its format, and the id by which it is told from every other store.

A store gets it from the first command that writes to it. A store that was made before there were markers gets one as it
is: nothing else in it changes.
"""

import uuid
from dataclasses import dataclass

from orchestrator.errors import NotFoundError
from orchestrator.run.attempt import now
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.store import MARKER, Store, create_or_read


@dataclass(frozen=True)
class Marker:
    """A store's id (32 hex digits), and when it got it, ISO 8601."""

    id: str
    created: str


MARKERS = RecordFormat("the marker of a store", Marker, (same_fields,))


def hold(store: Store) -> bytes:
    """Give a store a marker unless it has one, and hold the store to it; returns the marker.

    Raises:
        NewerFormatError: a newer version keeps something in this store that this version does not know.
        DamagedError: the marker is damaged.
    """
    return _held(store, create_or_read(store, MARKER, MARKERS.to_json(Marker(uuid.uuid4().hex, now()))))


def hold_if_marked(store: Store) -> None:
    """As `hold`, for what only reads or has not begun to write: a store without a marker stays as it is."""
    try:
        marker = store.get(MARKER)
    except NotFoundError:
        return
    _held(store, marker)


def _held(store: Store, marker: bytes) -> bytes:
    MARKERS.from_store(marker, store.show(MARKER))
    store.hold(marker)
    return marker
