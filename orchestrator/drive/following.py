"""Follow a run from another process: the store holds all that is known of it, wherever its driver is."""

import time
from collections.abc import Callable

from orchestrator.errors import OrchestratorError, RunFailedError
from orchestrator.run.attempt import RunState, latest, read_log
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Listener, Stage
from orchestrator.run.record import RunRecord, read_run
from orchestrator.store import Store

LOOK_EVERY_S = 2.0
_ASK_EVERY = 5
_MOST_UNANSWERED = 30
"""How many questions a cluster may leave unanswered before its driver has begun: five minutes' worth."""


class Followed:
    """A run that is followed.

    Args:
        store: Where it is.
        run: Its name.
        after: The number of a claim; only notes and states under a later claim count.
        driver: Returns the last output of its driver if that is known to have ended, else None.
        sleep: Waits for so many seconds; tests pass another.
    """

    def __init__(
        self,
        store: Store,
        run: str,
        after: int = 0,
        driver: Callable[[], str | None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store, self._run, self._after, self._driver, self._sleep = store, run, after, driver, sleep
        self._layout = RunLayout(run)
        self._shown: dict[int, list[str]] = {}
        self._waits: list[str] = []
        self._unanswered = 0

    def until_it_ends(self, listener: Listener) -> RunRecord:
        """Report progress to the listener until the run ends; return its record then.

        Raises:
            RunFailedError: its driver ended without recording why.
        """
        looks = 0
        if latest(self._store, self._layout) <= self._after:
            listener.note(f"waiting for a driver to begin {self._run}")
        while True:
            begun = latest(self._store, self._layout) > self._after
            record = read_run(self._store, self._run)
            if begun:
                self._show(record, listener)
                if record.state is not RunState.RUNNING:
                    return record
            if looks % _ASK_EVERY == 0:
                self._ask_for_the_driver(begun)
            looks += 1
            self._sleep(LOOK_EVERY_S)

    def _show(self, record: RunRecord, listener: Listener) -> None:
        for at, log in enumerate(read_log(self._store, self._layout, self._after)):
            lines = log.splitlines()
            for line in lines[_known(self._shown.get(at, []), lines) :]:
                listener.note(line)
            self._shown[at] = lines
        listener.update([Stage(**stage) for stage in record.stages])
        # While something runs, nobody needs to know what else could run.
        idle = not any(stage["running"] for stage in record.stages)
        for line in record.waits_for if idle else ():
            if line not in self._waits:
                listener.note(line)
        self._waits = list(record.waits_for) if idle else []

    def _ask_for_the_driver(self, begun: bool) -> None:
        try:
            output = self._driver()
        except OrchestratorError as error:
            # A cluster that does not answer may be gone. If its driver had begun, the store will show that it is
            # silent.
            self._unanswered += 1
            if not begun and self._unanswered > _MOST_UNANSWERED:
                raise RunFailedError(
                    f"no driver has begun {self._run}, and its cluster does not answer: {error}"
                ) from None
            return
        self._unanswered = 0
        if output is None:
            return
        record = read_run(self._store, self._run)
        over = latest(self._store, self._layout) > self._after and record.state is not RunState.RUNNING
        if not over:
            what = "fell silent" if begun else "could not begin"
            raise RunFailedError(f"the driver of {self._run} {what}; its last output:\n{output.strip()}")


def _known(before: list[str], lines: list[str]) -> int:
    """How many of a log's lines were there before. A long log loses its oldest lines but keeps the first, which names
    its driver."""
    if lines[: len(before)] == before:
        return len(before)
    lost = next(lost for lost in range(1, len(before) + 1) if before[1 + lost :] == lines[1 : len(before) - lost])
    return max(1, len(before) - lost)
