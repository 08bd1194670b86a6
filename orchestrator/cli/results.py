"""Show the results of a run: one row per image and arm, also while it is running.

Of a lottery --json and --csv have a row for every round and initialisation.
"""

import argparse

from orchestrator.cli.common import store_of, warn
from orchestrator.cli.exits import Exit
from orchestrator.cli.shown.outcome import show_rows
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.run.rows import read_rows, rows_to_csv, rows_to_json
from orchestrator.text import counted

EXAMPLES = """\
examples:
  python -m orchestrator results RUN                                 a row for each image and arm, also in mid-run
  python -m orchestrator results RUN --csv > results.csv             for a spreadsheet
  python -m orchestrator results RUN --json                          for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="a list of objects, null where a value is not known")
    form.add_argument("--csv", action="store_true", help="comma-separated values, empty where a value is not known")


def act(options: argparse.Namespace) -> int:
    """Print the rows."""
    store = store_of(options)
    record = read_run(store, options.run)
    left_out: list[str] = []
    rows = read_rows(store, RunLayout(record.run), left_out.append)
    if options.json:
        print(rows_to_json(rows))
    elif options.csv:
        print(rows_to_csv(rows), end="")
    else:
        show_rows(store, record.run, rows)
        images = len({row.image for row in rows})
        if images < record.images:
            print(f"{images} of {counted(record.images, 'image')} so far; the run is {record.state}")
    for reason in left_out:
        warn(reason)
    return Exit.SOME_FAILED if left_out else 0
