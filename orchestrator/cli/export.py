"""Write a run, with the inputs and banks that it needs, to an archive or a folder.

Every object is verified by its SHA-256 when it is read, and what was written is read again before it gets its name. A
folder can be opened as a store. `import` brings the run into another store.
"""

import argparse
from pathlib import Path

from orchestrator.cli.common import store_of
from orchestrator.cli.shown.units import size_of
from orchestrator.keep.export import export_run
from orchestrator.text import counted

EXAMPLES = """\
examples:
  python -m orchestrator export RUN run.tar                     an archive; run.tar.gz and run.tar.zst are compressed
  python -m orchestrator export RUN /backup/run                 a folder
  python -m orchestrator results RUN --store /backup/run        which is a store, too
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument("run", metavar="RUN", help="the run's name; `runs` lists them")
    parser.add_argument("path", metavar="PATH", help="a new .tar, .tar.gz or .tar.zst, or a new folder")


def act(options: argparse.Namespace) -> int:
    """Write it."""
    export = export_run(store_of(options), options.run, Path(options.path).expanduser())
    size = size_of(sum(packed.size for packed in export.objects))
    print(f"{options.run}: {counted(len(export.objects), 'object')}, {size}, verified, in {options.path}")
    return 0
