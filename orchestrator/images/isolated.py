"""Calls on untrusted bytes, in processes that may crash.

Decoders are C libraries. Bytes may crash them, unpack into more memory than the machine has, or keep them busy for
days. Here that costs one call and no other.
"""

import contextlib
import math
import os
import resource
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any, TypeVar

from orchestrator.resources.cpus import cpu_count

_MOST_PROCESSES = 8
_CALLS_WORTH_A_PROCESS = 4
_AHEAD = 4  # calls for each process
_STARTING = threading.Lock()
_Result = TypeVar("_Result")


def isolated_map(
    function: Callable[..., _Result], *arguments: Sequence[Any], memory: int, seconds: int
) -> Generator[_Result | None, None, None]:
    """Yield the function's result for each of the arguments, in their order; None if a call ended its process.

    Only a few calls are made before their results are taken. A process may take ``memory`` bytes more than it begins
    with (if the system shows how many these are), and a call may take so many ``seconds`` of a CPU. A call that takes
    more raises MemoryError or is ended.

    Raises:
        RuntimeError: no process can be started.
    """
    count = min(_MOST_PROCESSES, cpu_count(), math.ceil(len(arguments[0]) / _CALLS_WORTH_A_PROCESS))
    # Each process is an executor of its own, so that a dead process belongs to one call.
    idle: SimpleQueue[ProcessPoolExecutor | None] = SimpleQueue()

    def call(*values: Any) -> _Result | None:
        process = idle.get()
        try:
            process = process or _start(memory)
            return process.submit(_call, seconds, function, *values).result()
        except BrokenProcessPool:
            process = None
            return None
        finally:
            idle.put(process)

    for _ in range(count):
        idle.put(None)
    waiting: deque[Future[_Result | None]] = deque()
    try:
        with ThreadPoolExecutor(max(1, count)) as threads:
            try:
                for values in zip(*arguments, strict=True):
                    if len(waiting) == _AHEAD * count:
                        yield waiting.popleft().result()
                    waiting.append(threads.submit(call, *values))
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()
    finally:
        for _ in range(count):
            if (process := idle.get()) is not None:
                process.shutdown()


def _start(memory: int) -> ProcessPoolExecutor:
    # Spawned and not forked: a process forked while other threads hold locks may wait for those for ever.
    process = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        with _without_main():
            prepared = process.submit(_prepare, memory)
        prepared.result()
    except BrokenProcessPool as error:
        raise RuntimeError("no process can be started to decode images in") from error
    return process


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Let a process that is started here not import the main module, as processes that are spawned do.

    The main module may be a user's script, which would be run once more, up to its own call of this package.
    """
    with _STARTING:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def _end_with_parent() -> None:
    """End this process when the one that has started it is gone: killed, it cannot end what waits for its calls."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _prepare(memory: int) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the command reacts to Ctrl-C
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # the user must not see C libraries' messages
    with contextlib.suppress(OSError, ValueError):  # not every system shows or sets it
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _lower(resource.RLIMIT_AS, pages * resource.getpagesize() + memory)


def _call(seconds: int, function: Callable[..., _Result], *values: Any) -> _Result:
    _lower(resource.RLIMIT_CPU, int(time.process_time()) + seconds)
    return function(*values)


def _lower(kind: int, limit: int) -> None:
    """Set a limit of this process, which can be set again later; a stricter hard limit stays."""
    _, most = resource.getrlimit(kind)
    resource.setrlimit(kind, (limit if most == resource.RLIM_INFINITY else min(limit, most), most))
