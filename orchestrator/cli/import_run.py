"""Bring a run in from an archive or a folder that `export` has written.

All of it is verified before anything is written, and the run is not listed before all of it is there. A run of the same
name is refused unless it is the same. Restored images, masks and banks are taken as they are: import from people whom
you trust.
"""

import argparse
from pathlib import Path

from orchestrator.cli.common import command_for, store_of
from orchestrator.keep.bring_in import import_run

EXAMPLES = """\
examples:
  python -m orchestrator import run.tar --store s3://my-bucket/dip
  python -m orchestrator import /backup/run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("path", metavar="PATH", help="the archive or folder")


def act(options: argparse.Namespace) -> int:
    """Bring it in."""
    store = store_of(options)
    run = import_run(store, Path(options.path).expanduser(), note=print)
    print(f"{run} is in {store.url}; {command_for('results', run, store)} shows it")
    return 0
