import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import DamagedError, StoreUnavailableError, UserMistakeError
from orchestrator.run.attempt import Holder, RunState, Stop, latest
from orchestrator.run.claim import take
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord, cancel_run, check_run_name, list_runs, new_run_name, read_run
from orchestrator.store import LocalStore, Store
from tests.orchestrator.conftest import ELSEWHERE, leave_run

RECORD = RunRecord(
    run="r1",
    created="2026-01-31T14:25:01+00:00",
    images=3,
    rejected=1,
    simulate=False,
    config={"seed": 0, "arm": None},
    machine={"cpu": "x"},
    command="study",
    source={"images": "/photos"},
    state=RunState.FINISHED,
    finished="2026-01-31T14:26:01+00:00",
    seconds=60.5,
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_what_a_run_is_comes_back_and_how_it_goes_is_no_part_of_it() -> None:
    again = RunRecord.from_json(RECORD.to_json())
    assert again == replace(RECORD, state=RunState.INTERRUPTED, finished=None, seconds=None)
    assert not json.loads(RECORD.to_json()).keys() & {"state", "finished", "seconds", "reason"}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"null", b"x", b'{"run": "r1"}', b"[" * 100_000, b"\xff"])
def test_what_is_no_record_is_said_to_be_none(store: LocalStore, data: bytes) -> None:
    store.put(RunLayout("r1").record, data)
    with pytest.raises(DamagedError, match=r"run\.json is damaged: it is not the record of the run") as caught:
        read_run(store, "r1")
    assert "\n" not in str(caught.value)


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
        leave_run(store, replace(RECORD, run=f"r{number}"))
    with pytest.raises(UserMistakeError, match=r"the latest there: r2, r3, r4, r5, r6$"):
        read_run(store, "x")


def here(store: LocalStore) -> Holder:
    """This process, as the holder of a run."""
    return take(store, RunLayout("other"), {}).holder


@pytest.mark.parametrize("copied", [False, True])
def test_a_folder_that_was_renamed_or_copied_is_refused_and_the_message_says_what_to_do(
    store: LocalStore, copied: bool
) -> None:
    leave_run(store, RECORD)
    root = Path(store.url)
    place = root / "runs" / "copy"
    shutil.copytree(root / RunLayout("r1").root, place)
    if not copied:
        shutil.rmtree(root / RunLayout("r1").root)
    before = sorted(store.keys("runs"))
    refused = f"{place} has the record of the run r1: .*; call it r1 again"
    for act in (lambda: read_run(store, "copy"), lambda: cancel_run(store, "copy", "now")):
        with pytest.raises(UserMistakeError, match=refused) as told:
            act()
        assert "\n" not in str(told.value)
    assert sorted(store.keys("runs")) == before


def test_how_a_run_goes_is_what_the_last_claim_says(store: LocalStore) -> None:
    leave_run(store, replace(RECORD, state=RunState.FAILED, reason="no luck"))
    leave_run(store, RECORD, replace(ELSEWHERE, number=2))
    told = replace(RECORD, driver=ELSEWHERE.name)
    assert read_run(store, "r1") == told
    # A holder that wakes up again does not count.
    leave_run(store, replace(RECORD, state=RunState.FAILED, reason="late"))
    assert read_run(store, "r1") == told


def test_a_run_that_nobody_has_claimed_is_interrupted(store: LocalStore) -> None:
    store.put(RunLayout("r1").record, RECORD.to_json())
    record = read_run(store, "r1")
    assert (record.state, record.reason) == (RunState.INTERRUPTED, "no driver has begun it yet")


def test_a_run_whose_driver_died_is_shown_as_interrupted(store: LocalStore) -> None:
    running = replace(RECORD, state=RunState.RUNNING)
    holder = replace(here(store), started="1")
    leave_run(store, running, holder)
    ended = replace(running, state=RunState.INTERRUPTED, reason="its driver is gone", driver=holder.name)
    assert read_run(store, "r1") == ended


def test_a_run_whose_driver_lives_or_is_elsewhere_runs(store: LocalStore) -> None:
    for holder in (here(store), ELSEWHERE):
        leave_run(store, replace(RECORD, state=RunState.RUNNING), holder)
        assert read_run(store, "r1").state is RunState.RUNNING


def test_a_run_elsewhere_that_has_been_silent_for_minutes_is_shown_as_interrupted(store: LocalStore) -> None:
    leave_run(store, replace(RECORD, state=RunState.RUNNING))
    silent = json.dumps({"state": "running", "beat": 9, "at": "2026-01-31T14:25:01+00:00"})
    store.put(RunLayout("r1").claim(1).state, silent.encode())
    record = read_run(store, "r1")
    assert record.state is RunState.INTERRUPTED
    assert record.reason == "no sign of life from its driver since 2026-01-31T14:25:01+00:00"


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.FAILED, RunState.INTERRUPTED, RunState.CANCELLED])
def test_a_run_that_ended_stays_as_it_ended_whatever_became_of_its_driver(store: LocalStore, state: RunState) -> None:
    leave_run(store, replace(RECORD, state=state), replace(here(store), started="1"))
    assert read_run(store, "r1").state is state


def test_a_run_under_way_is_asked_to_stop(store: LocalStore) -> None:
    leave_run(store, replace(RECORD, state=RunState.RUNNING), here(store))
    assert cancel_run(store, "r1", "now").state is RunState.RUNNING
    assert json.loads(store.get(RunLayout("r1").claim(1).cancel))["stop"] == "now"


def test_a_driver_that_only_seems_silent_by_a_wrong_clock_is_asked_all_the_same(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(store, replace(RECORD, state=RunState.RUNNING))
    past = {"state": "running", "beat": 1, "at": "2026-01-31T14:25:01+00:00"}
    store.put(RunLayout("r1").claim(1).state, json.dumps(past).encode())
    assert read_run(store, "r1").state is RunState.INTERRUPTED

    def alive(store: LocalStore, layout: RunLayout, machine: object) -> None:
        raise UserMistakeError("under way")

    monkeypatch.setattr("orchestrator.run.record.take", alive)
    assert cancel_run(store, "r1", "now").state is RunState.RUNNING
    assert json.loads(store.get(RunLayout("r1").claim(1).cancel))["stop"] == "now"


def test_a_driver_that_takes_over_while_the_run_is_cancelled_is_asked_too(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(store, replace(RECORD, state=RunState.RUNNING), here(store))
    asked = []

    def taken_over(store: Store, layout: RunLayout, number: int, stop: Stop) -> None:
        asked.append(number)
        leave_run(store, replace(RECORD, state=RunState.RUNNING), replace(ELSEWHERE, number=2))

    monkeypatch.setattr("orchestrator.run.record.request_stop", taken_over)
    cancel_run(store, "r1", "now")
    assert asked == [1, 2]


@pytest.mark.parametrize("stop", ["now", "drain"])
def test_a_run_without_a_driver_is_cancelled_at_once_and_again_changes_nothing(store: LocalStore, stop: Stop) -> None:
    leave_run(store, replace(RECORD, state=RunState.INTERRUPTED))
    assert cancel_run(store, "r1", stop).state is RunState.CANCELLED
    assert latest(store, RunLayout("r1")) == 2
    assert cancel_run(store, "r1", stop).state is RunState.CANCELLED
    assert latest(store, RunLayout("r1")) == 2


@pytest.mark.parametrize("state", [RunState.FINISHED, RunState.FAILED])
def test_a_run_that_has_ended_is_left_as_it_is(store: LocalStore, state: RunState) -> None:
    leave_run(store, replace(RECORD, state=state))
    assert cancel_run(store, "r1", "now").state is state


def test_all_runs_are_listed_oldest_first(store: LocalStore) -> None:
    assert list_runs(store) == ([], [])
    for name, created in (("a", "2026-03"), ("b", "2026-01"), ("d", "2026-02"), ("c", "2026-02")):
        leave_run(store, replace(RECORD, run=name, created=created))
    assert [record.run for record in list_runs(store)[0]] == ["b", "c", "d", "a"]


def test_a_folder_without_a_record_is_no_run(store: LocalStore) -> None:
    leave_run(store, RECORD)
    store.put(RunLayout("half").scores("a"), b"")
    store.put("runs/stray-file", b"")
    assert [record.run for record in list_runs(store)[0]] == ["r1"]
    assert list_runs(store)[1] == []


def test_runs_that_cannot_be_read_hide_no_others_and_say_why_in_a_line(store: LocalStore) -> None:
    for name in ("copied", "damaged", "good", "held", "newer", "spoilt"):
        leave_run(store, replace(RECORD, run="good" if name == "copied" else name))
    good = store.get(RunLayout("good").record)
    store.put(RunLayout("copied").record, good)
    store.put(RunLayout("damaged").record, b"{")
    store.put(RunLayout("held").claim(1).holder, b"[]")
    store.put(RunLayout("newer").record, b'{"format": 99}')
    spoilt = Path(store.url) / RunLayout("spoilt").record
    spoilt.write_bytes(spoilt.read_bytes() + b" ")
    records, unreadable = list_runs(store)
    assert [record.run for record in records] == ["good"]
    assert [each.run for each in unreadable] == ["copied", "damaged", "held", "newer", "spoilt"]
    for each, why in zip(
        unreadable, ("of the run good", "run.json", "holder.json", "format 99", "SHA-256"), strict=True
    ):
        assert why in each.reason
        assert "\n" not in each.reason
        assert each.summary() == {
            **dict.fromkeys(RECORD.summary()),
            "run": each.run,
            "state": "unreadable",
            "reason": each.reason,
        }


def test_a_store_in_trouble_is_no_unreadable_run(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    leave_run(store, RECORD)

    def away(key: str) -> bytes:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(store, "get", away)
    with pytest.raises(StoreUnavailableError):
        list_runs(store)


def test_a_run_whose_state_is_damaged_is_shown_as_interrupted_and_can_be_cancelled(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_run(store, replace(RECORD, state=RunState.RUNNING))
    store.put(RunLayout("r1").claim(1).state, b"{")
    record = read_run(store, "r1")
    assert record.state is RunState.INTERRUPTED
    assert "state.json is damaged" in str(record.reason)
    monkeypatch.setattr("orchestrator.run.claim.STALE_S", 0.0)
    monkeypatch.setattr("orchestrator.run.claim._FRESH_S", 60.0)
    assert cancel_run(store, "r1", "now").state is RunState.CANCELLED
