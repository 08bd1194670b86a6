import pytest

from orchestrator.errors import UserMistakeError
from orchestrator.keep.delete import delete_run
from orchestrator.run.attempt import Holder, RunState, Standing
from orchestrator.run.claim import take
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import list_runs
from orchestrator.store import LocalStore, Store
from tests.orchestrator.keep.conftest import LARGE, SMALL, LeaveRun, contents, died


def test_a_run_goes_with_all_that_is_its_own_and_what_runs_share_stays(store: Store, leave: LeaveRun) -> None:
    leave("r1", [SMALL, LARGE])
    leave("r10", [SMALL])
    kept = contents(store, "runs/r10", "images", "fingerprints")
    delete_run(store, "r1")
    assert contents(store) == kept
    assert [record.run for record in list_runs(store)[0]] == ["r10"]
    with pytest.raises(UserMistakeError, match="no run 'r1'"):
        delete_run(store, "r1")


def test_no_folder_of_it_is_left(store: Store, leave: LeaveRun) -> None:
    if not isinstance(store, LocalStore):
        pytest.skip("a bucket has no folders")
    leave("r1", [SMALL])
    delete_run(store, "r1")
    assert store.children("runs") == []


def test_a_deletion_that_is_killed_at_any_moment_leaves_no_run_and_is_completed_by_the_next(
    store: Store, leave: LeaveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)  # who died is dead
    changes = 0
    while True:
        leave("r1", [SMALL])
        whole = contents(store, "runs")
        killed = died(store, changes, lambda dying: delete_run(dying, "r1"))
        if [record.run for record in list_runs(store)[0]]:
            assert contents(store).items() >= whole.items()
        if not killed:
            break
        delete_run(store, "r1")
        assert contents(store, "runs") == {}
        changes += 1 if isinstance(store, LocalStore) else 4
    assert changes > 8
    assert contents(store, "runs") == {}


def test_a_run_that_is_under_way_is_refused_and_stays(store: Store, leave: LeaveRun) -> None:
    leave("r1", [SMALL], state=RunState.FAILED)
    layout = RunLayout("r1")
    with take(store, layout, {}) as claim:
        state = layout.claim(claim.holder.number).state
        get = store.get

        def alive(key: str) -> bytes:
            # Between two looks of the observer it gives a sign of life.
            standing = get(key)
            if key == state:
                alive.beats += 1  # type: ignore[attr-defined]
                return Standing(RunState.RUNNING, beat=alive.beats).to_json()  # type: ignore[attr-defined]
            return standing

        alive.beats = 0  # type: ignore[attr-defined]
        store.get = alive  # type: ignore[method-assign]
        with pytest.raises(UserMistakeError, match="the run r1 is under way"):
            delete_run(store, "r1")
        store.get = get  # type: ignore[method-assign]
        claim.end(RunState.FAILED)
    assert store.exists(layout.record)


def test_tickets_that_an_unfinished_run_takes_are_kept(store: Store, leave: LeaveRun) -> None:
    leave("source", [SMALL])
    leave("moved", [LARGE], tickets="source", state=RunState.CANCELLED)
    with pytest.raises(UserMistakeError, match=r"the run moved takes the lottery tickets of source and is cancelled"):
        delete_run(store, "source")
    leave("moved", [LARGE], tickets="source")
    delete_run(store, "source")
    assert [record.run for record in list_runs(store)[0]] == ["moved"]


def test_a_name_that_leads_elsewhere_is_refused(store: Store) -> None:
    for name in ("", "..", "a/b", "../images"):
        with pytest.raises(UserMistakeError, match="cannot be a run's name"):
            delete_run(store, name)
