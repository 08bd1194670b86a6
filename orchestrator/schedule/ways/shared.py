"""The fits of one image, shared by its arms. Several arms may want a fit, and at most one trial of it runs at a
time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.schedule.crashes import History
from orchestrator.schedule.ways.wishes import TO_THE_END, FitKey

W = TypeVar("W")


@dataclass
class _Fit(Generic[W]):
    """``reached`` is the iteration that the fit is known to have reached, ``running`` the one that its trial will
    reach.

    A fit that has ended has reached all iterations; ``done`` says whether it has a result. ``waiting`` lists the
    waiters, each with its iteration.
    """

    reached: int = 0
    running: int | None = None
    done: bool = True
    history: History = field(default_factory=History)
    waiting: list[tuple[int, W]] = field(default_factory=list)


@dataclass(frozen=True)
class Begin(Generic[W]):
    """Start a trial that takes the fit to iteration ``until``, or with None to its end; ``waiting`` lists its
    waiters."""

    key: FitKey
    until: int | None
    waiting: tuple[W, ...]


@dataclass(frozen=True)
class Served(Generic[W]):
    """``who`` waited for a fit that is there now. ``done`` is False if the fit ended without a result."""

    who: W
    key: FitKey
    done: bool


class SharedFits(Generic[W]):
    """Keeps for every fit of an image its waiters, and the iteration that each waits for. ``W`` is the type of a
    waiter."""

    def __init__(self) -> None:
        self._fits: dict[FitKey, _Fit[W]] = {}

    def want(self, who: W, keys: Iterable[FitKey], until: int) -> None:
        """Note that ``who`` waits for these fits to reach iteration ``until``."""
        for key in keys:
            self._fits.setdefault(key, _Fit()).waiting.append((until, who))

    def serve(self, keys: Sequence[FitKey]) -> tuple[list[Begin[W]], list[Served[W]]]:
        """Return the trials to start for these fits and the waiters whose wish is fulfilled, each of them once."""
        begin: list[Begin[W]] = []
        served: list[Served[W]] = []
        for key in dict.fromkeys(keys):
            fit = self._fits[key]
            served += [Served(who, key, fit.done) for until, who in fit.waiting if until <= fit.reached]
            fit.waiting = [(until, who) for until, who in fit.waiting if until > fit.reached]
            if fit.waiting and fit.running is None:
                # The nearest rung comes first: a decision there may make the rest unnecessary.
                fit.running = min(until for until, _ in fit.waiting)
                until = None if fit.running == TO_THE_END else fit.running
                begin.append(Begin(key, until, tuple(who for _, who in fit.waiting)))
        return begin, served

    def running(self, key: FitKey) -> bool:
        """Whether a trial of the fit runs, or waits to run."""
        return key in self._fits and self._fits[key].running is not None

    def history(self, key: FitKey) -> History:
        """How often trials of the fit have crashed."""
        return self._fits[key].history

    def crashed(self, key: FitKey, history: History) -> None:
        """Take note of the crashes of a fit. Its trial counts as running until `paused`, `ended` or `stopped`."""
        self._fits[key].history = history

    def paused(self, key: FitKey) -> None:
        """Take note that the trial has taken the fit to its iteration."""
        fit = self._fits[key]
        fit.reached, fit.running = fit.running or 0, None

    def ended(self, key: FitKey, *, done: bool) -> None:
        """Take note that the fit has ended; ``done`` says whether it has a result."""
        fit = self._fits[key]
        fit.reached, fit.running, fit.done = TO_THE_END, None, done

    def stopped(self, key: FitKey, losers: Iterable[W]) -> None:
        """Take note that a contest has stopped the trial. The ``losers`` no longer wait; for others the fit begins
        again."""
        fit = self._fits[key]
        gone = list(losers)
        fit.running = None
        fit.waiting = [(until, who) for until, who in fit.waiting if who not in gone]

    def waiting(self, key: FitKey) -> list[W]:
        """List the waiters of a fit."""
        return [who for _, who in self._fits[key].waiting]
