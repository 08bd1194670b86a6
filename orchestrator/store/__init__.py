"""Where everything is kept: objects by key, whole or not at all."""

from orchestrator.store.base import Store, check_key
from orchestrator.store.local import LocalStore

__all__ = ["LocalStore", "Store", "check_key", "open_store"]


def open_store(url: str) -> Store:
    """The store at a place: a local folder's path.

    Raises:
        UserMistakeError: the place is of a kind that is not supported.
    """
    return LocalStore(url)
