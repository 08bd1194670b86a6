import subprocess
import sys

import pytest

from orchestrator.errors import (
    DamagedError,
    FitOutOfMemoryError,
    NewerFormatError,
    NodeLeavingError,
    StoreError,
    StoreUnavailableError,
)
from orchestrator.schedule.crashes import (
    MACHINES_THAT_MAY_BE_LOST,
    Crash,
    GiveUp,
    History,
    Retry,
    crash_of,
    decide,
)

HEAD = "Failure # 1 (occurred at 2026-11-21_06-38-25)\n"
# Ray 2.60's messages for an actor whose process was killed, and for one whose machine was.
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly
 exits with a connection error code 2. End of file.
"""
NODE_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor died because its node has died. Node Id: 0aa4153a
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats
"""
UNAVAILABLE = (
    "The actor a7d6 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code:"
    " 14. The task may or may not have been executed on the actor.\n"
)
LOW = "Task was killed due to the node running low on memory.\nMemory on the node was 23 GB / 24 GB.\n"


def test_a_fit_s_own_crashes_are_counted_and_forgiven_a_few_times() -> None:
    crash = Crash("worker", "ValueError: no")
    assert decide(crash, History(), alone=False, retries=1) == Retry(History(crashes=1))
    assert decide(crash, History(crashes=1), alone=False, retries=1) == GiveUp(History(crashes=2))
    assert decide(crash, History(), alone=False, retries=0) == GiveUp(History(crashes=1))


def test_a_lost_machine_is_no_fault_of_a_fit_but_not_for_ever() -> None:
    lost = Crash("node", "its machine was lost")
    most = MACHINES_THAT_MAY_BE_LOST
    assert decide(lost, History(crashes=9, losses=most - 1), alone=False, retries=0) == Retry(History(9, most))
    assert decide(lost, History(losses=most), alone=True, retries=0) == GiveUp(History(losses=most + 1))


def test_a_fit_that_ran_out_of_memory_is_tried_once_more_alone() -> None:
    low = Crash("memory", "out of memory")
    assert decide(low, History(1, 2), alone=False, retries=0) == Retry(History(1, 2), alone=True)
    assert decide(low, History(1, 2), alone=True, retries=9) == GiveUp(History(1, 2))


def test_trouble_of_the_store_ends_the_run_and_no_fit() -> None:
    with pytest.raises(StoreUnavailableError, match="away"):
        decide(Crash("store unavailable", "away"), History(), alone=False, retries=2)
    with pytest.raises(StoreError, match="damaged"):
        decide(Crash("store", "damaged"), History(), alone=False, retries=2)


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (StoreError, "store"),
        (DamagedError, "store"),
        (NewerFormatError, "store"),
        (StoreUnavailableError, "store unavailable"),
        (FitOutOfMemoryError, "memory"),
        (NodeLeavingError, "node"),
    ],
)
def test_errors_of_our_own_are_known_by_their_names(kind: type[Exception], cause: str) -> None:
    # The end of a traceback as Python writes it, in a process of its own.
    code = f"from orchestrator.errors import {kind.__name__}\nraise {kind.__name__}('what: happened')"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert crash_of(HEAD + told.stderr) == Crash(cause, "what: happened")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "cause", "reason"),
    [
        (DIED, "worker", "its worker process died"),
        ("", "worker", "its worker process died"),
        (NODE_DIED, "node", "its machine was lost"),
        (UNAVAILABLE, "node", "its machine was lost"),
        (LOW, "memory", "ran low on memory"),
        ("Traceback ...\n\nValueError: no", "worker", "ValueError: no"),
        ("Traceback ...\nRuntimeError: CUDA error: device-side assert triggered", "worker", "device-side assert"),
        ("x" * 1000, "worker", "x" * 300),
    ],
)
def test_what_ray_saw_is_told_apart(text: str, cause: str, reason: str) -> None:
    crash = crash_of(HEAD + text if text else "")
    assert crash.cause == cause
    assert reason in crash.reason
    assert len(crash.reason) <= 300
    assert "\n" not in crash.reason
