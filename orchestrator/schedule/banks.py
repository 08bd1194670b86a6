"""The banks of a run: the parts still to compute, and the candidates that are left out."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from orchestrator.errors import RunFailedError
from orchestrator.schedule.actions import Action, Compute, Note
from orchestrator.schedule.tally import Tally
from orchestrator.score.bank import BankPart
from orchestrator.text import counted
from workers.fingerprints import BankSpec


class Banks:
    """The banks of a run. Scoring an image needs its own bank only, so images whose bank is complete go on.

    Args:
        parts: all parts of each bank.
        missing: the parts that the store does not hold yet.
        retries: how often a failed part is retried.
        tally: the counts of the run.
        find: looks for the parts of a bank, and for those of them that the store does not hold yet.
    """

    def __init__(
        self,
        parts: Mapping[BankSpec, Sequence[BankPart]],
        missing: Mapping[BankSpec, Sequence[BankPart]],
        *,
        retries: int,
        tally: Tally,
        find: Callable[[BankSpec], tuple[Sequence[BankPart], Sequence[BankPart]]],
    ) -> None:
        self._parts, self._retries, self._tally, self._find = dict(parts), retries, tally, find
        self._missing = missing
        self._left = {spec: len(missing.get(spec, ())) for spec in parts}
        self.without: frozenset[str] = frozenset()

    def begin(self) -> Iterable[Action]:
        """Compute all missing parts."""
        for parts in self._missing.values():
            self._tally.expect("bank", len(parts))
            for part in parts:
                yield Compute(part)

    def expect(self, spec: BankSpec | None) -> list[Action]:
        """Compute the missing parts of an image's bank, unless it is a bank of the run already.

        Raises:
            StoreError: the store failed.
        """
        if spec is None or spec in self._parts:
            return []
        self._parts[spec], missing = self._find(spec)
        self._left[spec] = len(missing)
        self._tally.expect("bank", len(missing))
        return [Compute(part) for part in missing]

    @property
    def are_complete(self) -> bool:
        """Whether no part is left to compute."""
        return not any(self._left.values())

    def is_ready(self, spec: BankSpec | None) -> bool:
        """Whether images that need this bank can be scored."""
        return spec is None or not self._left[spec]

    def on_computed(self, part: BankPart) -> list[Action]:
        """Take note that a part is in the store."""
        self._left[part.spec] -= 1
        self._tally.add("bank")
        return []

    def on_failed(self, compute: Compute, reason: str, *, draining: bool) -> list[Action]:
        """Retry a part that could not be computed, or leave out its candidates.

        Raises:
            RunFailedError: no candidate of the bank is left.
        """
        if draining:
            return self.on_computed(compute.part)
        if compute.tries < self._retries:
            return [Compute(compute.part, compute.tries + 1)]
        self.without |= {compute.part.key}
        if all(part.key in self.without for part in self._parts[compute.part.spec]):
            raise RunFailedError(f"no candidate could be scored: {reason}")
        count = len(compute.part.candidates)
        return [
            Note(f"left out, since scoring failed: {counted(count, 'candidate')}: {reason}"),
            *self.on_computed(compute.part),
        ]
