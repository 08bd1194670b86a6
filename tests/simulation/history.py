"""A history: a run with its drivers, and everything that a seed lets happen to them.

For a while drivers are started (also beside each other), killed, stopped, suspended and cut off, somebody cancels the
run, and the store is slow, loses answers and lists late. Then the faults end, and drivers that are started one after
the other must finish the run.
"""

import random
from dataclasses import dataclass
from functools import cache
from typing import Any

from orchestrator.arms.chains import weights_seed
from orchestrator.arms.resolve import arms_of
from orchestrator.run.attempt import RunState
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.settings import Config
from tests.simulation.calm import differences, left_of
from tests.simulation.computing import computing_replaced
from tests.simulation.crew import Troubles
from tests.simulation.driving import LAYOUT, RUN, Drivers
from tests.simulation.kernel import Kernel, Process
from tests.simulation.laws import Laws
from tests.simulation.masks import Mask, Ticket
from tests.simulation.runs import POISONS, RUNS, poison_of, repeats, tickets_needed, upload
from tests.simulation.store import Held, Objects
from workers.names import Chain, Round

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


class World:
    """The world of one run.

    Args:
        chance: Decides everything that happens.
        config: The settings of the run.
        images: The names of its images.
        rejects: Whether a file among them is none.
        faults: Whether anything goes wrong.
    """

    def __init__(
        self, chance: random.Random, config: Config, images: list[str], *, rejects: bool, faults: bool
    ) -> None:
        self.chance, self.config = chance, config
        self.images = [upload(name).image for name in images]
        self.kernel = Kernel()
        draw = chance.choice
        self.objects = Objects(self.kernel, chance)
        self.troubles = Troubles()
        if faults:
            self.objects.lag_s = draw((0.0, 0.0, 0.0, 5.0, 20.0))
            self.objects.loses = draw((0.0, 0.0, 0.01, 0.05))
            self.troubles = Troubles(
                draw((0.0, 0.1, 0.4)), draw((0.3, 1.0)), draw((0.0, 0.0, 0.2)), draw((0.0, 0.2)), draw((4, 12, 40))
            )
        # Within how many operations of the store a driver dies, or is held up.
        self.dies = faults and draw((0, 8, 20, 60, 200))
        self.held_up = faults and draw((0, 0, 12, 25, 60, 200))
        self.calm = not faults
        self.laws = Laws(self.kernel, self.objects, LAYOUT, config, self.images)
        self.laws.gpu = faults and chance.random() < 0.3
        self.drivers = Drivers(
            self.kernel,
            chance,
            self.objects,
            self.laws,
            config=config,
            images=images,
            troubles=self.troubles,
            rejects=rejects,
        )
        self._leave_tickets()

    def _leave_tickets(self) -> None:
        """The tickets of another run that this one takes."""
        for source, chain, number in tickets_needed(self.config):
            found = Chain(chain.network, chain.method, chain.initialisation).round(number)
            key = RunLayout(str(self.config.lottery.tickets)).ticket(source, found)
            self.objects.held[key] = Held(_ticket(self.config, found), None, 0.0, 0.0)

    # Faults.

    def _start_driver(self) -> None:
        dies_at = self.chance.randint(1, self.dies) if self.dies and self.chance.random() < 0.7 else 0
        held_up_at = self.chance.randint(1, self.held_up) if self.held_up and self.chance.random() < 0.7 else 0
        self.drivers.start(dies_at=dies_at, held_up_at=held_up_at)

    def _people(self) -> None:
        """Start drivers now and then, whether one is needed or not."""
        while not self.calm:
            self._start_driver()
            self.kernel.sleep(self.chance.expovariate(1 / 25))

    def _troublemaker(self) -> None:
        faults = ("kill", "stop", "suspend", "cut", "slow", "halt all", "interrupt", "cancel", "calendar")
        while not self.calm:
            self.kernel.sleep(self.chance.expovariate(1 / 12))
            if self.drivers.alive and not self.calm:
                fault = self.chance.choice(faults)
                self._strike(fault, self.chance.choice(self.drivers.alive), self.chance.expovariate(1 / 25))

    def _strike(self, fault: str, driver: Process, seconds: float) -> None:
        kernel, crew = self.kernel, self.laws.crews[driver]
        kernel.tell("faults", f"{fault} {driver.name} for {seconds:.1f} s")
        until = kernel.now + seconds
        if fault == "kill":
            driver.alive, driver.killed = False, True
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
        elif fault == "interrupt":
            driver.interrupted = True
        elif fault == "cancel":
            self.drivers.cancel(self.chance.choice(("now", "drain")))
        elif fault == "calendar":
            driver.wall_s = self.chance.choice((-1, 1)) * self.chance.choice((600.0, 86400.0))
        else:
            self.objects.slow_until = max(self.objects.slow_until, until)

    def _faults_end(self) -> None:
        self.calm = True
        self.kernel.tell("faults", "end")
        self.objects.loses = self.objects.slow_until = 0.0
        self.troubles.crash = self.troubles.worker = self.troubles.session = 0.0
        for each in (*self.drivers.all, *(it for crew in self.laws.crews.values() for it in crew.processes)):
            each.stopped_until = min(each.stopped_until, self.kernel.now)
            each.cut_until, each.held_up_at = 0.0, 0
            if not any(poison in each.name for poison in POISONS):
                each.dies_at = 0

    def run(self) -> None:
        """Let it happen."""
        kernel = self.kernel
        if not self.calm:
            faults = Process("faults")
            kernel.spawn(faults, self._people)
            kernel.spawn(faults, self._troublemaker)
            kernel.run(_FAULTS_S, lambda: bool(kernel.mistakes))
            self._faults_end()
        self._finish()
        if not kernel.mistakes:
            self.laws.at_the_end([arm.name for arm in arms_of(self.config)])

    def _finish(self) -> None:
        kernel = self.kernel
        for _ in range(_DRIVERS_AFTER):
            kernel.run(kernel.now + 900, lambda: bool(kernel.mistakes) or not self.drivers.alive)
            if kernel.mistakes or self._state() is RunState.FINISHED:
                return
            self.drivers.start()
        self.laws.broken(6, "the run is not finished")

    def _state(self) -> RunState | None:
        found: list[RunState | None] = []
        looker = Process("looker")

        def look() -> None:
            store = self.drivers.store_of(looker, 15.0)
            found.append(read_run(store, RUN).state if store.exists(LAYOUT.record) else None)

        self.kernel.spawn(looker, look)
        self.kernel.run(self.kernel.now + 100, lambda: bool(found))
        return found[0]

    def left(self) -> dict[str, dict[str, Any]]:
        """What there is in the end of each image."""
        return {image.id: left_of(self.objects.held, image, gpu=self.laws.gpu) for image in self.images}


def _ticket(config: Config, name: Round) -> bytes:
    depth = config.network.input_depth(3)
    where = (name.network, 3, config.network.width, depth, weights_seed(config, name.chain))
    of = (name.chain.method, name.chain.initialisation, name.number, ("image9",), "denoise", "observed", 0)
    return Ticket(*where, *of, masks={"all": Mask(f"found elsewhere {name}")}).to_bytes()


def _happen(world: World) -> None:
    with computing_replaced(world.kernel, world.drivers.replacements()):
        world.run()
        world.kernel.close()


@cache
def _calm(run: int, images: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What is left of each image where nothing goes wrong."""
    world = World(random.Random(0), RUNS[run], list(images), rejects=False, faults=False)
    _happen(world)
    assert not world.kernel.mistakes, "\n".join([*world.kernel.events, *world.kernel.mistakes])
    return world.left()


def _compare(world: World, run: int, images: list[str]) -> None:
    """Law 8: the results are those of the calm run."""
    together = RUNS[run].lottery.together
    every = ("image0", "image1", "image2", *(f"image3-{poison}" for poison in POISONS if poison != "changed"))
    calm, found = _calm(run, tuple(images) if together else every), world.left()
    for image in world.images:
        if image.id in world.laws.spoiled or poison_of(image) == "changed":
            continue
        expected = calm[image.id]
        if world.laws.gpu:
            expected = {key: None if "/restored/" in key else each for key, each in expected.items()}
        if different := differences(found[image.id], expected):
            key = different[0]
            world.laws.broken(8, f"{different}: {found[image.id].get(key)!r}, and in a calm run {expected.get(key)!r}")


def history_of(seed: int) -> History:
    """Let the history of a seed happen."""
    chance = random.Random(seed)
    run = chance.randrange(len(RUNS))
    config = RUNS[run]
    config = config.model_copy(
        update={
            "resources": config.resources.model_copy(update={"retries": chance.choice((0, 0, 2))}),
            "keep": config.keep.model_copy(
                update={"fits": chance.choice(("full", "none", "all")), "report_images": chance.choice((0, 0, 0, 50))}
            ),
        }
    )
    images = [f"image{number}" for number in range(chance.choice((1, 2, 3)))]
    if chance.random() < 0.4 and not config.lottery.together:
        images.append(f"image3-{chance.choice(list(POISONS))}")
    world = World(chance, config, images, rejects=chance.random() < 0.2, faults=True)
    _happen(world)
    if not world.kernel.mistakes and repeats(config):
        _compare(world, run, images)
    kernel = world.kernel
    return History(seed, kernel.mistakes, kernel.events, len(world.drivers.all), world.laws.computed, kernel.now)
