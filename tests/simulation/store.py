"""A store whose operations take time, fail, and lose their answers; its listings may lag.

An operation gives way before and after its effect. So a process may be killed, stopped or cut off on either side of it.
"""

import atexit
import contextlib
import hashlib
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import NotFoundError, StoreUnavailableError
from tests.simulation.kernel import Kernel, Process

Result = TypeVar("Result")


@dataclass
class Held:
    """An object: its content, who created it (a token), and since when listings show it."""

    data: bytes
    token: str | None
    written: float
    listed: float


@dataclass
class Objects:
    """What the store holds, and the faults of the service.

    Attributes:
        lag_s: Listings show a change up to so many seconds late.
        slow_until: Until then every operation takes seconds.
        loses: The share of operations whose answer is lost.
    """

    kernel: Kernel
    chance: random.Random
    lag_s: float = 0.0
    slow_until: float = 0.0
    loses: float = 0.0
    held: dict[str, Held] = field(default_factory=dict)
    ghosts: dict[str, float] = field(default_factory=dict)
    on_write: Callable[[Process, str, bytes, bool], None] = lambda process, key, data, created: None
    on_delete: Callable[[Process, str], None] = lambda process, key: None

    def write(self, process: Process, key: str, data: bytes, token: str | None, *, created: bool) -> None:
        """Write an object."""
        now, before = self.kernel.now, self.held.get(key)
        listed = before.listed if before else now + self.chance.random() * self.lag_s
        self.held[key] = Held(data, token, now, listed)
        self.ghosts.pop(key, None)
        self.on_write(process, key, data, created)

    def delete(self, process: Process, key: str) -> None:
        """Delete an object, if it is there."""
        if key in self.held:
            self.on_delete(process, key)
            del self.held[key]
            self.ghosts[key] = self.kernel.now + self.chance.random() * self.lag_s

    def keys(self, prefix: str) -> list[str]:
        """The keys that a listing shows."""
        now = self.kernel.now
        there = [key for key, held in self.held.items() if key.startswith(f"{prefix}/") and held.listed <= now]
        gone = [key for key, until in self.ghosts.items() if key.startswith(f"{prefix}/") and until > now]
        return sorted({*there, *gone})


class View:
    """The store as one process sees it."""

    url = "simulated"

    def __init__(self, objects: Objects, process: Process) -> None:
        self._objects, self._process = objects, process
        self._kernel, self._chance = objects.kernel, objects.chance

    def hold(self, marker: bytes) -> None:
        """The store never vanishes."""

    def _do(self, effect: Callable[[], Result]) -> Result:
        process, chance = self._process, self._chance
        process.asked = (self._kernel.now, process.asked[0])
        process.operations += 1
        dies = 0 < process.dies_at <= process.operations
        slow = self._objects.slow_until > self._kernel.now
        self._kernel.sleep(chance.uniform(1, 12) if slow else chance.uniform(0.001, 0.05))
        if dies and chance.random() < 0.5:
            self._kernel.die()
        if process.cut_until > self._kernel.now:
            # The request may have arrived all the same.
            if chance.random() < 0.3:
                self._try(effect)
            self._kernel.sleep(min(5.0, process.cut_until - self._kernel.now))
            raise StoreUnavailableError("no route to the store")
        if chance.random() < self._objects.loses:
            self._try(effect)
            self._kernel.sleep(2.0)
            raise StoreUnavailableError("the answer was lost")
        result = effect()
        if dies:
            self._kernel.die()
        if process.operations == process.held_up_at:
            held_up_s = chance.expovariate(1 / 40)
            self._kernel.tell(process.name, f"is held up in operation {process.operations} for {held_up_s:.1f} s")
            process.stopped_until = max(process.stopped_until, self._kernel.now + held_up_s)
            self._kernel.sleep(0.0)
        if chance.random() < 0.5:
            self._kernel.sleep(chance.uniform(1, 12) if slow else chance.uniform(0.001, 0.05))
        return result

    @staticmethod
    def _try(effect: Callable[[], object]) -> None:
        with contextlib.suppress(NotFoundError):
            effect()

    def show(self, key: str) -> str:
        return key

    def put(self, key: str, data: bytes) -> None:
        self._do(lambda: self._objects.write(self._process, key, data, None, created=False))

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        if key.endswith("holder.json") and key != self._process.judged[0]:
            self._process.judged = (key, self._kernel.clock() - self._kernel.current().looked)

        def effect() -> bool:
            held = self._objects.held.get(key)
            if held is None:
                self._objects.write(self._process, key, data, token, created=True)
                return True
            return token is not None and held.token == token

        return self._do(effect)

    def get(self, key: str) -> bytes:
        def effect() -> bytes:
            if key.endswith("state.json"):
                self._process.looked = self._kernel.now
                self._kernel.current().looked = self._kernel.clock()
            if key not in self._objects.held:
                raise NotFoundError(f"the store holds no {key}")
            return self._objects.held[key].data

        return self._do(effect)

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        return map(self.get, keys)

    def exists(self, key: str) -> bool:
        def effect() -> bool:
            if key.endswith("holder.json"):
                self._kernel.current().confirmed = self._kernel.now
            return key in self._objects.held

        return self._do(effect)

    def checksum(self, key: str) -> str | None:
        held = self._do(lambda: self._objects.held.get(key))
        return None if held is None else hashlib.sha256(held.data).hexdigest()

    def delete(self, key: str) -> None:
        self._do(lambda: self._objects.delete(self._process, key))

    def delete_all(self, prefix: str) -> None:
        for key in self._do(lambda: self._objects.keys(prefix)):
            self._do(lambda key=key: self._objects.delete(self._process, key))  # type: ignore[misc]

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(self._do(lambda: self._objects.keys(prefix)))

    def children(self, prefix: str) -> list[str]:
        return sorted({key.removeprefix(f"{prefix}/").split("/")[0] for key in self.keys(prefix)})

    def local_path(self, key: str) -> Path:
        data = self.get(key)
        path = _folder() / hashlib.sha256(data).hexdigest()
        if not path.exists():
            path.write_bytes(data)
        return path

    def sweep(self, prefix: str, *, dry_run: bool = False) -> int:
        return self._do(lambda: 0)


@cache
def _folder() -> Path:
    """Where this machine keeps copies; they are equal in all histories."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    return Path(folder.name)
