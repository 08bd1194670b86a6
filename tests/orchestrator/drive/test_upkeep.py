from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

import orchestrator
from orchestrator.errors import UserMistakeError
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import InputImage, Inputs, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.record import RunRecord
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import MakeConfig, leave_run


@pytest.fixture
def store(tmp_path: Path, make_config: MakeConfig) -> LocalStore:
    """A store with a finished run of one image."""
    store = LocalStore(tmp_path / "store")
    config = make_config().model_dump(mode="json")
    record = RunRecord("r1", "2026-01-31T14:25:01+00:00", 1, 0, False, config, {}, state=RunState.FINISHED)
    leave_run(store, replace(record, finished=record.created))
    write_inputs(store, RunLayout("r1"), Inputs([InputImage("a.png", "a-1", "aa.png", None, "a.png", 9, 7, 3)], []))
    store.put(image_key("aa.png"), b"pixels")
    return store


def test_a_run_is_exported_deleted_pruned_and_imported(store: LocalStore, tmp_path: Path) -> None:
    run = orchestrator.Run("r1", store.url)
    assert run.export(str(tmp_path / "r1.tar")) == tmp_path / "r1.tar"
    run.delete()
    assert orchestrator.runs(store.url) == []
    with pytest.raises(UserMistakeError, match="no run 'r1'"):
        run.status()
    assert not orchestrator.prune_store(store.url).inputs
    planned = orchestrator.prune_store(store.url, older_than=timedelta(0), dry_run=True)
    assert store.exists(image_key("aa.png"))
    assert orchestrator.prune_store(store.url, older_than=timedelta(0)).inputs == planned.inputs
    assert not store.exists(image_key("aa.png"))
    again = orchestrator.import_run(tmp_path / "r1.tar", store=store.url)
    assert again.status().state is RunState.FINISHED
    assert store.get(image_key("aa.png")) == b"pixels"
    assert orchestrator.prune_store(store.url, keep=0).runs == ["r1"]
