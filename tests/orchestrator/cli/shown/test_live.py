import io

import pytest
from rich.console import Console

from orchestrator.cli.shown.live import PLAIN_EVERY_S, LiveProgress, StageClock
from orchestrator.run.progress import Stage


class StubClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> StubClock:
    return StubClock()


@pytest.fixture
def plain(clock: StubClock) -> tuple[LiveProgress, io.StringIO]:
    file = io.StringIO()
    return LiveProgress(Console(file=file, width=200), clock), file


def test_the_time_left_follows_the_stages_own_pace(clock: StubClock) -> None:
    stages = StageClock(clock)
    assert stages.left(Stage("fit", 0, 10, running=2)) is None
    clock.now += 30
    assert stages.left(Stage("fit", 0, 10, running=2)) is None
    clock.now += 30
    assert stages.left(Stage("fit", 3, 10, running=2)) == pytest.approx(60 / 3 * 7)
    clock.now += 100
    assert stages.left(Stage("fit", 10, 10)) is None


def test_a_stage_that_waits_has_not_begun(clock: StubClock) -> None:
    stages = StageClock(clock)
    stages.left(Stage("fit", 0, 4))
    clock.now += 500
    assert stages.left(Stage("fit", 0, 4, running=1)) is None
    clock.now += 10
    assert stages.left(Stage("fit", 1, 4)) == pytest.approx(30)


def test_stages_are_judged_apart(clock: StubClock) -> None:
    stages = StageClock(clock)
    stages.left(Stage("score", 0, 4, running=1))
    clock.now += 10
    stages.left(Stage("fit", 0, 2, running=1))
    clock.now += 10
    assert stages.left(Stage("score", 1, 4)) == pytest.approx(60)
    assert stages.left(Stage("fit", 1, 2)) == pytest.approx(10)


def test_a_stage_first_seen_with_work_done_is_not_said_to_end_at_once(clock: StubClock) -> None:
    assert StageClock(clock).left(Stage("fit", 5, 10, running=1)) is None


def test_a_stage_of_nothing_has_nothing_left(clock: StubClock) -> None:
    assert StageClock(clock).left(Stage("fit", 0, 0)) is None


def test_elsewhere_than_on_a_terminal_plain_lines_come_now_and_then(
    plain: tuple[LiveProgress, io.StringIO], clock: StubClock
) -> None:
    progress, file = plain
    with progress:
        progress.update([Stage("score", 0, 4, running=1)])
        clock.now += PLAIN_EVERY_S / 2
        progress.update([Stage("score", 1, 4, running=1)])
        clock.now += PLAIN_EVERY_S / 2
        progress.update([Stage("score", 1, 4, running=1)])
        clock.now += PLAIN_EVERY_S
        progress.update([Stage("score", 1, 4, running=1)])
    assert file.getvalue().splitlines() == ["score 0/4", "score 1/4 (30 s left)"]


def test_the_last_line_does_not_wait(plain: tuple[LiveProgress, io.StringIO], clock: StubClock) -> None:
    progress, file = plain
    progress.update([Stage("score", 0, 1), Stage("images", 0, 1)])
    progress.update([Stage("score", 1, 1), Stage("images", 0, 1)])
    progress.update([Stage("score", 1, 1), Stage("images", 1, 1)])
    assert file.getvalue().splitlines() == ["score 0/1  images 0/1", "score 1/1  images 1/1"]


def test_the_pace_counts_from_a_stages_beginning_and_not_from_the_last_line(
    plain: tuple[LiveProgress, io.StringIO], clock: StubClock
) -> None:
    progress, file = plain
    progress.update([Stage("cohort", 0, 8)])
    clock.now += 5
    progress.update([Stage("cohort", 0, 8, running=2)])
    clock.now += 15
    progress.update([Stage("cohort", 4, 8, running=2)])
    assert file.getvalue().splitlines() == ["cohort 0/8", "cohort 4/8 (15 s left)"]


def test_a_note_stays_as_it_is_on_one_line(plain: tuple[LiveProgress, io.StringIO]) -> None:
    progress, file = plain
    progress.note("[red]x[/red].png: " + "long " * 80)
    progress.note("a\nb\x1b[31m: failed")
    assert file.getvalue().splitlines() == ["[red]x[/red].png: " + "long " * 80, "a\\nb\\x1b[31m: failed"]


def test_on_a_terminal_the_counts_are_redrawn_and_notes_stay(clock: StubClock) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=20, legacy_windows=False)
    with LiveProgress(console, clock) as progress:
        progress.update([Stage("score", 4, 4), Stage("cohort", 0, 8, running=2)])
        clock.now += 60
        progress.update([Stage("score", 4, 4), Stage("cohort", 2, 8, running=2)])
        progress.note("a.png: something happened")
    shown = file.getvalue()
    for text in ("score", "cohort", "4/4", "2/8", "3 min 00 s left", "✓", "a.png: something happened\n"):
        assert text in shown
    assert "\x1b[2K" in shown  # lines were cleared, to be drawn again
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor is back


def test_on_a_terminal_the_cursor_is_back_after_a_mistake(clock: StubClock) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=20, legacy_windows=False)

    def interrupted() -> None:
        with LiveProgress(console, clock) as progress:
            progress.update([Stage("score", 1, 4)])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.getvalue().count("\x1b[?25h") == 1
