import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import SupersededError, UserMistakeError
from orchestrator.keep import prune as module
from orchestrator.keep.delete import delete_run
from orchestrator.keep.prune import prune
from orchestrator.run.attempt import Holder, RunState
from orchestrator.run.layout import RunLayout, probe_key
from orchestrator.run.upkeep import UPKEEP, upkeep, wait_for_prune
from orchestrator.store import LocalStore, Store
from tests.orchestrator.keep.conftest import LARGE, OTHER, SMALL, LeaveRun, Picture, contents, died, keys_of


def test_of_three_runs_that_share_inputs_and_banks_only_what_no_run_names_goes(store: Store, leave: LeaveRun) -> None:
    alone = Picture(b"alone")
    leave("one", [SMALL, LARGE, alone], created="2026-01-01T00:00:00+00:00")
    leave("two", [SMALL, OTHER], created="2026-01-02T00:00:00+00:00")
    leave("three", [OTHER], created="2026-01-03T00:00:00+00:00")
    whole = contents(store)
    assert not prune(store, older_than_s=0).size
    assert contents(store) == whole

    delete_run(store, "one")
    left = contents(store)
    planned = prune(store, older_than_s=0, dry_run=True)
    assert contents(store) == left
    pruned = prune(store, older_than_s=0)
    assert (pruned.inputs, pruned.banks) == (planned.inputs, planned.banks)
    assert keys_of(pruned.inputs) == {LARGE.key, alone.key}
    # The bank of large images goes; that of small ones is also the other runs'.
    assert len({entry.key.split("/")[1] for entry in pruned.banks}) == 1
    assert len(pruned.banks) == 2
    gone = keys_of([*pruned.inputs, *pruned.banks])
    assert contents(store) == {key: data for key, data in left.items() if key not in gone}

    pruned = prune(store, keep=1, older_than_s=0)
    assert (pruned.runs, keys_of(pruned.inputs), pruned.banks) == (["two"], {SMALL.key}, [])
    assert set(contents(store, "images")) == {OTHER.key}
    assert prune(store, keep=0).runs == ["three"]
    prune(store, older_than_s=0)
    assert contents(store) == {}


def test_what_is_young_is_kept(store: Store) -> None:
    store.put(SMALL.key, b"")
    assert prune(store).inputs == []
    assert prune(store, older_than_s=60).inputs == []
    assert keys_of(prune(store, older_than_s=0).inputs) == {SMALL.key}


def test_a_run_that_ended_lately_is_kept_if_an_age_is_given(store: Store, leave: LeaveRun) -> None:
    leave("old", [SMALL])
    leave("new", [SMALL], created="2999-01-01T00:00:00+00:00")
    assert prune(store, keep=0, older_than_s=60).runs == ["old"]
    assert prune(store, keep=0).runs == ["new"]


@pytest.mark.parametrize("trouble", ["no list yet", "a list that is damaged", "a record of a newer version"])
def test_while_it_is_not_known_what_a_run_names_nothing_that_runs_share_goes(
    store: Store, leave: LeaveRun, trouble: str
) -> None:
    layout = RunLayout("r1")
    leave("r1", [SMALL], listed=trouble != "no list yet", state=RunState.INTERRUPTED)
    if trouble == "a list that is damaged":
        store.put(layout.inputs, b"{")
    elif trouble == "a record of a newer version":
        store.put(layout.record, b'{"format": 99}')
    store.put(OTHER.key, b"")
    whole = contents(store)
    pruned = prune(store, keep=0 if trouble == "a record of a newer version" else 1, older_than_s=0)
    assert not pruned.size
    (reason,) = pruned.kept
    assert {"no list yet": "has not brought its images", "a list that is damaged": "inputs.json is damaged"}.get(
        trouble, "has format 99"
    ) in reason
    assert contents(store) == whole


def test_settings_that_are_not_known_here_keep_banks_only(store: Store, leave: LeaveRun) -> None:
    record = leave("r1", [SMALL])
    record.config["score"]["view"] = "sideways"
    store.put(RunLayout("r1").record, record.to_json())
    store.put(OTHER.key, b"")
    store.put("fingerprints/0123/key.json", b"")
    pruned = prune(store, older_than_s=0)
    assert keys_of(pruned.inputs) == {OTHER.key}
    assert pruned.banks == []
    assert "does not know the settings of the run r1" in pruned.kept[0]


def test_what_is_left_of_runs_that_were_half_deleted_goes_when_it_is_old(store: Store, leave: LeaveRun) -> None:
    leave("r1", [SMALL])
    leave("r2", [SMALL])
    store.delete(RunLayout("r2").record)
    assert prune(store).leftovers == []
    assert keys_of(prune(store, older_than_s=0).leftovers) > {RunLayout("r2").inputs}
    assert store.children("runs") == ["r1"]


def test_what_is_left_of_trying_a_store_goes_wherever_it_lies(store: Store, tmp_path: Path) -> None:
    for key in (probe_key(), "probe-0123", "kept-by-somebody"):
        store.put(key, b"")
    if isinstance(store, LocalStore):
        left = tmp_path / "store" / ".partial-1"
        left.touch()
        os.utime(left, (0, 0))
    assert prune(store).leftovers == []  # it may just be under way
    assert len(prune(store, older_than_s=0).leftovers) == 1
    assert [key for key in store.keys("") if not key.startswith("upkeep/")] == ["kept-by-somebody", "store.json"]
    assert not isinstance(store, LocalStore) or not left.exists()


class StoppedError(Exception):
    """Somebody gave up waiting."""


def stop() -> None:
    raise StoppedError


def test_a_run_that_is_begun_while_inputs_are_deleted_waits_before_it_asks_which_there_are(
    store: Store, leave: LeaveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(OTHER.key, b"")
    delete, waited = module._delete, []

    def begin_and_delete(*arguments: Any) -> None:
        # The prune has read what runs name. Now a run is begun that wants the input that is about to go.
        leave("r1", [], listed=False)
        with pytest.raises(StoppedError):
            wait_for_prune(store, check_stop=stop)
        waited.append(True)
        delete(*arguments)

    monkeypatch.setattr(module, "_delete", begin_and_delete)
    assert keys_of(prune(store, older_than_s=0).inputs) == {OTHER.key}
    assert waited
    wait_for_prune(store, check_stop=stop)
    assert not store.exists(OTHER.key)


def test_a_run_that_was_begun_before_keeps_all_inputs(store: Store, leave: LeaveRun) -> None:
    store.put(OTHER.key, b"")
    leave("r1", [], listed=False, state=RunState.RUNNING)
    wait_for_prune(store, check_stop=stop)
    # It has found its input there, when a prune begins.
    assert prune(store, older_than_s=0).inputs == []
    assert store.exists(OTHER.key)


def test_a_prune_that_was_stopped_for_long_and_has_been_taken_over_deletes_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put(OTHER.key, b"")
    delete = module._delete

    def late(*arguments: Any) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Holder, "is_gone", True)
            for _ in range(2):
                with upkeep(store, "import"):
                    pass
        delete(*arguments)

    monkeypatch.setattr(module, "_delete", late)
    with pytest.raises(SupersededError, match="taken over the upkeep"):
        prune(store, older_than_s=0)
    assert store.exists(OTHER.key)


def test_a_prune_that_is_killed_at_any_moment_has_deleted_nothing_that_a_run_names(
    store: Store, leave: LeaveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)
    changes = 0
    while True:
        leave("old", [SMALL, LARGE])
        leave("new", [SMALL], created="2026-02-01T00:00:00+00:00")
        kept = contents(store, "runs/new") | {SMALL.key: SMALL.content}
        killed = died(store, changes, lambda dying: prune(dying, keep=1, older_than_s=0))
        assert contents(store).items() >= kept.items()
        if not killed:
            break
        changes += 2 if isinstance(store, LocalStore) else 9
    assert contents(store, "images", "runs") == kept
    assert len(list(store.keys(UPKEEP.claims))) <= 3


def test_a_run_that_was_resumed_since_it_was_chosen_is_kept(
    store: Store, leave: LeaveRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise UserMistakeError("the run r1 is under way")

    leave("r1", [SMALL])
    monkeypatch.setattr(module, "remove", refuse)
    notes: list[str] = []
    pruned = prune(store, keep=0, older_than_s=0, note=notes.append)
    assert (pruned.runs, pruned.inputs, notes) == ([], [], ["kept: the run r1 is under way"])
