"""What may be deleted from a store: decisions alone. `orchestrator.keep.prune` carries them out."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from orchestrator.store import Entry


@dataclass(frozen=True)
class Known:
    """A run, and what it names.

    Attributes:
        run: Its name.
        created: When it was begun, ISO 8601.
        ended: When it ended, ISO 8601; None if it is under way, or cannot be read.
        inputs: The keys of its images, references and masks; None if they are not known.
        banks: The prefixes of its banks of fingerprints; None if they are not known.
        tickets: The run whose lottery tickets it takes.
        why: Why something is not known, on one line.
    """

    run: str
    created: str
    ended: str | None
    inputs: frozenset[str] | None
    banks: frozenset[str] | None
    tickets: str | None = None
    why: str = ""


def runs_to_go(runs: Iterable[Known], keep: int, ended_before: str | None = None) -> list[str]:
    """The runs that go where the ``keep`` newest are kept, newest first: tickets are always those of an older run.

    Also kept are runs that are under way or cannot be read, runs that ended at ``ended_before`` or later, and those
    whose tickets a run that is kept takes.
    """
    newest_first = sorted(runs, key=lambda run: (run.created, run.run), reverse=True)
    by_name = {run.run: run for run in newest_first}
    kept = {
        run.run
        for place, run in enumerate(newest_first)
        if place < keep or run.ended is None or (ended_before is not None and run.ended >= ended_before)
    }
    asking = list(kept)
    while asking:
        source = by_name[asking.pop()].tickets
        if source in by_name and source not in kept:
            kept.add(source)
            asking.append(source)
    return [run.run for run in newest_first if run.run not in kept]


def named_inputs(runs: Iterable[Known]) -> set[str] | None:
    """The keys of all inputs that some run names; None if those of one are not known."""
    return _together(run.inputs for run in runs)


def named_banks(runs: Iterable[Known]) -> set[str] | None:
    """The prefixes of all banks that some run names; None if those of one are not known."""
    return _together(run.banks for run in runs)


def _together(sets: Iterable[frozenset[str] | None]) -> set[str] | None:
    together: set[str] = set()
    for names in sets:
        if names is None:
            return None
        together |= names
    return together


def unnamed(entries: Sequence[Entry], parts: int, named: Set[str], written_before: float) -> list[Entry]:
    """The objects that go: whole groups that nobody names, of which every object is old.

    Args:
        entries: Objects.
        parts: A group has this many first parts of its keys in common.
        named: The groups that somebody names.
        written_before: A group with an object that was written later than this is kept.
    """

    def group(entry: Entry) -> str:
        return "/".join(entry.key.split("/")[:parts])

    kept = {group(entry) for entry in entries if entry.modified > written_before} | named
    return [entry for entry in entries if group(entry) not in kept]
