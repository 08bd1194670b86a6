"""Runs that the first version left in a store: see data/old_runs.sh."""

import tarfile
from pathlib import Path

from tests.conftest import DATA

FINISHED = ("finished", "lottery", "study")
INTERRUPTED = ("interrupted", "lottery-interrupted")
OLD_RUNS = (*FINISHED, *INTERRUPTED)


def unpack(folder: Path) -> Path:
    """The store, in a folder of the test's own."""
    store = folder / "old"
    with tarfile.open(DATA / "old_runs.tar.xz") as archive:
        archive.extractall(store, filter="data")
    return store
