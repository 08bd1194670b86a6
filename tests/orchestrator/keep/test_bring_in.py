from pathlib import Path

import pytest

from orchestrator.errors import UserMistakeError
from orchestrator.keep.bring_in import import_run
from orchestrator.keep.export import export_run
from orchestrator.run.attempt import Holder
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import list_runs
from orchestrator.run.upkeep import upkeep
from orchestrator.store import LocalStore, Store
from tests.old_runs import FINISHED, OLD_RUNS, unpack
from tests.orchestrator.keep.conftest import LARGE, OTHER, SMALL, LeaveRun, contents, died


@pytest.fixture
def parcel(elsewhere: LocalStore, leave: LeaveRun, tmp_path: Path) -> Path:
    """An export of a run in another store."""
    leave("r1", [SMALL, LARGE], into=elsewhere)
    export_run(elsewhere, "r1", tmp_path / "r1.tar")
    return tmp_path / "r1.tar"


def runs(store: Store) -> list[str]:
    records, unreadable = list_runs(store)
    assert not unreadable
    return [record.run for record in records]


@pytest.mark.parametrize("name", ["out", "out.tar.zst", "out.tgz"])
def test_a_run_comes_back_byte_for_byte(
    store: Store, elsewhere: LocalStore, parcel: Path, tmp_path: Path, name: str
) -> None:
    export_run(elsewhere, "r1", tmp_path / name)
    assert import_run(store, tmp_path / name) == "r1"
    assert contents(store) == contents(elsewhere)
    assert parcel.exists()


def test_a_run_that_is_there_is_refused_unless_it_is_the_same(store: Store, leave: LeaveRun, parcel: Path) -> None:
    import_run(store, parcel)
    store.delete(LARGE.key)
    import_run(store, parcel)
    whole = contents(store)
    assert whole[LARGE.key] == LARGE.content
    store.put(RunLayout("r1").results("csv"), b"more")
    with pytest.raises(UserMistakeError, match="has a run r1 that is not the same"):
        import_run(store, parcel)
    store.delete(RunLayout("r1").results("csv"))
    leave("r1", [OTHER])
    another = contents(store)
    with pytest.raises(UserMistakeError, match="has a run r1 that is not the same"):
        import_run(store, parcel)
    assert contents(store) == another


def test_an_import_that_is_killed_at_any_moment_shows_no_run_and_is_completed_by_the_next(
    store: Store, elsewhere: LocalStore, parcel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)
    store.put(f"{RunLayout('r1').root}/rows/left.json", b"[]")
    changes = 0
    while died(store, changes, lambda dying: import_run(dying, parcel)):
        if runs(store):
            break
        changes += 1
    assert changes > 8
    import_run(store, parcel)
    assert runs(store) == ["r1"]
    assert contents(store) == contents(elsewhere)


def test_objects_that_the_store_has_already_are_kept(store: Store, parcel: Path) -> None:
    key = next(key for key in contents(LocalStore(parcel.parent / "elsewhere"), "fingerprints") if key.endswith("npy"))
    store.put(key, b"computed on a GPU")
    import_run(store, parcel)
    assert store.get(key) == b"computed on a GPU"


def test_objects_that_the_store_has_damaged_are_replaced(store: Store, parcel: Path) -> None:
    import_run(store, parcel)
    whole = contents(store)
    shared = [key for key in whole if not key.startswith("runs/")]
    for key in shared:
        if isinstance(store, LocalStore):
            Path(store.show(key)).write_bytes(b"damaged")
        elif key.startswith("images/"):
            # A bucket guards its objects itself, but another program may write into it.
            store.put(key, b"damaged")
    import_run(store, parcel)
    assert contents(store) == whole


def test_a_run_that_is_begun_under_the_name_meanwhile_is_not_mixed_with_it(
    store: Store, leave: LeaveRun, parcel: Path
) -> None:
    put, record = store.put, RunLayout("r1").record

    def begin_and_put(key: str, data: bytes) -> None:
        if key == f"{RunLayout('r1').root}/import":
            # The import has seen that there is no run of the name, and the run that nothing else is there.
            store.put = put  # type: ignore[method-assign]
            leave("r1", [OTHER], listed=False)
        put(key, data)

    store.put = begin_and_put  # type: ignore[method-assign]
    with pytest.raises(UserMistakeError, match="has a run r1 that is not the same"):
        import_run(store, parcel)
    begun = contents(store, "runs")
    assert record in begun
    assert f"{RunLayout('r1').root}/import" not in begun
    assert begun.keys() == {key for key in begun if OTHER.file[:12] in key or "claims" in key or key == record}


def test_a_run_that_takes_the_name_at_the_last_moment_stays(store: Store, leave: LeaveRun, parcel: Path) -> None:
    def begin(done: int, total: int) -> None:
        if done == total:
            leave("r1", [OTHER], listed=False)

    with pytest.raises(UserMistakeError, match="has a run r1 that is not the same"):
        import_run(store, parcel, on_progress=begin)
    assert store.get(RunLayout("r1").record)


def test_only_one_process_looks_after_a_store(store: Store, parcel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with upkeep(store, "prune"):
        monkeypatch.setattr("orchestrator.run.claim._watch", refuse)
        with pytest.raises(UserMistakeError, match=r"by prune, process \d+ on .*; try again later"):
            import_run(store, parcel)
    assert runs(store) == []


def refuse(*_: object, **__: object) -> None:
    raise UserMistakeError("it is alive")


@pytest.mark.parametrize("run", OLD_RUNS)
def test_runs_of_the_first_version_are_exported_and_imported_as_they_are(tmp_path: Path, run: str) -> None:
    old, new = LocalStore(unpack(tmp_path)), LocalStore(tmp_path / "new")
    export_run(old, run, tmp_path / f"{run}.tar")
    assert import_run(new, tmp_path / f"{run}.tar") == run
    assert contents(new, "runs") == contents(old, f"runs/{run}")
    assert contents(old).items() >= contents(new).items()
    (record,), _ = list_runs(new)
    assert record.state.value == ("finished" if run in FINISHED else "interrupted")
