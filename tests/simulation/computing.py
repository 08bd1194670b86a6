"""What computes in a run, replaced by waiting: fits, figures and packed records. Their reads and writes are real.

Two attempts at one fit give different arrays, as on a GPU. So an attempt cannot pass for another's.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

from orchestrator.collect.fits import Chosen, Fits, Fitted
from orchestrator.collect.rows import _why_nothing
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, read_record
from orchestrator.run.context import RunContext
from orchestrator.run.rows import Row, RowState
from tests.simulation.kernel import Kernel, Threading

ITERATION_S = 0.02


class Watcher(Protocol):
    """Hears what is computed."""

    kernel: Kernel
    computed: int

    def computes(self, context: RunContext, job: FitJob) -> None:
        """An attempt at a fit begins to compute."""


class _Fit:
    """A fit that takes time and computes nothing."""

    def __init__(self, kernel: Kernel, iterations: int) -> None:
        self.kernel, self.settings, self.iteration = kernel, SimpleNamespace(iterations=iterations), 0

    @property
    def finished(self) -> bool:
        return self.iteration >= self.settings.iterations

    def advance(self, iterations: int) -> float:
        self.kernel.sleep(iterations * ITERATION_S)
        self.iteration += iterations
        return 0.5


class _Prepared:
    """Stands for `orchestrator.fit.fit._PreparedFit`."""

    def __init__(self, context: RunContext, job: FitJob, problem: object, subject_of: object) -> None:
        watcher: Watcher = context.__dict__["watcher"]
        watcher.computes(context, job)
        self.job, self.subject = job, SimpleNamespace(before_record=lambda fit: None)
        self.fit = _Fit(watcher.kernel, context.config.iterations(job.view))
        self._attempt = watcher.computed

    def _error(self) -> float:
        return (hash_of(f"{self.job.image.id} {self.job.view} {self.job.name}") % 1000) / 1000

    def paused(self, seconds: float, iterations: int) -> FitRecord:
        return FitRecord(
            self.job.name, self.job.view, "paused", held_out_error=self._error(), iterations=iterations, seconds=seconds
        )

    def outcome(self, seconds: float) -> tuple[FitRecord, Any]:
        record = FitRecord(
            self.job.name,
            self.job.view,
            "done",
            held_out_error=self._error(),
            iterations=self.fit.iteration,
            seconds=seconds,
        )
        return record, SimpleNamespace(to_bytes=f"arrays of attempt {self._attempt}".encode)


def hash_of(text: str) -> int:
    """A number that depends on nothing but the text."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(text)) * 2654435761 % 2**32


def _take_up(work: _Fit, data: bytes) -> float:
    saved = json.loads(data)
    work.iteration = saved["iteration"]
    return float(saved["seconds"])


def _to_bytes(work: _Fit, seconds: float) -> bytes:
    return json.dumps({"iteration": work.iteration, "seconds": seconds}).encode()


class _Evidence:
    """Stands for `orchestrator.collect.evidence.Evidence`."""

    def __init__(self, context: RunContext, image: Any) -> None:
        self.context, self.image = context, image

    def show(self) -> None:
        pass


def _arm_row(choice: Chosen, fits: Fits, evidence: _Evidence, *, previews: bool) -> Row:
    """The row of an arm from its fits in the store, as `orchestrator.collect.rows.arm_row` makes it."""
    store, layout, image = evidence.context.store, evidence.context.layout, evidence.image
    final = fits.get("full", choice.full)
    done = [fit for fit in final if fit.record.state == "done"]
    if not done:
        reason = _why_nothing(choice.decision, final)
        return Row(image.name, choice.arm.name, RowState.FAILED, reason=reason)
    record = done[0].record
    store.put(layout.restored(choice.arm.name, "pick", image.restored), f"restored with {record.arrays}".encode())
    return Row(image.name, choice.arm.name, RowState.RESTORED, candidate=str(record.candidate))


def _load(self: Fits, view: Any, name: Any) -> Fitted | None:
    """A fit's record; its arrays are read and not decoded."""
    keys = self._keys(view, name)
    record = read_record(self._context.store, keys)
    if record is not None and record.state == "done":
        self._context.store.get(keys.arrays(str(record.arrays)))
    return None if record is None else Fitted(record)


@contextmanager
def computing_replaced(kernel: Kernel) -> Iterator[None]:
    """Within this context nothing is computed, time is simulated, and threads are tasks."""
    with ExitStack() as replaced:
        for target, stand_in in {
            "orchestrator.fit.fit._PreparedFit": _Prepared,
            "orchestrator.fit.blocks.take_up": _take_up,
            "orchestrator.fit.blocks.to_bytes": _to_bytes,
            "orchestrator.collect.collect.Evidence": _Evidence,
            "orchestrator.collect.collect.arm_row": _arm_row,
            "orchestrator.collect.collect.pack": lambda fits: b"packed",
            "orchestrator.collect.fits.Fits._load": _load,
            "orchestrator.run.claim.threading": Threading(kernel),
            "orchestrator.run.claim.os": SimpleNamespace(getpid=lambda: 1),
            "orchestrator.run.claim.socket": SimpleNamespace(gethostname=lambda: "simulated"),
            "orchestrator.run.claim.now": lambda: "2026-01-31T14:25:01+00:00",
            "orchestrator.run.claim.process_of": lambda pid: (None, None),
            "orchestrator.run.attempt.process_of": lambda pid: (None, None),
            "orchestrator.run.claim._POLL_S": 2.0,
        }.items():
            replaced.enter_context(patch(target, stand_in))
        yield
