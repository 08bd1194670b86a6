"""How far a run is: what is done and what is to be done, counted by stage."""

from collections import Counter
from typing import Literal

Counted = Literal["bank", "scored", "cohort", "full", "collected"]


class Tally:
    """Counts of a run. A total may change on the way: arms halve, picks fail, images end early."""

    def __init__(self) -> None:
        self._done: Counter[str] = Counter()
        self._total: Counter[str] = Counter()

    def expect(self, what: Counted, more: int) -> None:
        """So many more are to be done; fewer, if negative."""
        self._total[what] += more

    def add(self, what: Counted, done: int = 1) -> None:
        """So many more are done."""
        self._done[what] += done

    def done(self, what: Counted) -> int:
        """How many are done."""
        return self._done[what]

    def total(self, what: Counted) -> int:
        """How many are to be done in all."""
        return self._total[what]
