"""An answer of the doctor's, and how a question is asked.

Every question is asked by itself: one that fails, or gets no answer in time, leaves the others alone.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from orchestrator.errors import OrchestratorError

DEADLINE_S = 20.0
"""For how long an answer is waited for; importing torch from a slow disk takes most of it."""
ASKED_S = 5.0
"""For how long a program or a service may take to answer, in seconds."""
INSTALL = "install what pyproject.toml lists: make install, or pip install ."


@dataclass(frozen=True)
class Check:
    """An answer: what was looked at, what was found and, where that will not do, what to do about it."""

    check: str
    found: str
    advice: str | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done."""
        return self.advice is None

    def to_dict(self) -> dict[str, Any]:
        """The answer for programs: check, ok, found, advice."""
        return {"check": self.check, "ok": self.ok, "found": self.found, "advice": self.advice}


def answers(name: str, question: Callable[[], Iterable[Check]], deadline_s: float = DEADLINE_S) -> Iterator[Check]:
    """The answers to a question and, where it fails or takes longer than so many seconds, that it does."""
    told: SimpleQueue[Check | None] = SimpleQueue()

    def ask() -> None:
        try:
            for check in question():
                told.put(check)
        except OrchestratorError as error:
            told.put(Check(name, str(error), "correct what it names"))
        except Exception as error:
            said = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            told.put(
                Check(name, said, INSTALL if isinstance(error, ImportError) else "this was not foreseen: report it")
            )
        finally:
            told.put(None)

    # A call into a driver or a network file system may never return; a daemon ends with the process all the same.
    threading.Thread(target=ask, name=f"doctor: {name}", daemon=True).start()
    end = time.monotonic() + deadline_s
    try:
        while (check := told.get(timeout=max(0, end - time.monotonic()))) is not None:
            yield check
    except Empty:
        yield Check(name, f"no answer within {deadline_s:g} s", "find out what hangs: a disk, a network or a driver")
