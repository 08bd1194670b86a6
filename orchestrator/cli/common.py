"""Shared by several commands: the place of the store, and the next command to type."""

import argparse
import shlex
import sys

from orchestrator.drive.handle import store_at
from orchestrator.errors import UserMistakeError
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import check_run_name, no_such_run
from orchestrator.store import Store
from orchestrator.text import printable


def store_of(options: argparse.Namespace) -> Store:
    """The store the user means: ``--store``, else ``$DIP_STORE``, else ``./dip-store``."""
    return store_at(options.store)


def existing(store: Store, run: str) -> str:
    """The name of a run, if the store has anything of it: what is left of a run is enough.

    Raises:
        UserMistakeError: there is nothing of such a run.
    """
    if not any(True for _ in store.keys(RunLayout(check_run_name(run)).root)):
        raise no_such_run(store, run)
    return run


def command_for(command: str, run: str, store: Store) -> str:
    """The command that a person types next."""
    return f"python -m orchestrator {command} {run} --store {shlex.quote(store.url)}"


def warn(message: str) -> None:
    """Print a line about what is left out, where it does not mix with what is printed for programs."""
    print(f"left out: {printable(message)}", file=sys.stderr)


def check_yes(options: argparse.Namespace, question: str) -> None:
    """Ask whether something is to be deleted, unless ``--yes`` says so.

    Raises:
        UserMistakeError: the answer is not yes, or nobody can be asked.
    """
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise UserMistakeError(f"{printable(question)} nobody can be asked here: give --yes")
    try:
        answer = input(f"{printable(question)} [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise UserMistakeError("nothing is deleted")
