"""The root of a store in a folder, which can be held to be the very folder that it was.

A folder that was removed, or whose file system was unmounted, must not be made anew at its path: whatever was there
would seem never to have been.
"""

import os
from pathlib import Path

from orchestrator.errors import StoreUnavailableError
from orchestrator.store.base import MARKER
from orchestrator.store.folders import NOT_THERE, LinkError, open_file, open_root, state_of


class Root:
    """A folder by its path; after `hold`, only the one that has this marker."""

    def __init__(self, path: Path, marker: bytes = b"") -> None:
        self.path, self.marker = path, marker
        self._seen: tuple[int, ...] | None = None

    def hold(self, marker: bytes) -> None:
        """From now on the folder must have a marker of this content."""
        self.marker, self._seen = marker, None

    def open(self, *, make: bool) -> int:
        """A descriptor of the folder, which ``make`` makes where it is missing, unless it is held.

        Raises:
            StoreUnavailableError: the folder is held, and is not there, or is another.
            FileNotFoundError, NotADirectoryError: there is no such folder, and it is not to be made.
        """
        if not self.marker:
            return open_root(self.path, make=make)
        try:
            root = open_root(self.path)
        except NOT_THERE:
            raise self._away("is not there any more") from None
        try:
            self._check(root)
        except BaseException:
            os.close(root)
            raise
        return root

    def _check(self, root: int) -> None:
        """Compare the marker with the one that is wanted; it is read anew only if its file has changed."""
        state = state_of(root, MARKER)
        if state is None:
            raise self._away(f"has lost its {MARKER}")
        seen = state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns
        if seen == self._seen:
            return
        try:
            with os.fdopen(open_file(root, MARKER), "rb") as file:
                found = file.read(len(self.marker) + 1)
        except (*NOT_THERE, LinkError, IsADirectoryError):
            found = b""
        if found != self.marker:
            raise self._away(f"is another one, by its {MARKER}")
        self._seen = seen

    def _away(self, what: str) -> StoreUnavailableError:
        return StoreUnavailableError(f"the store {self.path} {what}: mount it, or put it back, and resume the run")
