"""The doctor's answers, and how its questions are asked.

Every question is asked on its own: if one fails or gets no answer in time, the others are not affected.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.errors import OrchestratorError

DEADLINE_S = 20.0
"""How many seconds an answer may take; importing torch from a slow disk takes most of them."""
ASKED_S = 5.0
"""How many seconds a program or a service may take to answer."""
INSTALL = "install what pyproject.toml lists: make install, or pip install ."


@dataclass(frozen=True)
class Check:
    """An answer: the subject that was checked, what was found, and if that is a problem, advice."""

    check: str
    found: str
    advice: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the user need not do anything."""
        return self.advice is None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer for programs: check, ok, found, advice."""
        return {"check": self.check, "ok": self.ok, "found": self.found, "advice": self.advice}


def answers(name: str, question: Callable[[], Iterable[Check]], deadline_s: float = DEADLINE_S) -> Iterator[Check]:
    """Yield the answers to a question; if it fails or takes longer than so many seconds, yield that as an answer."""
    queue: SimpleQueue[Check | None] = SimpleQueue()

    def ask() -> None:
        try:
            for check in question():
                queue.put(check)
        except OrchestratorError as error:
            queue.put(Check(name, str(error), "correct what it names"))
        except Exception as error:
            found = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            advice = INSTALL if isinstance(error, ImportError) else "this error is unexpected: report it"
            queue.put(Check(name, found, advice))
        finally:
            queue.put(None)

    # A call into a driver or a network file system may never return, but a daemon thread ends with the process.
    threading.Thread(target=ask, name=f"doctor: {name}", daemon=True).start()
    end = time.monotonic() + deadline_s
    try:
        while (check := queue.get(timeout=max(0, end - time.monotonic()))) is not None:
            yield check
    except Empty:
        yield Check(name, f"no answer within {deadline_s:g} s", "find out what hangs: a disk, a network or a driver")
