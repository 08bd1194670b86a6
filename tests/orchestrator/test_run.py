import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import UserMistakeError
from orchestrator.layout import RunLayout
from orchestrator.run import RunRecord, RunState, all_runs, check_run_name, new_run_name, read_run, this_driver
from orchestrator.store import LocalStore

RECORD = RunRecord(
    run="r1",
    state=RunState.FINISHED,
    created="2026-01-31T14:25:01+00:00",
    images=3,
    rejected=1,
    simulate=False,
    config={"seed": 0, "arm": None},
    machine={"cpu": "x"},
    driver={"host": "elsewhere.example", "pid": 1},
    finished="2026-01-31T14:26:01+00:00",
    seconds=60.5,
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


def leave(store: LocalStore, record: RunRecord) -> None:
    store.put(RunLayout(record.run).record, record.to_json())


def test_a_record_comes_back_as_it_was() -> None:
    again = RunRecord.from_json(RECORD.to_json())
    assert again == RECORD
    assert again.state is RunState.FINISHED


def test_the_summary_is_plain_data() -> None:
    assert RECORD.summary() == {
        "run": "r1",
        "state": "finished",
        "images": 3,
        "created": RECORD.created,
        "finished": RECORD.finished,
        "seconds": 60.5,
    }
    assert type(RECORD.summary()["state"]) is str


def test_new_names_are_good_names_and_different() -> None:
    names = {new_run_name() for _ in range(5)}
    assert len(names) == 5
    for name in names:
        assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["a", "A.b_c-9", "0", "x" * 80])
def test_a_plain_name_is_accepted(name: str) -> None:
    assert check_run_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "_a", ".a", "a/b", "a b", "a\n", "\n", "ä", "x" * 81, "a\0"])
def test_any_other_name_is_refused_on_one_line(name: str) -> None:
    with pytest.raises(UserMistakeError, match="letters, digits") as caught:
        check_run_name(name)
    assert "\n" not in str(caught.value)


def test_a_run_that_does_not_exist_is_named_beside_the_latest(store: LocalStore) -> None:
    with pytest.raises(UserMistakeError, match=r"no run 'x' .*; the latest there: none$"):
        read_run(store, "x")
    for number in range(7):
        leave(store, replace(RECORD, run=f"r{number}"))
    with pytest.raises(UserMistakeError, match=r"the latest there: r2, r3, r4, r5, r6$"):
        read_run(store, "x")


def test_a_run_whose_driver_died_is_shown_as_interrupted(store: LocalStore, dead_pid: int) -> None:
    running = replace(RECORD, state=RunState.RUNNING, driver={**this_driver(), "pid": dead_pid})
    leave(store, running)
    assert read_run(store, "r1") == replace(running, state=RunState.INTERRUPTED, reason="its driver is gone")
    assert RunRecord.from_json(store.get(RunLayout("r1").record)).state is RunState.RUNNING


def test_a_run_whose_driver_lives_or_is_elsewhere_runs(store: LocalStore, dead_pid: int) -> None:
    for driver in (this_driver(), {"host": "elsewhere.example", "pid": dead_pid}):
        leave(store, replace(RECORD, state=RunState.RUNNING, driver=driver))
        assert read_run(store, "r1").state is RunState.RUNNING


def test_a_run_that_ended_stays_as_it_ended_whatever_became_of_its_driver(store: LocalStore, dead_pid: int) -> None:
    for state in (RunState.FINISHED, RunState.FAILED, RunState.INTERRUPTED):
        leave(store, replace(RECORD, state=state, driver={**this_driver(), "pid": dead_pid}))
        assert read_run(store, "r1").state is state


def test_all_runs_are_listed_oldest_first(store: LocalStore) -> None:
    assert all_runs(store) == []
    for name, created in (("a", "2026-03"), ("b", "2026-01"), ("d", "2026-02"), ("c", "2026-02")):
        leave(store, replace(RECORD, run=name, created=created))
    assert [record.run for record in all_runs(store)] == ["b", "c", "d", "a"]


def test_a_folder_without_a_record_is_no_run(store: LocalStore) -> None:
    leave(store, RECORD)
    store.put(RunLayout("half").input("a.png"), b"")
    store.put("runs/stray-file", b"")
    assert [record.run for record in all_runs(store)] == ["r1"]
