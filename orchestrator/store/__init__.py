"""Where everything is kept: objects by key, whole or not at all."""

from orchestrator.errors import UserMistakeError
from orchestrator.store.base import MARKER, Entry, Store, check_key, create_or_read
from orchestrator.store.local import LocalStore
from orchestrator.store.once import check_store
from orchestrator.store.patient import PatientStore

__all__ = [
    "MARKER",
    "PATIENCE_S",
    "Entry",
    "LocalStore",
    "Store",
    "check_key",
    "check_store",
    "create_or_read",
    "open_store",
]

PATIENCE_S = 15.0
"""How many seconds a command waits for a store that is in trouble."""


def open_store(url: str, *, patience_s: float = PATIENCE_S) -> Store:
    """The store at a place: a local folder's path, or ``s3://bucket/prefix?option=value`` (docs/store.md).

    The place is not accessed yet.

    Args:
        url: The place.
        patience_s: How many seconds after its first failure an operation is retried, if the store is in trouble for the
            moment.

    Raises:
        UserMistakeError: the place is of a kind that is not supported, or its URL is malformed.
    """
    scheme, is_url, _ = url.partition("://")
    if not is_url:
        return PatientStore(LocalStore(url), patience_s)
    if scheme.lower() == "s3":
        from orchestrator.store.s3.store import S3Store  # noqa: PLC0415 - boto3 takes a third of a second to import

        return PatientStore(S3Store(url), patience_s)
    raise UserMistakeError(f"there are no stores at {scheme}://: a store is a folder's path or s3://bucket/prefix")
