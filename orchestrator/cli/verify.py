"""Verify a run, or all of a store: every checksum, every reference, every format.

Each object that is damaged, missing or left over is one line, which says what `resume` does about it. With --repair
what can be made again is removed, and `resume` makes it. The exit status is 74 if there is damage; with --repair only
if some cannot be repaired. Nothing of a run that is under way is repaired.
"""

import argparse
import json
import sys
from typing import TYPE_CHECKING

from orchestrator.cli.common import existing, store_of
from orchestrator.cli.exits import Exit
from orchestrator.cli.shown.units import size_of
from orchestrator.errors import OrchestratorError, StoreUnavailableError
from orchestrator.keep.damage import Damage
from orchestrator.store import Store
from orchestrator.text import counted, printable

if TYPE_CHECKING:
    from orchestrator.keep.verify import Verified

EXAMPLES = """\
examples:
  python -m orchestrator verify RUN                             a run, and its images, references and masks
  python -m orchestrator verify --all                           all runs, all inputs and all banks of fingerprints
  python -m orchestrator verify RUN --repair && python -m orchestrator resume RUN
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's own options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("run", metavar="RUN", nargs="?", help="the run's name; `runs` lists them")
    which.add_argument("--all", action="store_true", help="all runs, and all that runs share")
    parser.add_argument("--repair", action="store_true", help="remove what can be made again, and what nothing needs")
    parser.add_argument("--json", action="store_true", help="a list of objects, for programs")


def act(options: argparse.Namespace) -> int:
    """Verify, say what is wrong, and repair it if asked."""
    # Imported here: it reads every kind of object, which no other command does.
    from orchestrator.keep.verify import Verified, names_of_runs, verify_run, verify_shared

    store = store_of(options)
    runs = names_of_runs(store) if options.all else [existing(store, options.run)]
    verified = Verified()

    def found(damage: Damage) -> None:
        if not options.json:
            print(printable(str(damage)), flush=True)

    for run in runs:
        verify_run(store, run, inputs_too=not options.all, found=found, into=verified)
    if options.all:
        verify_shared(store, found=found, into=verified)
    removed, refused = _repaired(store, verified.damages) if options.repair else (0, [])
    if options.json:
        print(json.dumps([damage.to_json() for damage in verified.damages], indent=2))
    else:
        _conclude(verified, len(runs), removed, repair=options.repair)
    for reason in refused:
        print(f"not repaired: {printable(reason)}", file=sys.stderr)
    if options.repair:
        left = refused or not all(damage.is_repairable for damage in verified.damages)
        return Exit.DAMAGED if left else Exit.DONE
    return Exit.DAMAGED if verified.damages else Exit.DONE


def _repaired(store: Store, damages: list[Damage]) -> tuple[int, list[str]]:
    """How many objects were removed, and why some were not."""
    from orchestrator.keep.repair import repair_run, repair_shared

    removed, refused = 0, []
    for run in dict.fromkeys(damage.run for damage in damages if damage.is_repairable):
        try:
            if run is None:
                removed += repair_shared(store, [damage for damage in damages if damage.run is None])
            else:
                removed += repair_run(store, run, note=lambda message: print(message, file=sys.stderr))
        except StoreUnavailableError:
            raise
        except OrchestratorError as error:
            refused.append(str(error))
    return removed, refused


def _conclude(verified: "Verified", runs: int, removed: int, *, repair: bool) -> None:
    read = f"{counted(verified.objects, 'object')} of {counted(runs, 'run')}, {size_of(verified.size)}"
    if not verified.damages:
        print(f"{read}: no damage")
        return
    by_hand = sum(not damage.is_repairable for damage in verified.damages)
    print(f"{read}: {len(verified.damages)} damaged, missing or left over; {by_hand} cannot be repaired from the store")
    if repair:
        print(f"removed {counted(removed, 'object')}; `resume` makes again what its run needs")
