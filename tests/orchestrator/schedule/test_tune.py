import subprocess
import sys

import pytest

from orchestrator.errors import (
    DamagedError,
    FitOutOfMemoryError,
    NodeLeavingError,
    StoreError,
    StoreUnavailableError,
)
from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.schedule.queue import Crash
from orchestrator.schedule.tune import SessionSpec, crash_of
from workers.names import PriorName

JOB = FitJob(InputImage("a.png", "a-1", "a-1.png", None, "a.png", 64, 64, 3), "crop", PriorName("0-0"))
HEAD = "Failure # 1 (occurred at 2026-11-21_06-38-25)\n"
# What Ray 2.60 writes of an actor whose process was killed, and of one whose machine was.
DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker unexpectedly
 exits with a connection error code 2. End of file.
"""
NODE_DIED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor died because its node has died. Node Id: 0aa4153a
\tthe actor's node was terminated unexpectedly: health check failed due to missing too many heartbeats
"""
UNAVAILABLE = (
    "The actor a7d6 is unavailable: The actor is temporarily unavailable: RpcError: RPC error: Socket closed rpc_code: 14."
    " The task may or may not have been executed on the actor.\n"
)
LOW = "Task was killed due to the node running low on memory.\nMemory on the node was 23 GB / 24 GB.\n"


@pytest.mark.parametrize(
    ("kind", "cause"),
    [
        (StoreError, "store"),
        (DamagedError, "store"),
        (StoreUnavailableError, "store unavailable"),
        (FitOutOfMemoryError, "memory"),
        (NodeLeavingError, "node"),
    ],
)
def test_errors_of_our_own_are_known_by_their_names(kind: type[Exception], cause: str) -> None:
    # As Python writes the end of a traceback, in a process of its own.
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


@pytest.mark.parametrize(
    ("gpus", "alone", "resources"),
    [
        (0.0, False, {"cpu": 2, "gpu": 0.0}),
        (0.0, True, {"cpu": 8, "gpu": 0.0}),
        (0.25, False, {"cpu": 2, "gpu": 0.25}),
        (0.25, True, {"cpu": 2, "gpu": 1.0}),
    ],
)
def test_a_fit_that_must_be_alone_reserves_a_gpu_or_all_cpus(
    gpus: float, alone: bool, resources: dict[str, float]
) -> None:
    spec = SessionSpec(trials=400, at_once=8, cpus=2)
    assert spec.resources(FitJob(JOB.image, "crop", PriorName("0-0"), gpus=gpus, alone=alone), all_cpus=8) == resources
