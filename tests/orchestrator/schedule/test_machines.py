from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.autoscaler.v2 import schema, sdk
from ray.exceptions import GetTimeoutError, NodeDiedError, RayError, RaySystemError, RayTaskError

from orchestrator.errors import StoreError, StoreUnavailableError, UserMistakeError
from orchestrator.resources.share import Machine
from orchestrator.run.context import RunContext
from orchestrator.run.layout import RunLayout
from orchestrator.run.versions import code_version
from orchestrator.schedule import machines
from orchestrator.schedule.machines import (
    LOOK_EVERY_S,
    Found,
    Watch,
    autoscaler_says,
    gpu_memory,
    gpus_may_come,
    machines_there,
    what_is_wrong,
    with_gpu_memory,
)
from orchestrator.settings import Config
from orchestrator.store import LocalStore

GB = 10**9
MIB = 2**20
HEAD = Found("n0", "10.0.0.1", Machine(0, 8 * GB))
CPUS = Found("n1", "10.0.0.2", Machine(16, 64 * GB))
GPUS = Found("n2", "10.0.0.3", Machine(8, 32 * GB, 2))
CONTEXT = RunContext("store", "r1", Config.model_validate({}), False, "cpu", 1)


class Ray:
    """Ray as far as machines are asked: tasks answer when, and what, the test decides.

    ``answers`` holds the results of a machine's tasks, or their errors; a machine that is not in it has not answered
    yet.
    """

    def __init__(self) -> None:
        self.alive: list[dict[str, Any]] = []
        self.answers: dict[str, Any] = {}
        self.asked: list[tuple[Any, str, tuple[Any, ...]]] = []
        self.while_waiting: Callable[[float], None] = lambda seconds: None

    def task(self, function: Any, node: str) -> SimpleNamespace:
        def remote(*arguments: Any) -> str:
            self.asked.append((function, node, arguments))
            return node

        return SimpleNamespace(remote=remote)

    def nodes(self) -> list[dict[str, Any]]:
        return self.alive

    def wait(
        self, references: Sequence[str], *, num_returns: int = 1, timeout: float = 0.0
    ) -> tuple[list[str], list[str]]:
        self.while_waiting(timeout)
        ready = [each for each in references if each in self.answers][:num_returns]
        return ready, [each for each in references if each not in ready]

    def get(self, reference: str, *, timeout: float | None = None) -> Any:
        if reference not in self.answers:
            raise GetTimeoutError
        answer = self.answers[reference]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Ray:
    fake = Ray()
    monkeypatch.setattr(machines, "ray", fake)
    monkeypatch.setattr(machines, "on", fake.task)
    return fake


class Place:
    """Machines that come and go while a clock is moved on."""

    def __init__(self, *found: Found, trusted: Sequence[str] = ()) -> None:
        self.found, self.now, self.looks = list(found), 1000.0, 0
        self.watch = Watch(CONTEXT, trusted, self.there, lambda: self.now)

    def there(self) -> list[Found]:
        self.looks += 1
        return list(self.found)

    def after(self, seconds: float, gpus_in_use: float = 0.0) -> bool:
        self.now += seconds
        return self.watch.look(gpus_in_use)


def examined(ray: Ray) -> list[str]:
    assert all(function is what_is_wrong and arguments == (CONTEXT,) for function, _, arguments in ray.asked)
    return [node for _, node, _ in ray.asked]


def task_error(cause: Exception, said: str) -> RayError:
    """A task's exception as `ray.get` raises it."""
    traceback = f"ray::what_is_wrong()\n  File ...\n{said}"
    error: RayError = RayTaskError("what_is_wrong", traceback, cause, "x", 1, "10.0.0.2").as_instanceof_cause()
    return error


# The machines that there are.


def test_the_machines_that_live_are_known_by_what_they_were_started_with(ray: Ray) -> None:
    def node(name: str, alive: bool, **resources: float) -> dict[str, Any]:
        return {"NodeID": name, "NodeManagerAddress": f"10.0.0.{name[1]}", "Alive": alive, "Resources": resources}

    ray.alive = [
        node("n0", True, memory=5e9, object_store_memory=1e9),
        node("n1", False, CPU=64.0, memory=6e9, GPU=8.0),
        node("n2", True, CPU=8.0, memory=7e9, GPU=2.0, accelerator_type=1.0),
    ]
    assert machines_there() == [
        Found("n0", "10.0.0.0", Machine(0, 5 * GB)),
        Found("n2", "10.0.0.2", Machine(8, 7 * GB, 2)),
    ]


def test_only_machines_with_gpus_are_asked_for_their_memory_and_one_that_goes_meanwhile_has_none_known(
    ray: Ray,
) -> None:
    gone, silent = (replace(GPUS, node=node) for node in ("gone", "silent"))
    ray.answers = {"n2": 24 * GB, "gone": NodeDiedError("gone")}
    known = with_gpu_memory([HEAD, CPUS, GPUS, gone, silent])
    assert [(function, node) for function, node, _ in ray.asked] == [
        (gpu_memory, node) for node in ("n2", "gone", "silent")
    ]
    with_memory = replace(GPUS.machine, gpu_memory=24 * GB)
    assert known == [HEAD.machine, CPUS.machine, with_memory, GPUS.machine, GPUS.machine]


@pytest.mark.parametrize(
    ("said", "memory"),
    [
        ("echo 81559", 81559 * MIB),
        ("echo 81559; echo 24576", 24576 * MIB),
        ("echo '[N/A]'", 0),
        ("true", 0),
        ("echo 81559; exit 9", 0),
    ],
)
def test_a_machine_s_gpu_memory_is_that_of_its_smallest_as_the_driver_tells_it(
    said: str, memory: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{said}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory._function() == memory


def test_without_the_driver_s_tool_a_machine_s_gpu_memory_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_memory._function() == 0


# The machines that may come.


@pytest.fixture
def bootstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that `ray up` leaves on the head of its cluster."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "ray_bootstrap_config.yaml"


@pytest.mark.parametrize(
    ("types", "may"),
    [
        ("{head: {resources: {CPU: 0}}, gpu: {resources: {CPU: 8, GPU: 1}, min_workers: 0, max_workers: 4}}", True),
        ("{gpu: {resources: {GPU: 1}}}", True),
        ("{gpu: {resources: {GPU: 1}, max_workers: 0}}", False),
        ("{head: {resources: {CPU: 0}}, cpu: {resources: {CPU: 8}, max_workers: 4}}", False),
        ("{cpu: {resources: {CPU: 8, GPU: 0}, max_workers: 4}}", False),
        ("{head: {node_config: {}}, gpu: {resources: {GPU: 1}, max_workers: 4}}", True),
        ("{head: {node_config: {}}}", False),
        ("{}", False),
    ],
)
def test_gpus_may_come_where_the_autoscaler_has_machines_with_some(bootstrap: Path, types: str, may: bool) -> None:
    bootstrap.write_text(f"cluster_name: x\navailable_node_types: {types}\n")
    assert gpus_may_come() is may


def test_without_an_autoscaler_no_gpu_is_waited_for(bootstrap: Path) -> None:
    assert not bootstrap.exists()
    assert not gpus_may_come()


@pytest.mark.parametrize(
    "left",
    [
        b"",
        b"\xff\xfe\x00",
        b"{",
        b"[1, 2]",
        b"text",
        b"available_node_types: 3",
        b"available_node_types: [1]",
        b"available_node_types: {a: 1}",
        b"available_node_types: {a: {resources: 1}}",
        b"available_node_types: {a: {resources: null}}",
        b"available_node_types: {a: {resources: {GPU: !!python/object/apply:os.getpid []}}}",
        b"a: &a [*a]\navailable_node_types: {a: *a}",
        pytest.param(b"[" * 5000, id="nested"),
    ],
)
def test_a_file_that_makes_no_sense_promises_no_gpu(bootstrap: Path, left: bytes) -> None:
    bootstrap.write_bytes(left)
    assert gpus_may_come() is False


def test_a_file_that_cannot_be_read_promises_no_gpu(bootstrap: Path) -> None:
    bootstrap.mkdir()
    assert not gpus_may_come()


# Whether one is fit for the work.


@pytest.fixture
def context(tmp_path: Path) -> RunContext:
    """A run in a folder, of the code that is here."""
    store = LocalStore(tmp_path / "store")
    store.put(RunLayout("r1").record, b"{}")
    return replace(CONTEXT, store_url=store.url, code=code_version())


def test_with_the_driver_s_code_and_its_store_a_machine_can_work(context: RunContext) -> None:
    assert what_is_wrong._function(context) is None


def test_a_machine_with_other_code_names_both(context: RunContext) -> None:
    other = "dip-orchestrator 0.1.0+00000000, torch 1.0, ray 2.0, Python 3.11"
    wrong = what_is_wrong._function(replace(context, code=other))
    assert wrong.startswith(f"has {code_version()}, and the driver {other};")
    assert "docs/clusters.md" in wrong


def test_a_machine_that_sees_another_folder_of_the_same_name_says_so(context: RunContext, tmp_path: Path) -> None:
    elsewhere = replace(context, store_url=str(tmp_path / "elsewhere"))
    assert what_is_wrong._function(elsewhere) == (
        f"finds no run r1 in the store {tmp_path / 'elsewhere'}: a folder must be one that all machines share"
    )


def test_a_machine_that_cannot_use_the_store_says_why_and_waits_for_one_that_is_away(
    context: RunContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble: Exception = StoreError("no credentials")

    def exists(self: LocalStore, key: str) -> bool:
        raise trouble

    monkeypatch.setattr(LocalStore, "exists", exists)
    # Nothing is waited for: the caller wants an answer now.
    impatient = replace(context, config=Config.model_validate({"resources": {"store_patience_s": 0}}))
    wrong = what_is_wrong._function(impatient)
    assert wrong.startswith("cannot use the store: ")
    assert "no credentials" in wrong
    trouble = StoreUnavailableError("away")
    with pytest.raises(StoreUnavailableError, match="away"):
        what_is_wrong._function(impatient)


# Watching them.


def test_a_new_machine_is_examined_once_and_one_that_is_trusted_never(ray: Ray) -> None:
    place = Place(HEAD, CPUS, trusted=["n0"])
    assert place.watch.look()
    assert examined(ray) == ["n1"]
    ray.answers["n1"] = None
    place.found.append(GPUS)
    assert place.after(LOOK_EVERY_S)
    place.found.remove(CPUS)
    assert place.after(LOOK_EVERY_S)
    place.found.append(CPUS)  # it was only out of sight
    assert place.after(LOOK_EVERY_S)
    assert examined(ray) == ["n1", "n2"]
    assert place.watch.found == [HEAD, GPUS, CPUS]


def test_it_is_looked_now_and_then_only(ray: Ray) -> None:
    place = Place(HEAD)
    assert [place.after(seconds) for seconds in (0, 0, LOOK_EVERY_S - 0.1, 0.1, 0.1, LOOK_EVERY_S)] == [
        *(True, False, False, True, False, True)
    ]
    assert place.looks == 3


def test_a_machine_that_cannot_work_is_named_by_its_address_with_the_reason(ray: Ray) -> None:
    place = Place(CPUS, GPUS)
    place.watch.look()
    ray.answers = {"n1": None, "n2": "has other code"}
    with pytest.raises(UserMistakeError, match=r"^the machine 10\.0\.0\.3 has other code$"):
        place.after(LOOK_EVERY_S)


def test_machines_that_are_examined_are_waited_for_so_long_and_no_longer(ray: Ray) -> None:
    def passes(seconds: float) -> None:
        place.now += seconds

    place = Place(CPUS, GPUS)
    place.watch.wait(10)  # nothing is asked yet, so there is nothing to wait for
    assert place.now == 1000
    place.watch.look()
    ray.while_waiting = passes
    place.watch.wait(10)
    assert place.now == 1010

    def answers(seconds: float) -> None:
        place.now += min(seconds, 3)
        ray.answers["n1" if "n1" not in ray.answers else "n2"] = None

    ray.while_waiting = answers
    place.watch.wait(10)
    assert place.now < 1020
    ray.answers["n2"] = "is heard once"
    assert place.after(100)


def test_a_machine_that_answers_late_is_heard_all_the_same(ray: Ray) -> None:
    place = Place(CPUS)
    place.watch.look()
    place.watch.wait(0)
    assert place.after(LOOK_EVERY_S)
    ray.answers["n1"] = "has other code"
    with pytest.raises(UserMistakeError, match="has other code"):
        place.after(LOOK_EVERY_S)


@pytest.mark.parametrize("gone", [NodeDiedError("its node has died"), RaySystemError("lost"), GetTimeoutError()])
def test_a_machine_that_is_gone_while_it_is_examined_is_no_trouble(ray: Ray, gone: RayError) -> None:
    place = Place(CPUS)
    place.watch.look()
    ray.answers["n1"] = gone
    place.found.clear()
    assert place.after(LOOK_EVERY_S)
    assert place.after(LOOK_EVERY_S)
    assert place.watch.found == []


MISSING = ModuleNotFoundError("No module named 'orchestrator'")


@pytest.mark.parametrize(
    "cause",
    [
        # As Ray 2.60 reports it: the task's arguments cannot be read there, or the task itself cannot.
        RaySystemError(MISSING, f"Traceback ...\n{MISSING!r}"),
        RuntimeError("The remote function failed to import on the worker. This may be because ..."),
        MISSING,
    ],
    ids=["arguments", "task", "import"],
)
def test_a_machine_without_the_project_is_named(ray: Ray, cause: Exception) -> None:
    place = Place(CPUS)
    place.watch.look()
    ray.answers["n1"] = task_error(cause, f"ModuleNotFoundError: {MISSING}")
    with pytest.raises(UserMistakeError, match=r"^the machine 10\.0\.0\.2 cannot run the project's code: ") as caught:
        place.after(LOOK_EVERY_S)
    assert "No module named 'orchestrator'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hours_of_machines_cpus_and_gpus_are_counted_while_they_are_there(ray: Ray) -> None:
    place = Place(HEAD, CPUS, trusted=["n0", "n1", "n2"])
    assert place.watch.usage == dict.fromkeys(("machine_hours", "cpu_hours", "gpu_hours", "fit_gpu_hours"), 0.0)
    place.watch.look(gpus_in_use=5)  # how long they have been there before is not known
    place.found.append(GPUS)
    place.after(3600, gpus_in_use=0)
    assert place.watch.usage == pytest.approx({"machine_hours": 2, "cpu_hours": 16, "gpu_hours": 0, "fit_gpu_hours": 0})
    place.found.remove(CPUS)
    place.after(1800, gpus_in_use=1.5)
    place.after(LOOK_EVERY_S / 2, gpus_in_use=100)  # too soon to be looked at
    place.after(3600 - LOOK_EVERY_S / 2, gpus_in_use=0.5)
    assert place.watch.usage == pytest.approx(
        {"machine_hours": 5.5, "cpu_hours": 16 + 12 + 8, "gpu_hours": 1 + 2, "fit_gpu_hours": 0.75 + 0.5}
    )


# The autoscaler's next steps.


def launch(kind: str, count: int = 1, details: str | None = None) -> schema.LaunchRequest:
    state = schema.LaunchRequest.Status.PENDING if details is None else schema.LaunchRequest.Status.FAILED
    return schema.LaunchRequest("p3", kind, count, state, 0, details=details)


@pytest.fixture
def autoscaler(monkeypatch: pytest.MonkeyPatch) -> schema.ClusterStatus:
    """Ray's report on its autoscaler, to be filled in."""
    status = schema.ClusterStatus()

    def get_cluster_status(address: str, timeout: int) -> schema.ClusterStatus:
        assert (address, timeout) == ("10.0.0.1:6379", 5)
        return status

    monkeypatch.setattr(sdk, "get_cluster_status", get_cluster_status)
    here = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setattr(machines, "ray", SimpleNamespace(get_runtime_context=lambda: here))
    return status


def test_what_the_autoscaler_does_is_told_a_line_each(autoscaler: schema.ClusterStatus) -> None:
    assert autoscaler_says() == []
    autoscaler.pending_launches = [launch("gpu", 3)]
    autoscaler.pending_nodes = [
        schema.NodeInfo("p3", kind, "i-1", at) for kind, at in (("gpu", "10.0.0.9"), ("cpu", ""))
    ]
    autoscaler.failed_launches = [launch(f"f{number}", details=f"no\ncapacity {'x' * 300}") for number in range(5)]
    asked, starting, nowhere, *failed = autoscaler_says()
    assert asked == "3 x gpu asked for"
    assert (starting, nowhere) == ("gpu at 10.0.0.9 starting", "cpu at ? starting")
    assert [line.partition(" ")[0] for line in failed] == ["f2", "f3", "f4"]
    assert failed[0].startswith("f2 could not be started: no capacity xxx")
    assert all(len(line) < 240 for line in failed)


def test_a_launch_that_failed_without_a_reason_hides_nothing_else(autoscaler: schema.ClusterStatus) -> None:
    autoscaler.pending_launches = [launch("gpu", 3)]
    autoscaler.failed_launches = [launch("spot")]
    asked, failed = autoscaler_says()
    assert asked == "3 x gpu asked for"
    assert failed.startswith("spot could not be started")


def test_where_nothing_can_be_asked_the_autoscaler_says_nothing(
    autoscaler: schema.ClusterStatus, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(address: str, timeout: int) -> None:
        raise RuntimeError("no such service")

    monkeypatch.setattr(sdk, "get_cluster_status", fails)
    assert autoscaler_says() == []
