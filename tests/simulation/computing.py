"""What computes in a run, replaced by waiting and by numbers that depend on names alone.

All decisions, and all reads and writes of the store, are the product's own code. Where a world has a GPU, two attempts
at one fit give different arrays. So an attempt cannot pass for another's.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.fits import Fitted
from orchestrator.errors import ImageRejectedError
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord
from orchestrator.prune.chain import run_chain
from orchestrator.run.claim import take
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.rows import Row
from tests.simulation.kernel import Kernel, Threading
from tests.simulation.masks import masks_replaced
from tests.simulation.runs import content_of, digest_of, poison_of
from workers.fitting import FitDivergedError

ITERATION_S = 0.2
_FOLDED = np.zeros((1, 1, 1), np.float32)
_DAWN = datetime(2026, 1, 31, 14, 25, 1, tzinfo=UTC)


class Watcher(Protocol):
    """Hears what is computed."""

    kernel: Kernel
    computed: int
    gpu: bool

    def computes(self, context: RunContext, job: FitJob) -> None:
        """An attempt at a fit begins to compute."""


class Problem:
    """Stands for `orchestrator.fit.problem.Problem`: the file is read and not decoded."""

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self._context, self.image = context, image
        self._picture: Any = None
        self.black, self.peak, self.reference, self.unrestored = 0.0, 1.0, None, _FOLDED

    @property
    def picture(self) -> Any:
        if self._picture is None:
            if self._context.store.get(image_key(self.image.file)) != content_of(self.image):
                raise AssertionError(f"the content of {self.image.file} is another file's")
            if poison_of(self.image) == "undecodable":
                raise ImageRejectedError("it cannot be decoded")
            self._picture = SimpleNamespace(note=None, kept=None)
        return self._picture

    @property
    def observation(self) -> Any:
        return self.picture and SimpleNamespace(pixels=self.image, known=None)

    @property
    def degraded(self) -> Any:
        return self.observation.pixels

    def view(self, name: str) -> str:
        return name

    def measurement(self, view: str) -> Any:
        return self.picture and view


@cache
def curve_of(image: str, view: str, name: str, iterations: int) -> tuple[float, ...]:
    """The held-out errors of a fit. Few values are possible, so that ties are common; some fits end early."""
    number = digest_of(f"{image} {view} {name}")
    least, slope = 0.25 + number % 4 / 4, (1 + number // 4 % 2) / 64
    ends = iterations - (10 if number // 8 % 5 == 0 and iterations > 10 and "." not in name else 0)
    return tuple(least + slope * (ends - at) for at in range(1, ends + 1))


class _Fit:
    """A fit that takes time and computes nothing."""

    def __init__(self, kernel: Kernel, job: FitJob, subject: Any, curve: tuple[float, ...]) -> None:
        self.kernel, self.settings, self.iteration = kernel, SimpleNamespace(iterations=len(curve)), 0
        self.network, self._job, self._curve = subject.network, job, curve
        if self.network is not None:
            self.network.weights += f" fitted all to {job.image.id} as {job.name}"
        poison, number = poison_of(job.image), digest_of(f"{job.view} {job.name} {job.image.id} trouble")
        self._diverges = poison == "diverging" or number % 13 == 0
        self._hungry = number % 17 == 0

    @property
    def finished(self) -> bool:
        return self.iteration >= self.settings.iterations

    def launch(self, iterations: int) -> Callable[[], float]:
        return partial(self.advance, iterations)

    def advance(self, iterations: int) -> float:
        self.kernel.sleep(iterations * ITERATION_S)
        if self._diverges:
            raise FitDivergedError("the error is no number")
        if self._hungry and not self._job.alone:
            raise MemoryError
        self.iteration = min(self.iteration + iterations, len(self._curve))
        return min(self._curve[: self.iteration])

    def reveal(self) -> "_Reveal | None":
        return _Reveal(self.kernel) if self._job.view == "full" else None


class _Reveal:
    """Stands for `workers.reveal.Reveal`."""

    iterations = 3

    def __init__(self, kernel: Any) -> None:
        self.kernel, self.iteration = kernel, 0

    @property
    def finished(self) -> bool:
        return self.iteration >= self.iterations

    def launch(self, iterations: int) -> Callable[[], float]:
        return partial(self.advance, iterations)

    def advance(self, iterations: int) -> float:
        self.kernel.sleep(iterations * ITERATION_S)
        self.iteration = min(self.iteration + iterations, self.iterations)
        return 0.0


class _Prepared:
    """Stands for `orchestrator.fit.fit._PreparedFit`."""

    def __init__(self, context: RunContext, job: FitJob, problem: Problem, subject_of: Any) -> None:
        watcher: Watcher = context.__dict__["watcher"]
        watcher.computes(context, job)
        assert problem.picture
        self.job, self.subject = job, subject_of()
        self._curve = curve_of(job.image.id, job.view, str(job.name), self.subject.iterations)
        self.fit = _Fit(watcher.kernel, job, self.subject, self._curve)
        self._attempt = watcher.computed if watcher.gpu else 0

    def _record(self, state: Any, curve: Sequence[float], seconds: float, **more: Any) -> FitRecord:
        error, at = min((error, at) for at, error in enumerate(curve, 1))
        return FitRecord(
            self.job.name,
            self.job.view,
            state,
            held_out_error=error,
            stop_iteration=at,
            iterations=len(curve),
            parameters=self.subject.parameters,
            seconds=seconds,
            **more,
        )

    def paused(self, seconds: float, iterations: int) -> FitRecord:
        return self._record("paused", self._curve[:iterations], seconds)

    def outcome(self, seconds: float, reveal: _Reveal | None) -> tuple[FitRecord, Any]:
        name = f"{self.job.image.id}/{self.job.view}/{self.job.name}"
        found = {"of": name, "attempt": self._attempt, "masks": getattr(self.subject.network, "masks", None)}
        found |= {"curve": self._curve, "value": digest_of(name) % 1000 + self._attempt / 1024}
        found["revealed"] = 0 if reveal is None else reveal.iteration
        record = self._record(
            "done",
            self._curve,
            seconds,
            residual_correlation=0.5 if digest_of(self.job.image.id) % 5 == 0 else 0.0,
            steady_iteration=1,
            sparsity=self.subject.sparsity,
            blind=self.subject.blind,
            revealed=None if reveal is None else reveal.iteration,
        )
        return record, SimpleNamespace(to_bytes=lambda: json.dumps(found).encode())


def _read_arrays(store: Any, keys: Any, record: FitRecord, only: Any = ()) -> FitArrays:
    """As `orchestrator.fit.arrays.read_arrays`."""
    found = json.loads(store.get(keys.arrays(str(record.arrays))))
    output = np.full((1, 2, 2), found["value"], np.float32)
    revealed = output + found["revealed"] / 8 if found["revealed"] else np.zeros(0, np.float32)
    return FitArrays(output, output + 1, np.array(found["curve"], np.float32), np.zeros(0, np.float32), revealed)


def _prior_subject(context: RunContext, image: InputImage, view: Any, name: Any) -> Any:
    iterations = context.config.iterations(view)
    return SimpleNamespace(
        network=None, iterations=iterations, parameters=9, sparsity=None, blind=True, before_record=lambda fit: None
    )


def _take_up(work: Any, data: bytes) -> float:
    saved = json.loads(data)
    work.iteration = saved["iteration"]
    return float(saved["seconds"])


def _to_bytes(work: Any, seconds: float) -> bytes:
    return json.dumps({"iteration": work.iteration, "seconds": seconds}).encode()


class _Evidence(Evidence):
    """The product's evidence, with a picture that is not decoded."""

    def __init__(self, context: RunContext, image: InputImage) -> None:
        self.context, self.image = context, image
        problem: Any = Problem(context, image)
        self.picture, self.observation = problem.picture, problem.observation
        self.before, self.reference = problem.unrestored, None
        self.black, self.peak = 0.0, 1.0
        # Without hidden pixels nothing is stacked: there are no outputs that could be.
        self.hidden = np.zeros((1, 1), bool)

    def encoded(self, pixels: Any) -> bytes:
        return repr(float(pixels.flat[0])).encode()

    def noise(self, output: Any) -> None:
        return None

    def estimate(self, record: FitRecord, output: Any) -> None:
        return None


def _pack(fitted: Sequence[Fitted]) -> bytes:
    """The packed record as JSON, which is quicker than Parquet."""
    empty: Any = {"curve_iteration": [], "curve_held_out": [], "curve_psnr": None, "psnr": None, "psnr_steady": None}
    return json.dumps(
        [asdict(fit.record) | {"candidate": str(fit.record.candidate)} | empty for fit in fitted]
    ).encode()


def _write_results(store: Any, layout: RunLayout, rows: Sequence[Row]) -> None:
    """The tables as JSON."""
    table = json.dumps([[row.image, row.arm, row.state, row.candidate] for row in rows]).encode()
    store.put(layout.results("csv"), table)
    store.put(layout.results("parquet"), table)


def _compute_bank(candidates: Sequence[Any], spec: Any, operator: Any, device: str) -> Any:
    return np.array([digest_of(candidate.id) % 3 for candidate in candidates], np.float32)


class _Calendar:
    """Stands for `datetime.datetime`: the calendar clock of the running process, which may be wrong."""

    fromisoformat = staticmethod(datetime.fromisoformat)

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def now(self, zone: object = UTC) -> datetime:
        return _DAWN + timedelta(seconds=self._kernel.now + self._kernel.current().process.wall_s)

    def text(self) -> str:
        return self.now().isoformat(timespec="seconds")


@contextmanager
def computing_replaced(kernel: Kernel, drive: dict[str, Any]) -> Iterator[None]:
    """Within this context nothing is computed, time is simulated, and threads are tasks.

    ``drive`` has further replacements: what a driver does with Ray.
    """
    calendar = _Calendar(kernel)
    in_time = {"clock": kernel.clock, "sleep": kernel.sleep}
    report = SimpleNamespace(read_table=lambda file: SimpleNamespace(to_pylist=lambda: json.loads(file.getvalue())))
    picture = lambda *_: b"a picture"  # noqa: E731
    replacements: dict[str, Any] = {
        # Fits.
        "orchestrator.fit.fit._PreparedFit": _Prepared,
        "orchestrator.fit.fit.Problem": Problem,
        "orchestrator.fit.blocks.take_up": _take_up,
        "orchestrator.fit.blocks.to_bytes": _to_bytes,
        "orchestrator.fit.memory._what_would_fit": lambda context, job: "out of memory",
        "orchestrator.schedule.trial.run_fit": partial(run_fit, clock=kernel.clock),
        "orchestrator.schedule.trial.run_chain": partial(run_chain, clock=kernel.clock),
        "orchestrator.schedule.trial.prior_subject": _prior_subject,
        # Scores.
        "orchestrator.score.bank.compute_bank": _compute_bank,
        "orchestrator.score.score.Problem": Problem,
        "orchestrator.score.score.image_fingerprint": lambda pixels, spec: pixels.id,
        "orchestrator.score.score.score_bank": lambda opened, fingerprint, metric: (
            (opened + digest_of(fingerprint)) % 3
        ),
        # Results.
        "orchestrator.collect.collect.Evidence": _Evidence,
        "orchestrator.collect.collect.pack": _pack,
        "orchestrator.collect.fits.read_arrays": _read_arrays,
        "orchestrator.pick.decide.read_arrays": _read_arrays,
        "orchestrator.pick.halve.read_arrays": _read_arrays,
        "orchestrator.collect.restored.encode_map": picture,
        "orchestrator.collect.restored.preview": picture,
        "orchestrator.collect.rows.preview": picture,
        "orchestrator.collect.evidence.preview": picture,
        "orchestrator.drive.driver.write_results": _write_results,
        "orchestrator.drive.driver.yaml": SimpleNamespace(safe_dump=lambda config, **_: json.dumps(config)),
        "orchestrator.report.build.pq": report,
        "orchestrator.report.build.render": lambda report: json.dumps([row["image"] for row in report.rows]),
        "orchestrator.report.build.render_results": lambda report: [],
        "orchestrator.report.build.header": lambda data: json.loads(data) | {"layers": []},
        # Time, threads, and what a process learns of its machine.
        "orchestrator.run.claim.threading": Threading(kernel),
        "orchestrator.ingest.bring.threading": Threading(kernel),
        "orchestrator.run.claim.os": SimpleNamespace(getpid=lambda: 1),
        "orchestrator.run.claim.socket": SimpleNamespace(gethostname=lambda: "simulated"),
        "orchestrator.run.claim.now": calendar.text,
        "orchestrator.drive.driver.now": calendar.text,
        "orchestrator.run.record.datetime": calendar,
        "orchestrator.run.claim.process_of": lambda pid: (None, None),
        "orchestrator.run.attempt.process_of": lambda pid: (None, None),
        "orchestrator.run.claim._POLL_S": 1.5,
        "orchestrator.run.record.take": partial(take, **in_time),
        "orchestrator.drive.driver.take": partial(take, **in_time),
        "orchestrator.drive.driver.time": SimpleNamespace(monotonic=kernel.clock),
        **masks_replaced(Problem),
        **drive,
    }
    with ExitStack() as replaced:
        for target, stand_in in replacements.items():
            replaced.enter_context(patch(target, stand_in))
        yield
