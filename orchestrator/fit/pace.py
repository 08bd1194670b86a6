"""The pace of work on a fit: blocks of iterations, reports, checkpoints."""

import contextlib
from collections.abc import Callable

from orchestrator.errors import DamagedError, NodeLeavingError, NotFoundError
from orchestrator.fit.checkpoint import Work, take_up, to_bytes
from orchestrator.run.context import RunContext


class Pace:
    """Does work in blocks, reports each, and leaves checkpoints, from which another attempt goes on.

    Args:
        context: The run.
        key: Where the checkpoints are.
        on_progress: Called with the iteration and the error after every block.
        must_leave: Asked after every block whether this machine is being taken away.
        clock: Seconds.

    Attributes:
        block: Iterations between two looks at the clock.
    """

    def __init__(
        self,
        context: RunContext,
        key: str,
        on_progress: Callable[[int, float], None],
        must_leave: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._checkpoint_s, self._key = context.store, context.config.fit.checkpoint_s, key
        self.block = context.config.fit.block
        self._on_progress, self._must_leave, self._clock = on_progress, must_leave, clock
        self._before = 0.0
        self._started = self._saved = clock()

    @property
    def seconds(self) -> float:
        """Seconds spent on the work, with those of earlier attempts whose checkpoint was found."""
        return self._before + self._clock() - self._started

    def restore(self, work: Work) -> None:
        """Go on from an earlier attempt's checkpoint, if there is one."""
        self._before = 0.0
        # Without one that can be read the work is begun anew, and comes to the same result.
        with contextlib.suppress(NotFoundError, DamagedError):
            self._before = take_up(work, self._store.get(self._key))
        self._started = self._saved = self._clock()

    def go(self, work: Work, last: int, finished: Callable[[], bool]) -> None:
        """Work until it is finished, or has come to iteration ``last``.

        Raises:
            NodeLeavingError: the machine is taken away; there is a checkpoint.
        """
        while not finished() and work.iteration < last:
            error = work.advance(min(self.block, last - work.iteration))
            self._on_progress(work.iteration, error)
            leaving = self._must_leave()
            due = self._clock() - self._saved >= self._checkpoint_s
            if (leaving or due) and not finished():
                self.save(work)
                if leaving:
                    raise NodeLeavingError(f"its machine is being taken away at iteration {work.iteration}")

    def save(self, work: Work) -> None:
        """Leave a checkpoint."""
        self._store.put(self._key, to_bytes(work, self.seconds))
        self._saved = self._clock()

    def forget(self) -> None:
        """The work is done, and its result in the store."""
        self._store.delete(self._key)
