"""What a run tells while it goes on. Whoever listens decides how to show it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Stage:
    """A stage's counts; ``running`` of the rest are under way."""

    name: str
    done: int
    total: int
    running: int = 0


class Listener(Protocol):
    """Hears how a run goes."""

    def note(self, message: str) -> None:
        """Something happened that is worth a line."""

    def update(self, stages: Sequence[Stage]) -> None:
        """The counts of all stages, in order; called often."""
