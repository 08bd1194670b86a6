"""Delete what no run names: inputs, banks of fingerprints, and what killed processes have left.

Nothing is deleted that a run names, also one that is just being begun. Where it is not known what a run names (it
cannot be read, or has not brought its images), what runs share is kept.
"""

import argparse
import re

from orchestrator.cli.common import check_yes, store_of, warn
from orchestrator.cli.shown.units import size_of
from orchestrator.keep.prune import Pruned, prune
from orchestrator.text import counted

EXAMPLES = """\
examples:
  python -m orchestrator prune --dry-run                        what would be deleted
  python -m orchestrator prune --yes                            what no run names and is older than a day
  python -m orchestrator prune --keep 10                        also all runs but the 10 newest; asks first
  python -m orchestrator prune --keep 10 --older-than 30d       of these only runs that ended 30 days ago or earlier
"""
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    section = parser.add_argument_group("what")
    section.add_argument("--keep", type=_count, metavar="N", help="delete also all runs but the N newest")
    section.add_argument(
        "--older-than",
        type=_age,
        metavar="AGE",
        help="delete only what was written longer ago, such as 12h or 30d (s, min, h, d; default: 1d), and with --keep"
        " only runs that ended longer ago (default: all)",
    )
    section = parser.add_argument_group("how")
    section.add_argument("--dry-run", action="store_true", help="print what would be deleted; delete nothing")
    section.add_argument("--yes", action="store_true", help="do not ask")


def act(options: argparse.Namespace) -> int:
    """Say what goes, ask, and delete it."""
    store = store_of(options)
    planned = prune(store, keep=options.keep, older_than_s=options.older_than, dry_run=True)
    for reason in planned.kept:
        warn(reason)
    if options.dry_run:
        _show(planned, "would delete")
        return 0
    if not options.yes:
        _show(planned, "would delete")
        check_yes(options, f"delete this in {store.url}?")
    _show(prune(store, keep=options.keep, older_than_s=options.older_than, note=print), "deleted")
    return 0


def _show(pruned: Pruned, verb: str) -> None:
    for run in pruned.runs:
        print(f"{verb} the run {run}")
    kinds = (("input", "", pruned.inputs), ("object", " of banks", pruned.banks), ("leftover", "", pruned.leftovers))
    for noun, of, entries in kinds:
        if entries:
            size = size_of(sum(entry.size for entry in entries))
            print(f"{verb} {counted(len(entries), noun)}{of} that no run names, {size}")
    if pruned.swept:
        print(f"{verb} {counted(pruned.swept, 'unfinished file')}")
    if not (pruned.runs or any(entries for _, _, entries in kinds) or pruned.swept):
        print(f"{verb} nothing: all that is older is named by a run")


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise ValueError
    return count


def _age(text: str) -> float:
    """An age in seconds."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(s|min|h|d)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no age, as 12h or 30d are")
    return float(found[1]) * _SECONDS[found[2]]
