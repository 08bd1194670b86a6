"""The context of a run for its workers, small enough to travel with every piece of work."""

from dataclasses import dataclass
from functools import cached_property

from orchestrator.run.layout import RunLayout
from orchestrator.settings import Config
from orchestrator.store import Store, open_store


@dataclass(frozen=True)
class RunContext:
    """A run as its workers see it: where its store is, its settings, and how images are degraded.

    ``threads`` and the devices are resolved once, by the driver, and recorded with the run. ``marker`` is that of the
    store, so that no worker takes another for it (empty: any will do). ``code`` is the driver's
    (`orchestrator.run.versions.code_version`), which all machines must have; it is empty where there is only one.
    """

    store_url: str
    run: str
    config: Config
    simulate: bool
    device: str
    threads: int
    score_device: str = "cpu"
    code: str = ""
    marker: bytes = b""

    @cached_property
    def store(self) -> Store:
        """The store, opened where it is used."""
        store = open_store(self.store_url, patience_s=self.config.resources.store_patience_s)
        if self.marker:
            store.hold(self.marker)
        return store

    @property
    def layout(self) -> RunLayout:
        """The run's keys."""
        return RunLayout(self.run)
