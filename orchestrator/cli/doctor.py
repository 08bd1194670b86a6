"""Check this machine, the store or a Ray cluster, and suggest what to do about anything missing or wrong."""

import argparse
import json

from orchestrator.cli.exits import Exit
from orchestrator.drive.handle import place_of
from orchestrator.text import printable

EXAMPLES = """\
examples:
  python -m orchestrator doctor                                       this machine, and the store
  python -m orchestrator doctor --store s3://bucket/dip               an S3 store
  python -m orchestrator doctor --address http://127.0.0.1:8265       a Ray cluster, by its dashboard
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    parser.add_argument(
        "--address", metavar="URL", help="look at a Ray cluster, too: its dashboard, such as http://127.0.0.1:8265"
    )
    parser.add_argument("--json", action="store_true", help="a list of objects: check, ok, found, advice")


def act(options: argparse.Namespace) -> int:
    """Print the findings, a line each."""
    from orchestrator.doctor.examine import examine

    # Not opened here: a mistake in its URL is a finding among others.
    checks = []
    for check in examine(place_of(options.store), options.address):
        checks.append(check)
        if not options.json:
            line = (
                f"ok     {check.check}: {check.found}"
                if check.ok
                else f"wrong  {check.check}: {check.found} -> {check.advice}"
            )
            print(printable(line), flush=True)
    if options.json:
        print(json.dumps([check.to_dict() for check in checks], indent=2))
    return 0 if all(check.ok for check in checks) else Exit.WRONG
