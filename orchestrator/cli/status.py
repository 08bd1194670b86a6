"""Show the state of a run, its counts, the resources that it waits for, and its cost."""

import argparse
import json

from orchestrator.cli.common import store_of
from orchestrator.run.attempt import machines_of
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord, read_run
from orchestrator.run.versions import mixture
from orchestrator.text import duration, printable

EXAMPLES = """\
examples:
  python -m orchestrator status RUN
  python -m orchestrator status RUN --json                            for programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument("--json", action="store_true", help="an object, for programs")


def act(options: argparse.Namespace) -> int:
    """Print it."""
    store = store_of(options)
    record = read_run(store, options.run)
    mixed = mixture(machines_of(store, RunLayout(options.run)))
    if options.json:
        print(json.dumps({**record.standing(), "mixed": mixed}, indent=2))
    else:
        _print(record)
        if mixed:
            print(f"mixed       {mixed}")
    return 0


def _print(record: RunRecord) -> None:
    took = "" if record.seconds is None else f" after {duration(record.seconds)}"
    reason = "" if record.reason is None else f" ({printable(record.reason)})"
    print(f"state       {record.state}{took}{reason}")
    print(f"images      {record.images}, {record.rejected} rejected at once")
    if record.driver is not None:
        print(f"driver      {printable(record.driver)}")
    for stage in record.stages:
        running = f", {stage['running']} under way" if stage["running"] else ""
        # The line above counts what was given.
        name = "images done" if stage["name"] == "images" else stage["name"]
        print(f"{name:<11} {stage['done']} of {stage['total']}{running}")
    for line in record.waits_for:
        print(f"waits       {printable(line)}")
    if record.usage:
        hours = ", ".join(f"{value:.3g} {name.replace('_', '-')}" for name, value in record.usage.items() if value)
        print(f"used        {hours}")
    if record.cost is not None:
        print(f"cost        {record.cost:.2f}")
