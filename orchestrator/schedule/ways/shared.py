"""The fits of one image, shared by its arms: each is wanted by one or several, and at most one trial of it runs at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orchestrator.schedule.crashes import History
from orchestrator.schedule.ways.wishes import TO_THE_END, FitKey

W = TypeVar("W")


@dataclass
class _Fit(Generic[W]):
    """``reached`` is the iteration that the fit is known to have reached. ``running`` is the one its trial will reach.

    A fit that has ended has reached all iterations; ``done`` says whether it has a result. ``waiting`` holds who waits for
    which iteration.
    """

    reached: int = 0
    running: int | None = None
    done: bool = True
    history: History = field(default_factory=History)
    waiting: list[tuple[int, W]] = field(default_factory=list)


@dataclass(frozen=True)
class Begin(Generic[W]):
    """A trial to be started: it takes the fit to ``until``, None to its end. ``waiting`` are those who wait for the fit."""

    key: FitKey
    until: int | None
    waiting: tuple[W, ...]


@dataclass(frozen=True)
class Served(Generic[W]):
    """``who`` waited for a fit, which is there now. ``done`` is False if the fit ended without a result."""

    who: W
    key: FitKey
    done: bool


class SharedFits(Generic[W]):
    """Who waits for which fit of an image until which iteration. ``W`` is whoever waits."""

    def __init__(self) -> None:
        self._fits: dict[FitKey, _Fit[W]] = {}

    def want(self, who: W, keys: Iterable[FitKey], until: int) -> None:
        """Note that ``who`` waits for these fits to reach iteration ``until``."""
        for key in keys:
            self._fits.setdefault(key, _Fit()).waiting.append((until, who))

    def serve(self, keys: Sequence[FitKey]) -> tuple[list[Begin[W]], list[Served[W]]]:
        """The trials to be started for these fits, and those whose wish is fulfilled; both are told once."""
        begin: list[Begin[W]] = []
        served: list[Served[W]] = []
        for key in dict.fromkeys(keys):
            fit = self._fits[key]
            served += [Served(who, key, fit.done) for until, who in fit.waiting if until <= fit.reached]
            fit.waiting = [(until, who) for until, who in fit.waiting if until > fit.reached]
            if fit.waiting and fit.running is None:
                # The nearest rung first: a decision there may make the rest unnecessary.
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
        """Note the crashes of a fit. Its trial counts as running until `paused`, `ended` or `stopped`."""
        self._fits[key].history = history

    def paused(self, key: FitKey) -> None:
        """The trial has taken the fit to where it was to go."""
        fit = self._fits[key]
        fit.reached, fit.running = fit.running or 0, None

    def ended(self, key: FitKey, *, done: bool) -> None:
        """The fit has come to its end; ``done`` says whether it has a result."""
        fit = self._fits[key]
        fit.reached, fit.running, fit.done = TO_THE_END, None, done

    def stopped(self, key: FitKey, losers: Iterable[W]) -> None:
        """A contest has ended the trial for the ``losers``, who wait no more. Others have the fit begun again."""
        fit = self._fits[key]
        gone = list(losers)
        fit.running = None
        fit.waiting = [(until, who) for until, who in fit.waiting if who not in gone]

    def waiting(self, key: FitKey) -> list[W]:
        """Those who wait for a fit."""
        return [who for _, who in self._fits[key].waiting]
