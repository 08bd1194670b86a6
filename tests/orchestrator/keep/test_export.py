from pathlib import Path

import pytest

from orchestrator.errors import DamagedError, UserMistakeError
from orchestrator.keep.export import export_run
from orchestrator.keep.parcel import LIST, verified
from orchestrator.run.attempt import RunState
from orchestrator.run.claim import take
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.store import LocalStore, Store
from tests.orchestrator.keep.conftest import LARGE, OTHER, SMALL, LeaveRun, contents


@pytest.fixture
def there(store: Store, leave: LeaveRun) -> dict[str, bytes]:
    """A run that shares a store with another; returns what an export of it has."""
    leave("r1", [SMALL, LARGE])
    whole = contents(store)
    leave("r2", [SMALL, OTHER])
    return whole


def test_a_folder_has_the_run_with_its_inputs_and_banks_and_is_a_store(
    store: Store, there: dict[str, bytes], tmp_path: Path
) -> None:
    told: list[tuple[int, int]] = []
    export_run(store, "r1", tmp_path / "new" / "out", on_progress=lambda *counts: told.append(counts))
    exported = LocalStore(tmp_path / "new" / "out")
    assert contents(exported) == there
    assert read_run(exported, "r1") == read_run(store, "r1")
    assert told[-1] == (len(there), len(there))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["out.tar", "out.tar.gz", "out.tgz", "out.tar.zst"])
def test_an_archive_lists_every_object_with_its_sha256(
    store: Store, there: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    export = export_run(store, "r1", tmp_path / "out" / name)
    assert verified(tmp_path / "out" / name) == export
    assert {packed.key: packed.size for packed in export.objects} == {key: len(data) for key, data in there.items()}
    assert export.objects[-1].key == RunLayout("r1").record
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.usefixtures("there")
def test_a_place_that_is_taken_is_left_as_it_is(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    for name in ("a.tar", "folder"):
        with pytest.raises(UserMistakeError, match="is there already"):
            export_run(store, "r1", tmp_path / name)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserMistakeError, match="cannot write"):
        export_run(store, "r1", tmp_path / "file" / "a.tar")
    assert (tmp_path / "a.tar").read_bytes() == b"mine"


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize("name", ["out", "out.tar"])
def test_an_object_that_is_damaged_ends_the_export_and_nothing_is_left(store: Store, tmp_path: Path, name: str) -> None:
    store.put(SMALL.key, b"another content than its name says")
    with pytest.raises(DamagedError, match="is damaged: its content is not the one"):
        export_run(store, "r1", tmp_path / "new" / name)
    assert list((tmp_path / "new").iterdir()) == []


def test_what_was_written_is_read_again(
    store: Store, there: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put
    monkeypatch.setattr(LocalStore, "put", lambda self, key, data: put(self, key, data if key == LIST else data + b"x"))
    with pytest.raises(DamagedError):
        export_run(store, "r1", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(there) > 5


def test_a_run_that_is_under_way_or_has_nothing_yet_is_refused(store: Store, leave: LeaveRun, tmp_path: Path) -> None:
    leave("r1", [SMALL], listed=False, state=RunState.INTERRUPTED)
    with pytest.raises(UserMistakeError, match="nothing to export"):
        export_run(store, "r1", tmp_path / "out")
    leave("r2", [SMALL], state=RunState.RUNNING)
    with pytest.raises(UserMistakeError, match="under way"):
        export_run(store, "r2", tmp_path / "out")
    leave("r3", [SMALL], tickets="r1", state=RunState.CANCELLED)
    with pytest.raises(UserMistakeError, match="takes the lottery tickets of r1"):
        export_run(store, "r3", tmp_path / "out")
    with pytest.raises(UserMistakeError, match="no run 'r4'"):
        export_run(store, "r4", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("there")
def test_a_run_that_was_resumed_meanwhile_is_not_exported(store: Store, tmp_path: Path) -> None:
    def resume(done: int, total: int) -> None:
        if done == total:
            with take(store, RunLayout("r1"), {}) as claim:
                claim.end(RunState.FINISHED)

    with pytest.raises(UserMistakeError, match="under way"):
        export_run(store, "r1", tmp_path / "out.tar", on_progress=resume)
    assert not (tmp_path / "out.tar").exists()


@pytest.mark.usefixtures("there")
def test_settings_that_are_not_known_here_cost_the_banks_only(store: Store, tmp_path: Path) -> None:
    record = read_run(store, "r1")
    record.config["score"]["view"] = "sideways"
    store.put(RunLayout("r1").record, record.to_json())
    export = export_run(store, "r1", tmp_path / "out.tar")
    assert {packed.key.split("/")[0] for packed in export.objects} == {"images", "runs"}
