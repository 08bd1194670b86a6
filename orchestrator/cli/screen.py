"""The standard streams of the commands: what cannot be shown costs its reader something, and a run nothing."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast


def open_streams() -> None:
    """Make sure that there are standard streams, and that they can show every name.

    A stream that was closed (``>&-``) becomes the null device; otherwise the next file that is opened would take its
    number, and what is printed would go there. A character that the terminal's encoding lacks is shown as ``?``.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest number that is free
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115 - it stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def muted_when_lost() -> Iterator[None]:
    """Let the output of the block go silent where it cannot be written: its reader has gone, or the disk is full.

    Without this, ``submit | head -n 2`` would end the run with its second line.
    """
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (cast(TextIO, _Muted(stream)) for stream in before)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


class _Muted:
    """A text stream whose writes do not fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write the text, as far as that is possible."""
        try:
            self._stream.write(text)
        except (OSError, ValueError):
            self._mute()
        return len(text)

    def flush(self) -> None:
        """Write what was held back, as far as that is possible."""
        try:
            self._stream.flush()
        except (OSError, ValueError):
            self._mute()

    def _mute(self) -> None:
        """Send all that follows, and what was held back, to the null device; Python would try it again at its end."""
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), self._stream.fileno())
