"""Shared by several commands: the place of the store, and the next command to type."""

import argparse
import shlex

from orchestrator.drive.handle import store_at
from orchestrator.store import Store


def store_of(options: argparse.Namespace) -> Store:
    """The store the user means: ``--store``, else ``$DIP_STORE``, else ``./dip-store``."""
    return store_at(options.store)


def command_for(command: str, run: str, store: Store) -> str:
    """The command that a person types next."""
    return f"python -m orchestrator {command} {run} --store {shlex.quote(store.url)}"
