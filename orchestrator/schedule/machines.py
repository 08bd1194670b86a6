"""The machines of the Ray at hand: their resources, whether they can work on the run, and their hours."""

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import OrchestratorError, StoreUnavailableError, UserMistakeError
from orchestrator.resources.share import Machine
from orchestrator.run.context import RunContext
from orchestrator.run.versions import code_version

LOOK_EVERY_S = 5.0
_RAY_UPS_OWN = "~/ray_bootstrap_config.yaml"
"""`ray up` leaves the settings of the head's autoscaler here."""
_ASKED_S = 10.0


@dataclass(frozen=True)
class Found:
    """A machine of the Ray at hand."""

    node: str
    address: str
    machine: Machine


def machines_there() -> list[Found]:
    """List all machines that are alive, with the resources that they were started with; GPU memory is not known yet."""
    return [
        Found(
            node["NodeID"],
            node["NodeManagerAddress"],
            Machine(
                int(node["Resources"].get("CPU", 0)),
                int(node["Resources"].get("memory", 0)),
                int(node["Resources"].get("GPU", 0)),
            ),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def gpus_may_come() -> bool:
    """Whether the autoscaler of `ray up` on this machine may start machines with GPUs; other autoscalers are
    unknown."""
    try:
        known = yaml.safe_load(Path(_RAY_UPS_OWN).expanduser().read_text(encoding="utf-8"))
        types = known["available_node_types"].values()
        return any(kind.get("resources", {}).get("GPU", 0) and kind.get("max_workers") != 0 for kind in types)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError):
        return False


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def gpu_memory() -> int:
    """Return the memory in bytes of the smallest GPU of the machine that this task runs on; 0 if it is unknown.

    The GPU driver's tool is asked, because torch would keep hundreds of megabytes of the GPU for the question.
    """
    program = shutil.which("nvidia-smi")
    if program is not None:
        command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
        with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=_ASKED_S)  # noqa: S603
            return min(int(line) for line in done.stdout.split()) * 2**20
    return 0


def on(task: Any, node: str) -> Any:
    """Bind a task to a machine: it runs there or not at all."""
    return task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))


def with_gpu_memory(found: Sequence[Found]) -> list[Machine]:
    """Return the machines with the memory of their GPUs."""
    asked = {each.node: on(gpu_memory, each.node).remote() for each in found if each.machine.gpus}
    memory: dict[str, int] = {}
    for node, reference in asked.items():
        # The plan does not count on the GPUs of a machine that leaves while it is asked.
        with contextlib.suppress(RayError):
            memory[node] = ray.get(reference, timeout=_ASKED_S + LOOK_EVERY_S)
    return [
        Machine(each.machine.cpus, each.machine.memory, each.machine.gpus, memory.get(each.node, 0)) for each in found
    ]


@ray.remote(num_cpus=0, max_retries=2)  # type: ignore[untyped-decorator]
def what_is_wrong(context: RunContext) -> str | None:
    """Return why the machine that this task runs on cannot work on a run, or None.

    The machine must have the driver's code and see the driver's store.
    """
    here = code_version()
    if here != context.code:
        return f"has {here}, and the driver {context.code}; all machines need the same (docs/clusters.md)"
    try:
        found = context.store.exists(context.layout.record)
    except StoreUnavailableError:
        raise
    except OrchestratorError as error:
        return f"cannot use the store: {error}"
    if not found:
        return (
            f"finds no run {context.run} in the store {context.store_url}: a folder must be one that all machines share"
        )
    return None


class Watch:
    """Watches the machines while a run goes on: it examines new ones and counts the hours of all.

    Args:
        context: The run.
        trusted: Machines that need not be examined.
        there: Lists the machines; tests pass another.
        clock: Returns the time in seconds.
    """

    def __init__(
        self,
        context: RunContext,
        trusted: Iterable[str] = (),
        there: Callable[[], list[Found]] = machines_there,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._context, self._there, self._clock = context, there, clock
        self._known: set[str] = set(trusted)
        self._asked: dict[Any, Found] = {}
        self._looked: float | None = None
        self._hours = {"machine_hours": 0.0, "cpu_hours": 0.0, "gpu_hours": 0.0, "fit_gpu_hours": 0.0}
        self.found: list[Found] = []

    @property
    def usage(self) -> dict[str, float]:
        """The hours so far of machines, of their CPUs, of their GPUs, and of GPUs that fits had reserved."""
        return dict(self._hours)

    def look(self, gpus_in_use: float = 0.0) -> bool:
        """Look for changes if it is time to; return whether it was.

        Raises:
            UserMistakeError: a machine cannot work on this run; the message says which one and why.
        """
        now = self._clock()
        if self._looked is not None:
            if now - self._looked < LOOK_EVERY_S:
                return False
            hours = (now - self._looked) / 3600
            machines = [each.machine for each in self.found]
            self._hours["machine_hours"] += hours * len(machines)
            self._hours["cpu_hours"] += hours * sum(machine.cpus for machine in machines)
            self._hours["gpu_hours"] += hours * sum(machine.gpus for machine in machines)
            self._hours["fit_gpu_hours"] += hours * gpus_in_use
        self._looked = now
        self.found = self._there()
        for each in self.found:
            if each.node not in self._known:
                self._known.add(each.node)
                self._asked[on(what_is_wrong, each.node).remote(self._context)] = each
        self._receive()
        return True

    def wait(self, seconds: float) -> None:
        """Wait at most so many seconds for the machines under examination; `look` receives later answers."""
        end = self._clock() + seconds
        while self._asked and self._clock() < end:
            ray.wait(list(self._asked), timeout=max(0.0, end - self._clock()))
            self._receive()

    def _receive(self) -> None:
        if not self._asked:
            return
        answered, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
        for reference in answered:
            machine = self._asked.pop(reference)
            try:
                wrong = ray.get(reference)
            except StoreUnavailableError as error:
                # An unavailable store pauses the run, whichever machine finds it so.
                reason = " ".join(str(getattr(error, "cause", error)).split())
                raise StoreUnavailableError(f"the machine {machine.address}: {reason}") from None
            except RayError as error:
                # A machine that is gone needs no examination. If its workers cannot even start, the fits will fail.
                wrong = _unless_gone(error)
            if wrong is not None:
                raise UserMistakeError(f"the machine {machine.address} {wrong}")


def _unless_gone(error: RayError) -> str | None:
    if not isinstance(error, RayTaskError):
        return None
    # The machine lives but could not run this task. Only the text of Ray's error shows that the project is missing or
    # another version.
    words = re.search(r"No module named '[^']+'|cannot import name '[^']+'|Can't get attribute '[^']+'", str(error))
    return f"cannot run the project's code: {words[0] if words else str(error).strip().splitlines()[-1][:300]}"


def autoscaler_says() -> list[str]:
    """List what the autoscaler is about to do and what it could not do, one line each; empty without an autoscaler."""
    # This interface of Ray's is young. If it fails, only these lines are missing from the status.
    try:
        from ray.autoscaler.v2.sdk import get_cluster_status  # noqa: PLC0415

        status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=5)
        lines = [f"{each.count} x {each.ray_node_type_name} asked for" for each in status.pending_launches]
        lines += [f"{each.ray_node_type_name} at {each.ip_address or '?'} starting" for each in status.pending_nodes]
        lines += [
            f"{each.ray_node_type_name} could not be started: "
            + " ".join((each.details or "no reason given").split())[:200]
            for each in status.failed_launches[-3:]
        ]
    except Exception:
        return []
    return lines
