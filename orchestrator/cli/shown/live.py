"""A run's progress: a live block on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from orchestrator.run.progress import Stage
from orchestrator.text import duration, printable

PLAIN_EVERY_S = 10.0


class StageClock:
    """Estimates the time left in each stage from its own pace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: dict[str, tuple[float, int]] = {}

    def see(self, stage: Stage) -> None:
        """Take in a stage's counts; to be called at every update, so that its beginning is not missed."""
        if stage.done or stage.running:
            self._first.setdefault(stage.name, (self._clock(), stage.done))

    def left(self, stage: Stage) -> float | None:
        """Seconds to go; None while there is nothing to judge by, or nothing left."""
        self.see(stage)
        started, done_before = self._first.get(stage.name, (0.0, stage.done))
        if stage.done <= done_before or stage.done >= stage.total:
            return None
        return (self._clock() - started) / (stage.done - done_before) * (stage.total - stage.done)


class LiveProgress:
    """Shows a run's stages; a context manager. On a terminal they are redrawn in place, elsewhere printed now and then.

    Attributes:
        noted: whether there has been a note; the first comes once a run has been planned.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._stage_clock = StageClock(clock)
        self.noted = False
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._printed: tuple[int, ...] = ()
        self._printed_at = -PLAIN_EVERY_S

    def __enter__(self) -> Self:
        """Start to show."""
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clear the block on the terminal."""
        if self._console.is_terminal:
            self._live.stop()

    def note(self, message: str) -> None:
        """A line that stays."""
        self.noted = True
        self._console.print(Text(printable(message)), soft_wrap=True)

    def update(self, stages: Sequence[Stage]) -> None:
        """Show the counts."""
        for stage in stages:
            self._stage_clock.see(stage)
        if self._console.is_terminal:
            self._live.update(self._block(stages))
            return
        done = tuple(stage.done for stage in stages)
        ended = all(stage.done >= stage.total for stage in stages)
        if done != self._printed and (ended or self._clock() - self._printed_at >= PLAIN_EVERY_S):
            self._printed, self._printed_at = done, self._clock()
            self._console.print(Text("  ".join(self._words(stage) for stage in stages)), soft_wrap=True)

    def _words(self, stage: Stage) -> str:
        left = self._stage_clock.left(stage)
        return f"{stage.name} {stage.done}/{stage.total}" + ("" if left is None else f" ({duration(left)} left)")

    def _block(self, stages: Sequence[Stage]) -> Group:
        table = Table.grid(padding=(0, 1))
        for stage in stages:
            left = self._stage_clock.left(stage)
            mark = Spinner("dots") if stage.running else Text("✓" if stage.done >= stage.total else " ")
            table.add_row(
                mark,
                stage.name,
                ProgressBar(total=max(1, stage.total), completed=stage.done, width=30),
                Text(f"{stage.done}/{stage.total}", justify="right"),
                Text("" if left is None else f"{duration(left)} left", style="dim"),
            )
        return Group(table)
