"""The results of a run, for people."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.cli.common import command_for
from orchestrator.cli.exits import Exit
from orchestrator.figures.worth import sentence, worth_of
from orchestrator.run.inputs import image_ids
from orchestrator.run.layout import Restored, RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState
from orchestrator.store import Store
from orchestrator.text import counted, duration

_ARMS_LISTED = 9


def status_of(rows: Sequence[Row]) -> int:
    """The exit status of a finished run."""
    return 0 if all(row.state is RowState.RESTORED for row in rows if row.picked) else Exit.SOME_FAILED


def show_rows(store: Store, run: str, rows: Sequence[Row]) -> None:
    """Print what a run was worth, its rows, how its arms differ, and the figures of its lotteries."""
    from orchestrator.cli.shown.lottery import print_lottery
    from orchestrator.cli.shown.rows import print_comparison, print_rows

    for worth in worth_of(rows):
        print(sentence(worth, duration))
    print_rows(rows)
    print_comparison(rows)
    if any(row.round is not None for row in rows):
        print_lottery(rows, image_ids(store, RunLayout(run)))


def show_outcome(store: Store, record: RunRecord, rows: Sequence[Row]) -> None:
    """Print a run's results, and where they are."""
    print()
    show_rows(store, record.run, rows)
    rows = [row for row in rows if row.picked]
    counts = Counter(row.state for row in rows)
    arms = list(dict.fromkeys(row.arm for row in rows))
    print()
    # With several arms an image has several results.
    images = f"{counted(record.images, 'image')} by {len(arms)} arms: " if len(arms) > 1 else ""
    states = ", ".join(f"{counts[state]} {state}" for state in RowState if counts[state])
    took = "" if record.seconds is None else f" in {duration(record.seconds)}"
    cost = "" if record.cost is None else f", at a cost of {record.cost:.2f}"
    print(f"{images}{states}{took}{cost}")
    layout = RunLayout(record.run)
    # Runs of earlier versions deliver the pick, and say nothing of it.
    which: Restored = "best" if any(row.delivered is not None for row in rows) else "pick"
    for arm in arms if len(arms) <= _ARMS_LISTED else ["<arm>"]:
        print(f"restored images  {store.show(layout.restored(arm, which, 'x')).removesuffix('x')}")
    print(f"table            {store.show(layout.results('csv'))}")
    print(f"report           {store.show(layout.report)}")
    print(f"next             {command_for('results', record.run, store)}")
