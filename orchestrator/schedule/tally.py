"""Counts of a run's progress: finished and total work of every stage."""

from collections import Counter
from typing import Literal

Counted = Literal["bank", "scored", "cohort", "full", "tiles", "collected"]


class Tally:
    """Counts of a run. A total may change during the run: arms halve, picks fail, images end early."""

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self._total: Counter[str] = Counter()

    def expect(self, what: Counted, more: int) -> None:
        """Raise a total by ``more``; lower it if negative."""
        self._total[what] += more

    def add(self, what: Counted, done: int = 1) -> None:
        """Count ``done`` more as done."""
        self._done[what] += done

    def done(self, what: Counted) -> int:
        """How many are done."""
        return self._done[what]

    def total(self, what: Counted) -> int:
        """How many there are in total."""
        return self._total[what]
