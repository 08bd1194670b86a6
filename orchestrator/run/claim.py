"""The claim on a run: at most one driver works on it at a time, whatever happens to the others.

A claim is a numbered create-once object, ``claims/000007/holder.json``; the process that creates the next number holds
the run. Next to it the holder keeps ``state.json``: the state of the run, with a count that it raises every few
seconds. Another driver judges the holder only by its own clock: it watches whether the count moves. Clocks therefore
need not agree, and a holder that was stopped and wakes up again sees the higher number and leaves.

A driver writes its reports under its own number, and only the highest number counts. Its work on images does not depend
on the driver: results of fits, decisions and rows are create-once, so a late writer changes nothing.
"""

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType, TracebackType
from typing import Any, Self

from orchestrator.errors import (
    DamagedError,
    NewerFormatError,
    RunCancelledError,
    SupersededError,
    UserMistakeError,
)
from orchestrator.run.attempt import (
    HOLDERS,
    STOP_REQUESTS,
    Attempt,
    Holder,
    RunState,
    Standing,
    Stop,
    StopRequest,
    last_attempt,
    latest,
    now,
    process_of,
    read_attempt,
)
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from orchestrator.text import printable

BEAT_S = 3.0
"""Seconds between a holder's signs of life."""
STALE_S = 30.0
"""A holder that has given no sign of life for this long, by the observer's clock, loses the run to
the next that asks for it.
"""
LOG_LINES = 2000
"""The log keeps this many of its last lines."""
_POLL_S = 0.25
_FRESH_S = STALE_S / 2
"""A look at a holder that took longer than this shows the past: the observer, or the store, was held up meanwhile."""


class Claim:
    """The right to work on a run; a context manager that gives signs of life from a thread of its own.

    It ends with `end`, or with the process.
    """

    def __init__(
        self, store: Store, layout: RunLayout, holder: Holder, used_before: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self.holder = holder
        self._store, self._layout, self._keys = store, layout, layout.claim(holder.number)
        self._used_before = used_before
        self._standing = Standing(RunState.RUNNING, 0, now(), usage=used_before)
        self._reported: dict[str, Any] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._lines_written = 0
        self._lines = 0
        self._writing = threading.Lock()
        self._ended = threading.Event()
        self._superseded: str | None = None
        self._stop: Stop | None = None
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)

    def __enter__(self) -> Self:
        """Start the signs of life."""
        self._put(self._standing)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the signs of life."""
        self._ended.set()
        self._thread.join(timeout=BEAT_S)

    @property
    def run(self) -> str:
        """The run's name."""
        return self._layout.run

    @property
    def stop(self) -> Stop | None:
        """Whether this driver has been asked to stop, and how."""
        return self._stop

    def report(self, stages: Sequence[Mapping[str, Any]], waits_for: Sequence[str], usage: Mapping[str, float]) -> None:
        """Report the state of the run with the next sign of life; ``usage`` is this attempt's alone."""
        # This takes no lock: a store in trouble may keep it for long.
        self._reported = {"stages": stages, "waits_for": waits_for, "usage": self.used(usage)}

    def used(self, usage: Mapping[str, float]) -> dict[str, float]:
        """The resources that all attempts together have used; ``usage`` is this attempt's alone."""
        names = {*self._used_before, *usage}
        return {name: round(self._used_before.get(name, 0.0) + usage.get(name, 0.0), 6) for name in sorted(names)}

    def log(self, message: str) -> None:
        """Add a line to the log; it is written with the next sign of life."""
        self._log.append(f"{now()} {printable(message)}")
        self._lines += 1

    def check(self, *, now: bool = False, through: Store | None = None) -> None:
        """Make sure that the run is still this driver's: as of the last sign of life, or with
        ``now`` as of this moment.

        Nobody but a driver that holds the run may write what is final. A driver that was stopped for a while and wakes
        up cannot know how old its last sign of life is (the clock of a suspended machine stands still, too), so it asks
        before every such write.

        Args:
            now: Look again.
            through: The same store with another patience; None takes the claim's own.

        Raises:
            SupersededError: another driver has taken it over, or the claim is gone.
            StoreError: the store could not be asked.
        """
        if now:
            self._look(self._store if through is None else through)
        if self._superseded is not None:
            raise SupersededError(self._superseded)

    def check_stop(self) -> None:
        """As `check`, for work that can be stopped at once.

        Raises:
            SupersededError: another driver has taken the run over.
            RunCancelledError: the run has been cancelled.
        """
        self.check()
        if self._stop is not None:
            raise RunCancelledError("cancelled")

    def end(self, state: RunState, *, seconds: float | None = None, reason: str | None = None) -> None:
        """Report how the run ended. Nothing more is written under this claim."""
        self._ended.set()
        with self._writing:
            ended = {**self._reported, "state": state, "reason": reason, "seconds": seconds, "waits_for": ()}
            self._standing = replace(self._standing, **ended)
            try:
                # First: who finds that the run has ended finds all of its log.
                self._put_log()
            finally:
                self._put(replace(self._standing, at=now(), finished=now()))

    def _put(self, standing: Standing) -> None:
        self._store.put(self._keys.state, standing.to_json())

    def _put_log(self) -> None:
        if self._lines_written != self._lines:
            lines = self._lines
            self._store.put(self._keys.log, "".join(f"{line}\n" for line in tuple(self._log)).encode())
            self._lines_written = lines

    def _look(self, store: Store) -> None:
        """Look whether another driver has taken the run over, or this one should stop."""
        # Who takes a run over creates the next number. One object is asked for and not a listing, which some services
        # give out late.
        if store.exists(self._layout.claim(self.holder.number + 1).holder):
            number = max(self.holder.number + 1, latest(store, self._layout))
            try:
                attempt = read_attempt(store, self._layout.claim(number))
                by = "another driver" if attempt is None else attempt.holder.name
            except NewerFormatError:
                # The number alone decides whose run it is.
                by = "a driver of a newer version"
            except DamagedError:
                by = "a driver whose claim is damaged"
            self._superseded = (
                f"the run {self._layout.run} has been taken over by {by}; this driver leaves it to that one"
            )
        elif not store.exists(self._keys.holder):
            self._superseded = (
                f"the run {self._layout.run} is gone, and with it this driver's claim: somebody has deleted it, or"
                " emptied the store; this driver stops"
            )
        elif self._stop != "now" and store.exists(self._keys.cancel):
            try:
                self._stop = STOP_REQUESTS.read(store, self._keys.cancel).stop
            except (DamagedError, NewerFormatError):
                # The request exists, which is enough; the gentle way loses nothing.
                self._stop = "drain"

    def _beat(self) -> None:
        while self._superseded is None and not self._ended.wait(BEAT_S):
            # A store in trouble gets our report later; a driver that wants the run needs the store as well. Other
            # errors (a record of another version) must not silence a driver either.
            try:
                self._look(self._store)
                with self._writing:
                    if self._superseded is None and not self._ended.is_set():
                        update = {**self._reported, "beat": self._standing.beat + 1, "at": now()}
                        self._standing = replace(self._standing, **update)
                        self._put(self._standing)
                        self._put_log()
            except Exception:  # noqa: S112 - the run's own work meets the same trouble, and reports it
                continue


def take(
    store: Store,
    layout: RunLayout,
    machine: Mapping[str, Any],
    *,
    note: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Claim:
    """Become the holder of a run that nobody works on, or whose holder gives no sign of life.

    Raises:
        UserMistakeError: another driver works on it; the message names it.
    """
    while True:
        number = latest(store, layout)
        attempt = None if number == 0 else read_attempt(store, layout.claim(number))
        if attempt is not None and not attempt.is_over:
            attempt = _watch(store, layout, attempt, note=note, clock=clock, sleep=sleep)
        boot, started = process_of(os.getpid())
        holder = Holder(number + 1, socket.gethostname(), os.getpid(), boot, started, now(), machine)
        if store.create(layout.claim(number + 1).holder, HOLDERS.to_json(holder, indent=2)):
            return Claim(store, layout, holder, {} if attempt is None else attempt.standing.usage)
        sleep(_POLL_S)


def wait_until_free(
    store: Store,
    layout: RunLayout,
    *,
    note: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once nobody works on a run, as far as this process can see; `take` decides.

    Raises:
        UserMistakeError: another driver works on it.
    """
    attempt = last_attempt(store, layout)
    if attempt is not None and not attempt.is_over:
        _watch(store, layout, attempt, note=note, clock=clock, sleep=sleep)


def _watch(
    store: Store,
    layout: RunLayout,
    attempt: Attempt,
    *,
    note: Callable[[str], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Attempt | None:
    """Return what the last look showed once the holder has ended, or can be taken for dead.

    A holder is dead if two looks that lie `STALE_S` apart show the same sign of life. The time counts from the end of
    the first look to the beginning of the last. Time that passes within a look is no silence of the holder: the
    observer may have been stopped, or the store may answer late. So a look that took long is taken again.

    Raises:
        UserMistakeError: it is alive.
    """
    began = clock()
    noted = False
    while True:
        sleep(_POLL_S)
        asked = clock()
        seen = read_attempt(store, layout.claim(attempt.holder.number))
        if seen is None or seen.is_over:
            return seen
        if seen.standing.beat != attempt.standing.beat:
            raise UserMistakeError(
                f"the run {layout.run} is under way, by {attempt.holder.name}; `cancel {layout.run}` stops it"
            )
        if asked - began >= STALE_S and clock() - asked < _FRESH_S:
            return seen
        if not noted and clock() - began > 2 * BEAT_S:
            noted = True
            note(f"no sign of life from {attempt.holder.name}; the run is taken over in {STALE_S - 2 * BEAT_S:.0f} s")


def hours_spent(hours: float) -> str:
    """Say that a run has used its machine hours, and what to do."""
    return (
        f"its {hours:g} machine hours are spent (resources.hours); what was finished is kept, and resume goes on with a"
        " larger value: --set resources.hours=N"
    )


def request_stop(store: Store, layout: RunLayout, number: int, stop: Stop) -> None:
    """Ask the holder of a claim to stop. A second request can only make it stop sooner."""
    key = layout.claim(number).cancel
    if stop == "now" or not store.exists(key):
        store.put(key, STOP_REQUESTS.to_json(StopRequest(stop, now())))
