import pytest

from orchestrator.errors import RunFailedError
from orchestrator.resources.share import Machine, Resources
from orchestrator.schedule.capacity import MOST_AT_ONCE, SESSIONS_THAT_MAY_FAIL, Sessions, alone, on_cluster, waits_for

CPU = Resources(4, 2, "cpu", 0.0, 1e9)
GPU = Resources(4, 2, "cuda", 0.25, 1e9, score_gpus=0.25)
MACHINE = Machine(8, 2**30)


def test_on_one_machine_twice_as_many_fits_as_run_are_handed_out() -> None:
    assert (alone(CPU).slots, alone(CPU).bound, alone(CPU).images) == (4, 8, 8)
    assert alone(Resources(1, 1, "cpu", 0.0, 1e9)).images == 4


@pytest.mark.parametrize(
    ("machines", "parallel", "slots", "bound"),
    [(0, None, 0, 8), (1, None, 4, 16), (4, None, 16, 48), (200, None, 800, MOST_AT_ONCE), (4, 5, 16, 5)],
)
def test_on_a_cluster_more_fits_wait_than_there_is_room_for(
    machines: int, parallel: int | None, slots: int, bound: int
) -> None:
    capacity = on_cluster(CPU, [MACHINE] * machines, parallel)
    assert (capacity.slots, capacity.bound) == (slots, bound)


def test_a_session_may_idle_only_where_nothing_else_needs_its_cpus() -> None:
    sessions = Sessions()
    assert sessions.may_idle(banks_complete=True)
    assert (sessions.start(), sessions.start()) == (0, 1)
    assert not sessions.may_idle(banks_complete=True)
    sessions.end(None)
    assert sessions.may_idle(banks_complete=True)
    assert not sessions.may_idle(banks_complete=False)


def test_tune_may_fail_a_few_times_and_then_the_run_has_failed() -> None:
    sessions = Sessions()
    for _ in range(SESSIONS_THAT_MAY_FAIL):
        sessions.start()
        sessions.end("it broke")
    sessions.start()
    with pytest.raises(RunFailedError, match=r"Tune failed 4 times; the last time: it broke"):
        sessions.end("it broke")


def test_a_run_alone_says_that_it_waits_only_where_nothing_runs() -> None:
    assert waits_for({0.0: 3}, CPU, None, scoring=False, running=1) == []
    assert waits_for({0.0: 3}, CPU, None, scoring=False, running=0) == ["3 fits wait for a machine with 2 CPUs each"]
    assert waits_for({}, CPU, None, scoring=True, running=0) == ["scoring waits for a machine with 2 CPUs"]


def test_on_a_cluster_it_says_what_there_is_and_what_the_autoscaler_does() -> None:
    machines = [Machine(8, 2**30), Machine(16, 2**30, gpus=1)]
    assert waits_for({0.5: 2, 1.0: 1}, GPU, machines, scoring=True, running=3, autoscaler=lambda: ["starting 1"]) == [
        "2 fits wait for a machine with 2 CPUs and 0.5 GPU each",
        "1 fit waits for a machine with 2 CPUs and 1 GPU",
        "scoring waits for a machine with 2 CPUs and 0.25 GPU",
        "there are 2 machines with 24 CPUs and 1 GPU",
        "autoscaler: starting 1",
    ]
    assert waits_for({}, GPU, machines[:1], scoring=False, running=0, autoscaler=lambda: ["idle"]) == []
    (_, there) = waits_for({0.0: 1}, CPU, machines[:1], scoring=False, running=0)
    assert there == "there is 1 machine with 8 CPUs and 0 GPUs"
