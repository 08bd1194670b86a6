"""A history: a run with its drivers, and everything that a seed lets happen to them.

For a while drivers are started (also beside each other), killed, stopped, suspended and cut off, and the store is slow,
loses answers and lists late. Then the faults end, and drivers that are started one after the other must finish the run.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import OrchestratorError, StoreUnavailableError, SupersededError, UserMistakeError
from orchestrator.plan.plan import Plan
from orchestrator.resources.share import Resources
from orchestrator.run.attempt import RunState
from orchestrator.run.claim import take
from orchestrator.run.context import RunContext
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord, read_run
from orchestrator.run.rows import read_rows
from orchestrator.schedule.ports import Share
from orchestrator.schedule.work import loop_of
from orchestrator.settings import Config
from orchestrator.store import PatientStore
from tests.orchestrator.schedule.world import arm, plan_of, settings
from tests.simulation.computing import computing_replaced
from tests.simulation.crew import SimulatedCrew, Troubles
from tests.simulation.kernel import Kernel, Process
from tests.simulation.laws import Laws
from tests.simulation.store import Objects, View

_SIZES: dict[str, Any] = {
    "cohort": {"first_rung": 100, "iterations": 200},
    "fit": {"iterations": 300, "block": 100, "checkpoint_s": 3},
    "score": {"candidates": 1},
}
RUNS: tuple[Config, ...] = (
    settings(arm("one", "dip", "dip-inpaint", full_fits=1), **_SIZES),
    settings(arm("one", "dip", "dip-inpaint", full_fits=2), arm("two", "dip", full_fits=1), **_SIZES),
    settings(arm("halved", halving="synchronous", full_fits=1), **_SIZES),
    settings(arm("one", "dip", "dip-inpaint", view="full"), **_SIZES),
)
_LAYOUT = RunLayout("run")
_FAULTS_S = 150.0
_DRIVERS_AFTER = 12


@dataclass(frozen=True)
class History:
    """What happened with a seed; ``mistakes`` are the laws that were broken, and code that broke."""

    seed: int
    mistakes: list[str]
    events: list[str]
    drivers: int
    fits: int
    seconds: float

    def __str__(self) -> str:
        return "\n".join([f"seed {self.seed}", *self.events, *self.mistakes])


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


class World:
    """The world of one history."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.kernel = Kernel()
        draw = self.chance.choice
        config = draw(RUNS)
        resources = config.resources.model_copy(update={"retries": draw((0, 0, 2))})
        self.plan: Plan = plan_of(config.model_copy(update={"resources": resources}), draw((1, 2, 3)))
        self.objects = Objects(
            self.kernel,
            self.chance,
            lag_s=draw((0.0, 0.0, 0.0, 5.0, 20.0)),
            loses=draw((0.0, 0.0, 0.01, 0.05)),
        )
        self.troubles = Troubles(draw((0.0, 0.1, 0.4)), 0.3, draw((0.0, 0.0, 0.2)), draw((0.0, 0.2)))
        self.calm = False
        self.laws = Laws(self.kernel, self.objects, _LAYOUT, self.plan.images)
        self.drivers: list[Process] = []

    # A driver, as `orchestrator.drive.driver.execute` is one.

    def store_of(self, process: Process, patience_s: float) -> PatientStore:
        """The store with the patience that the product has with it."""
        kernel = self.kernel
        return PatientStore(
            View(self.objects, process), patience_s, sleep=kernel.sleep, clock=kernel.clock, generator=self.chance
        )

    def _context_of(self, process: Process) -> RunContext:
        context = RunContext("simulated", "run", self.plan.config, simulate=False, device="cpu", threads=1)
        context.__dict__.update(store=self.store_of(process, 60.0), watcher=self.laws, process=process)
        return context

    def start_driver(self) -> Process:
        """Start a driver; it takes the run or is refused."""
        process = Process(f"driver {len(self.drivers) + 1}")
        self.drivers.append(process)
        crew = SimulatedCrew(self.kernel, self.chance, process, self._context_of, self.troubles)
        self.laws.crews[process] = crew

        def drive() -> None:
            store = self.store_of(process, 15.0)
            try:
                with take(store, _LAYOUT, {}, clock=self.kernel.clock, sleep=self.kernel.sleep) as claim:
                    self._drive(process, crew, claim)
            except (UserMistakeError, StoreUnavailableError) as error:
                self.kernel.tell(process.name, f"leaves: {error}")
            process.alive = False
            crew.kill()

        self.kernel.tell(process.name, "starts")
        self.kernel.spawn(process, drive)
        return process

    def _drive(self, process: Process, crew: SimulatedCrew, claim: Any) -> None:
        kernel, context = self.kernel, self._context_of(process)
        nothing: Any = _Nothing(lambda message: kernel.tell(process.name, message))
        try:
            share = Share(Resources(2, 1, "cpu", 0.0, 1e9))
            loop = loop_of(
                context,
                self.plan,
                share,
                listener=nothing,
                claim=claim,
                crew=crew,
                watch=nothing,
                gauges=nothing,
                joined=False,
            )
            loop.run(lambda: None)
            claim.check(now=True)
            rows = read_rows(context.store, _LAYOUT)
            if len({row.image for row in rows}) < len(self.plan.images) and not self.objects.lag_s:
                self.laws.broken(6, f"{process.name} leaves rows out of the table")
            claim.end(RunState.FINISHED)
        except SupersededError as error:
            kernel.tell(process.name, f"leaves: {error}")
        except OrchestratorError as error:
            kernel.tell(process.name, f"pauses: {error}")
            try:
                claim.end(RunState.INTERRUPTED, reason=str(error))
            except OrchestratorError:
                kernel.tell(process.name, "cannot record its end")

    # Faults.

    def _people(self) -> None:
        """Start drivers now and then, whether one is needed or not."""
        while not self.calm:
            self.start_driver()
            self.kernel.sleep(self.chance.expovariate(1 / 25))

    def _troublemaker(self) -> None:
        while not self.calm:
            self.kernel.sleep(self.chance.expovariate(1 / 12))
            alive = [driver for driver in self.drivers if driver.alive]
            if alive and not self.calm:
                fault = self.chance.choice(("kill", "stop", "suspend", "cut", "slow", "halt all"))
                self._strike(fault, self.chance.choice(alive), self.chance.expovariate(1 / 25))

    def _strike(self, fault: str, driver: Process, seconds: float) -> None:
        kernel, crew = self.kernel, self.laws.crews[driver]
        kernel.tell("faults", f"{fault} {driver.name} for {seconds:.1f} s")
        until = kernel.now + seconds
        if fault == "kill":
            driver.alive = False
            # Ray ends the others when it notices.
            kernel.sleep(self.chance.uniform(0, 5))
            crew.kill()
        elif fault in ("stop", "suspend", "halt all"):
            driver.stopped_until = max(driver.stopped_until, until)
            driver.lost_s += seconds if fault == "suspend" else 0.0
            if fault != "stop":
                for process in crew.processes:
                    process.stopped_until = max(process.stopped_until, until)
        elif fault == "cut":
            for process in (driver, *(crew.processes if self.chance.random() < 0.5 else ())):
                process.cut_until = max(process.cut_until, until)
        else:
            self.objects.slow_until = max(self.objects.slow_until, until)

    def run(self) -> None:
        """Let it happen."""
        laws, kernel = self.laws, self.kernel
        record = RunRecord("run", "2026-01-31T14:25:01+00:00", len(self.plan.images), 0, False, {}, {})
        self.objects.write(Process("submit"), _LAYOUT.record, record.to_json(), None, created=True)
        faults = Process("faults")
        kernel.spawn(faults, self._people)
        kernel.spawn(faults, self._troublemaker)
        kernel.run(_FAULTS_S, lambda: bool(kernel.mistakes))
        self.calm = True
        kernel.tell("faults", "end")
        self.objects.loses = self.objects.slow_until = 0.0
        self.troubles.crash = self.troubles.worker = self.troubles.session = 0.0
        for each in (*self.drivers, *(process for crew in laws.crews.values() for process in crew.processes)):
            each.stopped_until = min(each.stopped_until, kernel.now)
            each.cut_until = 0.0
        for _ in range(_DRIVERS_AFTER):
            kernel.run(kernel.now + 600, lambda: bool(kernel.mistakes) or not any(d.alive for d in self.drivers))
            if kernel.mistakes or self._state() is RunState.FINISHED:
                break
            self.start_driver()
        else:
            laws.broken(6, "the run is not finished")
        if not kernel.mistakes:
            laws.at_the_end(self.plan.arms)

    def _state(self) -> RunState:
        found: list[RunState] = []
        looker = Process("looker")
        self.kernel.spawn(looker, lambda: found.append(read_run(self.store_of(looker, 15.0), "run").state))
        self.kernel.run(self.kernel.now + 100, lambda: bool(found))
        return found[0]


def history_of(seed: int) -> History:
    """Let the history of a seed happen."""
    world = World(seed)
    with computing_replaced(world.kernel):
        world.run()
        world.kernel.close()
    kernel = world.kernel
    return History(seed, kernel.mistakes, kernel.events, len(world.drivers), world.laws.computed, kernel.now)
