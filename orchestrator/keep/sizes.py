"""How much room the runs of a store take, and what they share."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.run.layout import RUNS, SHARED
from orchestrator.store import Store


@dataclass(frozen=True)
class Sizes:
    """Bytes: of each run's own objects, and of what all runs share, by its prefix."""

    runs: Mapping[str, int]
    shared: Mapping[str, int]


def sizes(store: Store) -> Sizes:
    """Measure a store by listing all of it: on S3 a request for each thousand objects."""
    runs: Counter[str] = Counter()
    for entry in store.entries(RUNS):
        runs[entry.key.split("/")[1]] += entry.size
    return Sizes(runs, {prefix: sum(entry.size for entry in store.entries(prefix)) for prefix in SHARED})
