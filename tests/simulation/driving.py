"""Drivers and people in the simulated world: the product's own plans, `execute` and `cancel_run`."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any

from orchestrator.drive.driver import execute
from orchestrator.errors import (
    OrchestratorError,
    RunFailedError,
    StoreUnavailableError,
    SupersededError,
    UserMistakeError,
)
from orchestrator.ingest.folder import Upload
from orchestrator.plan.make import make_plan, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.resources.share import Resources
from orchestrator.run.attempt import Stop
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import Rejected
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import cancel_run
from orchestrator.schedule.ports import Share
from orchestrator.schedule.work import loop_of
from orchestrator.settings import Config
from orchestrator.store import PatientStore
from tests.simulation.crew import SimulatedCrew, Troubles
from tests.simulation.kernel import Kernel, Process
from tests.simulation.laws import Laws
from tests.simulation.runs import REJECTED, SOURCE, upload
from tests.simulation.store import Objects, View

RUN = "run"
LAYOUT = RunLayout(RUN)
RESOURCES = Resources(2, 1, "cpu", 0.0, 1e9)


class _Nothing:
    """Stands for listeners, gauges, and the watch over machines."""

    found: tuple[Any, ...] = ()
    usage: dict[str, float] = {}  # noqa: RUF012 - nobody changes it

    def __init__(self, note: Callable[[str], None] = lambda message: None) -> None:
        self.note = note

    def update(self, stages: object) -> None:
        pass

    def show(self, *what: object) -> None:
        pass

    def look(self, gpus_in_use: float) -> bool:
        return False

    def wait(self, seconds: float) -> None:
        pass


class Looked:
    """The files of a folder, of which only the first was looked at before the run begins."""

    def __init__(self, uploads: Sequence[Upload], rejected: Sequence[Rejected]) -> None:
        self._files: list[Upload | Rejected] = [*uploads, *rejected]
        self.beside: list[str] = []

    @property
    def left(self) -> int:
        """How many files have not been looked at."""
        return len(self._files)

    def ahead(self, number: int | None = None) -> tuple[list[Upload], list[Rejected]]:
        """The first image, or all."""
        uploads = [each for each in self._files if isinstance(each, Upload)]
        if number is None:
            rejected = [each for each in self._files if isinstance(each, Rejected)]
            self._files = []
            return uploads, rejected
        self._files.remove(uploads[0])
        return uploads[:1], []

    def __iter__(self) -> "Looked":
        return self

    def __next__(self) -> Upload | Rejected:
        if not self._files:
            raise StopIteration
        return self._files.pop(0)

    def close(self) -> None:
        """Nothing is open."""


class Drivers:
    """Starts drivers of a run, and has all that were started.

    Args:
        kernel, chance, objects, laws: The world.
        config: The settings of the run.
        images: The names of its images.
        troubles: What happens to the processes of the drivers.
        rejects: Whether a file among the images is none.
    """

    def __init__(
        self,
        kernel: Kernel,
        chance: random.Random,
        objects: Objects,
        laws: Laws,
        *,
        config: Config,
        images: list[str],
        troubles: Troubles,
        rejects: bool,
    ) -> None:
        self._kernel, self._chance, self._objects, self._laws = kernel, chance, objects, laws
        self._config, self._troubles = config, troubles
        self._files = [upload(name) for name in images], [REJECTED] * rejects
        self.all: list[Process] = []

    def store_of(self, process: Process, patience_s: float) -> PatientStore:
        """The store with the patience that the product has with it."""
        kernel = self._kernel
        return PatientStore(
            View(self._objects, process), patience_s, sleep=kernel.sleep, clock=kernel.clock, generator=self._chance
        )

    def _context_of(self, process: Process) -> RunContext:
        context = RunContext("simulated", RUN, self._config, simulate=False, device="cpu", threads=1)
        context.__dict__.update(store=self.store_of(process, 60.0), watcher=self._laws, process=process)
        return context

    @property
    def alive(self) -> list[Process]:
        """Those that have not ended."""
        return [driver for driver in self.all if driver.alive]

    def start(self, *, dies_at: int = 0, held_up_at: int = 0) -> Process:
        """Start a driver; it takes the run or is refused."""
        process = Process(f"driver {len(self.all) + 1}", dies_at=dies_at, held_up_at=held_up_at)
        self.all.append(process)
        crew = SimulatedCrew(self._kernel, self._chance, process, self._config, self._context_of, self._troubles)
        self._laws.watch(process, crew)

        def buried() -> None:
            # Ray ends the others when it notices.
            self._kernel.spawn(Process("faults"), lambda: (self._kernel.sleep(self._chance.uniform(0, 5)), crew.kill()))

        def drive() -> None:
            self._drive(process)
            process.alive = False
            crew.kill()
            self._laws.on_end(process)

        process.on_death = buried
        self._kernel.tell(process.name, "starts")
        self._kernel.spawn(process, drive)
        return process

    def _plan(self, store: PatientStore) -> Plan:
        """The plan of `submit --run` where there is no run yet, else of `resume`."""
        if store.exists(LAYOUT.record):
            return resume_plan(store, RUN, source=SOURCE, resolve=lambda config: RESOURCES, ahead=1)
        return make_plan(store, self._config, SOURCE, run=RUN, resolve=lambda config: RESOURCES, ahead=1)

    def _drive(self, process: Process) -> None:
        tell = self._kernel.tell
        listener: Any = _Nothing(lambda message: tell(process.name, message))
        store = self.store_of(process, 15.0)
        try:
            execute(store, self._plan(store), listener, joined=True)
        except (UserMistakeError, SupersededError) as error:
            tell(process.name, f"leaves: {error}")
        except RunFailedError as error:
            self._laws.broken(0, f"{process.name} fails: {error}: {error.__cause__!r}")
        except KeyboardInterrupt:
            tell(process.name, "is stopped by Ctrl-C")
        except OrchestratorError as error:
            tell(process.name, f"pauses: {error}")
            if not isinstance(error, StoreUnavailableError) and "cancelled" not in str(error):
                self._laws.broken(0, f"{process.name} meets {error!r}")
        else:
            tell(process.name, "has finished the run")

    def replacements(self) -> dict[str, Any]:
        """What `execute` uses of Ray, of the machine and of the folder of images, by what it replaces."""
        kernel, laws = self._kernel, self._laws

        def context(url: str, run: str, config: Config, *_: object) -> RunContext:
            return self._context_of(kernel.current().process)

        def work(context: RunContext, plan: Plan, resources: Resources, listener: Any, claim: Any, **how: Any) -> None:
            nothing: Any = _Nothing()
            loop_of(
                context,
                plan,
                Share(resources),
                listener=listener,
                claim=claim,
                crew=laws.crews[kernel.current().process],
                watch=nothing,
                gauges=nothing,
                joined=False,
                arrivals=how.get("arrivals"),
            ).run(how["check_signals"])

        @contextmanager
        def interruptible() -> Iterator[Callable[[], None]]:
            process = kernel.current().process

            def check() -> None:
                if process.interrupted:
                    raise KeyboardInterrupt

            yield check

        return {
            "orchestrator.drive.driver.RunContext": context,
            "orchestrator.drive.driver.work": work,
            "orchestrator.drive.driver.interruptible": interruptible,
            "orchestrator.drive.driver.machine_facts": lambda resources: {"cpu": "simulated", "device": "cpu"},
            "orchestrator.drive.driver.code_version": str,
            "orchestrator.drive.inputs.too_large": lambda config, images, resources: {},
            "orchestrator.plan.make.too_large": lambda config, images, resources: {},
            "orchestrator.plan.make.Looking": lambda *_, **__: Looked(*self._files),
            "orchestrator.drive.driver.Path": lambda text: SimpleNamespace(
                expanduser=lambda: SimpleNamespace(absolute=lambda: f"/{text}")
            ),
        }

    def cancel(self, stop: Stop) -> None:
        """Let somebody cancel the run."""
        process = Process(f"cancel {stop}")

        def code() -> None:
            with suppress(UserMistakeError, StoreUnavailableError):
                cancel_run(self.store_of(process, 15.0), RUN, stop)
            process.alive = False

        self._kernel.tell(process.name, "asks")
        self._kernel.spawn(process, code)
