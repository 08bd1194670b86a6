"""The right to delete what all runs share, or to bring a run in from outside: one process of a store has it at a time.

It is a claim like that on a run (`orchestrator.run.claim`), below ``upkeep/``. Together with the records of runs it
excludes that a run is begun with an input that is deleted at the same moment:

- Who begins a run writes ``run.json``, and then looks for a prune; while there is one, it waits before it asks which
  inputs the store has.
- Who prunes takes this claim, and then reads what all runs name. A run whose inputs are not listed yet keeps all
  inputs.

So one of the two always sees the other, whichever came first.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from orchestrator.errors import SupersededError, UserMistakeError
from orchestrator.run.attempt import RunState, last_attempt, latest
from orchestrator.run.claim import Claim, take, wait_until_free
from orchestrator.run.layout import RunLayout
from orchestrator.run.marker import hold
from orchestrator.store import Store


@dataclass(frozen=True)
class _UpkeepLayout(RunLayout):
    """The keys of the claim on a store's upkeep."""

    @property
    def root(self) -> str:
        """Beside the runs."""
        return self.run


UPKEEP = _UpkeepLayout("upkeep")
PRUNE = "prune"


@contextlib.contextmanager
def upkeep(store: Store, what: str, *, note: Callable[[str], None] = lambda message: None) -> Iterator[Claim]:
    """Hold the right, and the store to its marker, while ``what`` is done, one word.

    Raises:
        UserMistakeError: another process has it; the message names it.
    """
    hold(store)
    try:
        claim = take(store, UPKEEP, {"what": what}, note=note)
    except UserMistakeError:
        attempt = last_attempt(store, UPKEEP)
        by = "another process" if attempt is None else f"{attempt.holder.machine.get('what')}, {attempt.holder.name}"
        raise UserMistakeError(f"the store {store.url} is being looked after, by {by}; try again later") from None
    with claim:
        # The newest stays for good, so that no number is ever given twice.
        own = UPKEEP.claim(claim.holder.number).root
        store.delete_many([key for key in store.keys(UPKEEP.claims) if key.rpartition("/")[0] < own])
        ended = RunState.INTERRUPTED
        try:
            yield claim
            ended = RunState.FINISHED
        finally:
            claim.end(ended)


def check_upkeep(store: Store, claim: Claim) -> None:
    """Make sure that the right is still this process's, before something is deleted or comes into sight.

    A process that was stopped for long and wakes up again finds a higher number.

    Raises:
        SupersededError: another process has taken it over.
    """
    if latest(store, UPKEEP) != claim.holder.number:
        raise SupersededError(f"another process has taken over the upkeep of the store {store.url}; try again later")


def wait_for_prune(store: Store, *, check_stop: Callable[[], None] = lambda: None) -> None:
    """Return once nobody deletes what all runs share.

    ``check_stop`` is called every few seconds and may raise to stop.
    """
    while True:
        attempt = last_attempt(store, UPKEEP)
        if attempt is None or attempt.is_over or attempt.holder.machine.get("what") != PRUNE:
            return
        check_stop()
        with contextlib.suppress(UserMistakeError):  # it is alive
            wait_until_free(store, UPKEEP)
            return
