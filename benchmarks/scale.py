"""What many images cost beside their fits: python -m benchmarks.scale --images 1000

Plan, ingest, the driver's loop, its decisions, collecting, tables and report are the product's own, on a local folder.
A crew in this process takes the place of Ray, does one thing at a time, and writes a made-up result for each fit: the
time from row to row is not that of a run, and the memory has no Ray in it. The run is stopped when half of the images
have their rows, and resumed. With ``--driven`` only so many images of each half are driven, and the rows of the others
are made up: requests an image are those of driven ones.
"""

import argparse
import resource
import tempfile
import time
from collections import Counter, deque
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import machine, print_table
from orchestrator.drive import driver
from orchestrator.drive.inputs import bringing_of, without_rejected
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys
from orchestrator.plan.make import AHEAD, make_plan, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.resources.share import Resources
from orchestrator.run.attempt import RunState
from orchestrator.run.claim import take
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import Source, read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.progress import Stage
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.schedule.ports import Answered, Share
from orchestrator.schedule.questions import Collect, Question
from orchestrator.schedule.queue import Finished, QueueStanding
from orchestrator.schedule.work import loop_of
from orchestrator.schedule.workers import answer
from orchestrator.settings import Config
from orchestrator.store import Store, open_store, patient

RESOURCES = Resources(parallel=2, threads=1, device="cpu", gpus=0.0, trial_memory=1e9)
SIDE = 32


class _Crew:
    """Does everything when it is asked for; only the call for finished fits waits until there are some."""

    def __init__(self, context: RunContext) -> None:
        self._context, self._numbers = context, count()
        self._calls: dict[int, Question | None] = {}
        self._jobs: deque[FitJob] = deque()
        self.collected: list[float] = []

    def _refer(self, question: Question | None) -> int:
        number = next(self._numbers)
        self._calls[number] = question
        return number

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        return [each for each in references if self._calls[each] is not None or self._jobs][:1]

    def answer(self, reference: Any) -> Answered:
        question = self._calls.pop(reference)
        if question is not None:
            value = answer(self._context, question)
            if isinstance(question, Collect):
                self.collected.append(time.perf_counter())
            return Answered(value)
        jobs, self._jobs = list(self._jobs), deque()
        return Answered([self._fit(job) for job in jobs])

    def _fit(self, job: FitJob) -> Finished:
        pixels = np.full((job.image.channels, job.image.height, job.image.width), 0.5, np.float32)
        curve = np.linspace(0.1, 0.01, 20, dtype=np.float32)
        keys = fit_keys(self._context, job)
        self._context.store.put(keys.arrays("x"), FitArrays(pixels, pixels, curve, curve[:0]).to_bytes())
        record = FitRecord(
            job.name, job.view, "done", None, 0.01, 0.001, 20, 20, 20, None, 0.0, 1000, seconds=1.0, arrays="x"
        )
        self._context.store.create(keys.result, record.to_json())
        return Finished(job, "done")

    def ask(self, question: Question) -> int:
        return self._refer(question)

    def finished(self) -> int:
        return self._refer(None)

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        self._jobs = deque([*jobs, *self._jobs] if first else [*self._jobs, *jobs])

    def standing(self) -> QueueStanding:
        return QueueStanding(0, 0.0, {}, 0)

    def wants_session(self, number: int) -> bool:
        return False

    def set_bound(self, bound: int) -> None: ...

    def set_may_idle(self, may_idle: bool) -> None: ...

    def close(self) -> None: ...


class _Still:
    """Machines that do not change, gauges that nobody reads, and a listener that says nothing."""

    def __init__(self) -> None:
        self.usage: dict[str, float] = {}
        self.found: list[Any] = []

    def look(self, gpus_in_use: float) -> bool:
        return False

    def wait(self, seconds: float) -> None: ...

    def show(self, *what: Any) -> None: ...

    def note(self, message: str) -> None: ...

    def update(self, stages: Sequence[Stage]) -> None: ...


def drive(place: str, plan: Plan, started: float, stop_after: int, requests: Counter[str]) -> float:
    """Take a plan's images to their rows, or so many of them; return the seconds to the first row.

    ``requests`` keeps those that are made after planning.
    """
    requests.clear()
    store = open_store(place)
    driver.begin(store, plan, {})
    context = RunContext(place, plan.run, plan.config, plan.simulate, "cpu", 1)
    still: Any = _Still()
    with take(store, RunLayout(plan.run), {}) as claim:
        crew: Any = _Crew(context)

        def enough() -> None:
            if len(crew.collected) >= stop_after and not bringing.coming:
                raise KeyboardInterrupt

        if not plan.coming:
            plan = without_rejected(context, plan, RESOURCES, still)
        with bringing_of(context, plan, RESOURCES, claim, still) as bringing:
            loop = loop_of(
                context,
                plan,
                Share(RESOURCES),
                listener=still,
                claim=claim,
                crew=crew,
                watch=still,
                gauges=still,
                joined=False,
                arrivals=bringing if plan.coming else None,
            )
            try:
                loop.run(enough)
            except KeyboardInterrupt:
                claim.end(RunState.INTERRUPTED)
    return float(crew.collected[0] - started)


def make_up(store: Store, layout: RunLayout, number: int) -> None:
    """Write rows for the first images that have none, until so many have."""
    inputs = read_inputs(store, layout)
    if inputs is None:
        raise RuntimeError("not all images are in the store")
    for image in inputs.images[:number]:
        row = Row(
            image.name, "dip", RowState.RESTORED, candidate="dip", held_out_error=0.01, iterations=20, seconds=1.0
        )
        store.create(layout.row(image.id), rows_record([row]))


def write_images(folder: Path, number: int) -> None:
    """Different images of noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for each in range(number):
        pixels = random.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{each:07}.png")


def count_requests() -> Counter[str]:
    """Count the requests to stores from now on, by operation."""
    requests: Counter[str] = Counter()
    patiently = patient.PatientStore._patiently

    def counted(self: Any, operation: Any) -> Any:
        requests[operation.__qualname__.split(".")[1]] += 1
        return patiently(self, operation)

    patient.PatientStore._patiently = counted  # type: ignore[method-assign, assignment]
    return requests


def peak() -> str:
    """The most memory of this process so far."""
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--folder", help="where the images and the store are made; a folder of the system by default")
    parser.add_argument("--driven", type=int, help="how many images of each half are driven; all by default")
    options = parser.parse_args()
    number, half = options.images, options.images // 2
    driven = min(half, options.driven or half)
    requests = count_requests()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        write_images(Path(folder, "images"), number)
        place = str(Path(folder, "store"))
        store, layout = open_store(place), RunLayout("scale")
        config = Config.model_validate({"arms": ["dip"], "keep": {"fits": "none"}})
        facts = [("memory before", peak())]
        started = time.perf_counter()
        source = Source(str(Path(folder, "images")))
        plan = make_plan(store, config, source, run=layout.run, resolve=lambda config: RESOURCES, ahead=AHEAD)
        facts.append(("planned, s", f"{time.perf_counter() - started:.1f}"))
        facts.append(("to the first row, s", f"{drive(place, plan, started, driven, requests):.1f}"))
        facts.append((f"to {driven} rows, s", f"{time.perf_counter() - started:.1f}"))
        facts.append(("store requests an image", f"{requests.total() / driven:.1f}"))
        make_up(store, layout, half)
        started = time.perf_counter()
        plan = resume_plan(store, layout.run, resolve=lambda config: RESOURCES)
        facts.append(("resumed, to the next row, s", f"{drive(place, plan, started, driven, requests):.1f}"))
        facts.append((f"to {driven} rows more, s", f"{time.perf_counter() - started:.1f}"))
        facts.append(("store requests an image, resumed", f"{requests.total() / driven:.1f}"))
        make_up(store, layout, number)
        facts.append(("memory at most, before the report", peak()))
        started = time.perf_counter()
        rows = driver._write_tables(store, driver.read_run(store, layout.run))
        if len(rows) != number:
            raise RuntimeError(f"{len(rows)} rows of {number} images")
        facts.append(("tables and report, s", f"{time.perf_counter() - started:.1f}"))
        facts.append(("memory at most", peak()))
        sizes = {key: len(store.get(key)) / 2**20 for key in store.keys(layout.all_reports)}
        facts.append(("first page, MiB", f"{sizes.pop(layout.report):.2f}"))
        facts.append(("pages of lines, MiB", f"{sum(sizes.values()):.1f} in {len(sizes)}"))
    print(machine("cpu", 1), end="\n\n")
    print_table(["", f"{number} images"], facts)


if __name__ == "__main__":
    main()
