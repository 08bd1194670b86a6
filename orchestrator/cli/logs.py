"""Print the log of a run's drivers, from its beginning."""

import argparse

from orchestrator.cli.common import store_of
from orchestrator.run.attempt import read_log
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run

EXAMPLES = """\
examples:
  python -m orchestrator logs RUN
  python -m orchestrator logs RUN --address http://127.0.0.1:8265      of a run that was handed to a cluster
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the dashboard of the cluster that the run was handed to: print the whole output of its last job there"
        " instead",
    )


def act(options: argparse.Namespace) -> int:
    """Print it."""
    store = store_of(options)
    record = read_run(store, options.run)
    if options.address is not None:
        from orchestrator.drive.handover import Cluster

        cluster = Cluster(options.address)
        print(cluster.log(cluster.last_job(store, record.run)), end="")
        return 0
    for piece in read_log(store, RunLayout(record.run)):
        print(piece, end="")
    return 0
