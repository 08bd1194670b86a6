"""The progress of a run. The listener decides how to show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Stage:
    """The counts of a stage; ``running`` of the rest are in progress."""

    name: str
    done: int
    total: int
    running: int = 0


class Listener(Protocol):
    """Receives the progress of a run."""

    def note(self, message: str) -> None:
        """Something happened that deserves a line."""

    def update(self, stages: Sequence[Stage]) -> None:
        """The counts of all stages, in order; called often."""
