"""Who works on a run: at most one driver at a time, whatever becomes of the others.

A claim is a numbered create-once object, ``claims/000007/holder.json``; whoever creates the next number holds the run. Beside
it the holder keeps ``state.json``: how the run goes, with a count that it raises every few seconds. Another driver judges the
holder by its own clock only: it watches whether the count moves. So clocks need not agree, and a holder that was stopped and
comes to life again finds that there is a higher number, and leaves.

What a driver says of a run it says under its own number, and only the highest number is heard. What it makes of images is
the same whoever makes it: results of fits, decisions and rows are create-once, so that a late writer changes nothing.
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
"""How often a holder gives a sign of life."""
STALE_S = 30.0
"""A holder that has given none for so long, by the observer's clock, has lost the run to whoever asks for it."""
LOG_LINES = 2000
"""The log keeps the last of so many lines."""
_POLL_S = 0.25


class Claim:
    """The right to work on a run; a context manager that gives signs of life from a thread of its own.

    It ends with `say`, or else with the process.
    """

    def __init__(
        self, store: Store, layout: RunLayout, holder: Holder, used_before: Mapping[str, float] = MappingProxyType({})
    ) -> None:
        self.holder = holder
        self._store, self._layout, self._keys = store, layout, layout.claim(holder.number)
        self._used_before = used_before
        self._standing = Standing(RunState.RUNNING, 0, now(), usage=used_before)
        self._told: dict[str, Any] = {}
        self._log: deque[str] = deque(maxlen=LOG_LINES)
        self._logged = 0
        self._noted = 0
        self._saying = threading.Lock()
        self._ended = threading.Event()
        self._superseded: str | None = None
        self._stop: Stop | None = None
        self._thread = threading.Thread(target=self._beat, name="claim", daemon=True)

    def __enter__(self) -> Self:
        """Begin to give signs of life."""
        self._put(self._standing)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give no more."""
        self._ended.set()
        self._thread.join(timeout=BEAT_S)

    @property
    def run(self) -> str:
        """The run's name."""
        return self._layout.run

    @property
    def stop(self) -> Stop | None:
        """Whether somebody wants this driver to stop."""
        return self._stop

    def tell(self, stages: Sequence[Mapping[str, Any]], waits_for: Sequence[str], usage: Mapping[str, float]) -> None:
        """How the run goes, to be said with the next sign of life; ``usage`` is this attempt's alone."""
        names = {*self._used_before, *usage}
        total = {name: round(self._used_before.get(name, 0.0) + usage.get(name, 0.0), 6) for name in sorted(names)}
        # Without the lock, which a store in trouble may keep for long.
        self._told = {"stages": stages, "waits_for": waits_for, "usage": total}

    def note(self, message: str) -> None:
        """A line for the log, to be written with the next sign of life."""
        self._log.append(f"{now()} {printable(message)}")
        self._noted += 1

    def check(self) -> None:
        """Make sure, as of the last sign of life, that the run is still this driver's.

        Raises:
            SupersededError: another driver has taken it over.
        """
        if self._superseded is not None:
            raise SupersededError(self._superseded)

    def heed(self) -> None:
        """As `check`, where work can be stopped at once.

        Raises:
            SupersededError: another driver has taken the run over.
            RunCancelledError: somebody has cancelled it.
        """
        self.check()
        if self._stop is not None:
            raise RunCancelledError("cancelled")

    def confirm(self) -> None:
        """Make sure now; see `check`."""
        self._look()
        self.check()

    def say(self, state: RunState, *, seconds: float | None = None, reason: str | None = None) -> None:
        """How the run ended; nothing more is said under this claim."""
        self._ended.set()
        with self._saying:
            ended = {**self._told, "state": state, "reason": reason, "seconds": seconds, "waits_for": ()}
            self._standing = replace(self._standing, **ended)
            self._put(replace(self._standing, at=now(), finished=now()))
            self._put_log()

    def _put(self, standing: Standing) -> None:
        self._store.put(self._keys.state, standing.to_json())

    def _put_log(self) -> None:
        if self._logged != self._noted:
            noted = self._noted
            self._store.put(self._keys.log, "".join(f"{line}\n" for line in tuple(self._log)).encode())
            self._logged = noted

    def _look(self) -> None:
        """See whether somebody has taken the run over, or wants it to stop."""
        number = latest(self._store, self._layout)
        if number > self.holder.number:
            try:
                attempt = read_attempt(self._store, self._layout.claim(number))
                by = "another driver" if attempt is None else attempt.holder.name
            except NewerFormatError:
                # The number alone says whose the run is.
                by = "a driver of a newer version"
            self._superseded = (
                f"the run {self._layout.run} has been taken over by {by}; this driver leaves it to that one"
            )
        elif self._stop != "now" and self._store.exists(self._keys.cancel):
            try:
                self._stop = STOP_REQUESTS.read(self._store, self._keys.cancel).stop
            except NewerFormatError:
                # That it is there says enough; the gentle way loses nothing.
                self._stop = "drain"

    def _beat(self) -> None:
        while self._superseded is None and not self._ended.wait(BEAT_S):
            # A store in trouble hears of us later; who could take the run over needs the store as well. Whatever else it is
            # (a word that another version left), a driver must not fall silent for it.
            try:
                self._look()
                with self._saying:
                    if self._superseded is None and not self._ended.is_set():
                        told = {**self._told, "beat": self._standing.beat + 1, "at": now()}
                        self._standing = replace(self._standing, **told)
                        self._put(self._standing)
                        self._put_log()
            except Exception:  # noqa: S112 - the run's own work meets the same trouble, and says so
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
        UserMistakeError: somebody does; it says who, and since when.
    """
    while True:
        attempt = last_attempt(store, layout)
        number = 0 if attempt is None else attempt.holder.number
        if attempt is not None and not attempt.is_over:
            _watch(store, layout, attempt, note=note, clock=clock, sleep=sleep)
        boot, started = process_of(os.getpid())
        holder = Holder(number + 1, socket.gethostname(), os.getpid(), boot, started, now(), machine)
        if store.create(layout.claim(number + 1).holder, HOLDERS.to_json(holder, indent=2)):
            return Claim(store, layout, holder, {} if attempt is None else attempt.standing.usage)


def wait_until_free(
    store: Store,
    layout: RunLayout,
    *,
    note: Callable[[str], None] = lambda message: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return once nobody works on a run, as far as can be told from here; `take` decides.

    Raises:
        UserMistakeError: somebody does.
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
) -> None:
    """Return once the holder has ended, or can be taken for dead.

    Raises:
        UserMistakeError: it lives.
    """
    began = clock()
    told = False
    while clock() - began < STALE_S:
        sleep(_POLL_S)
        seen = read_attempt(store, layout.claim(attempt.holder.number))
        if seen is None or seen.is_over:
            return
        if seen.standing.beat != attempt.standing.beat:
            raise UserMistakeError(
                f"the run {layout.run} is under way, by {attempt.holder.name}; `cancel {layout.run}` stops it"
            )
        if not told and clock() - began > 2 * BEAT_S:
            told = True
            note(f"no sign of life from {attempt.holder.name}; the run is taken over in {STALE_S - 2 * BEAT_S:.0f} s")


def ask_to_stop(store: Store, layout: RunLayout, number: int, stop: Stop) -> None:
    """Ask the holder of a claim to stop. Asking again changes only to the sooner."""
    key = layout.claim(number).cancel
    if stop == "now" or not store.exists(key):
        store.put(key, STOP_REQUESTS.to_json(StopRequest(stop, now())))
