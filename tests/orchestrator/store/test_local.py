import errno
import os
import shutil
from pathlib import Path

import pytest

from orchestrator.errors import DamagedError, StoreError, StoreUnavailableError
from orchestrator.store import LocalStore, Store
from orchestrator.store import local as module
from orchestrator.store.contract import StoreContract
from orchestrator.store.patient import PatientStore

ATTRIBUTE = "user.dip.sha256"


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def attribute_or_skip(path: Path) -> str:
    try:
        return os.getxattr(path, ATTRIBUTE).decode()
    except (AttributeError, OSError):
        pytest.skip("this file system has no extended attributes")


def names(store: LocalStore, folder: str) -> list[str]:
    return sorted(path.name for path in Path(store.url, folder).iterdir())


class TestLocalStore(StoreContract):
    def damage(self, store: Store, key: str, data: bytes) -> None:
        attribute_or_skip(Path(store.show(key)))
        Path(store.show(key)).write_bytes(data)


# Content.


@pytest.mark.parametrize("method", ["put", "create"])
def test_a_files_sha256_is_its_attribute(store: LocalStore, method: str) -> None:
    getattr(store, method)("a", b"abc")
    assert attribute_or_skip(Path(store.show("a"))).startswith("ba7816bf8f01cfea")


def test_a_file_without_an_attribute_is_taken_as_it_is(store: LocalStore) -> None:
    store.put("a", b"1")
    shutil.copyfile(store.show("a"), store.show("b"))
    assert store.get("b") == b"1"
    assert store.local_path("b").read_bytes() == b"1"


def test_a_file_system_without_attributes_will_do(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", unsupported, raising=False)
    monkeypatch.setattr(os, "getxattr", unsupported, raising=False)
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert store.local_path("a").read_bytes() == b"1"


def test_a_damaged_file_says_what_to_do(store: LocalStore) -> None:
    store.put("a", b"1")
    attribute_or_skip(Path(store.show("a")))
    Path(store.show("a")).write_bytes(b"2")
    with pytest.raises(DamagedError, match="put back a good copy, or delete it if it was computed, and resume the run"):
        store.get("a")


# Writing.


def failing(code: int, times: int, replaced: object) -> object:
    """A function that fails as the system does, ``times`` times, and then works."""
    left = [times]

    def call(*arguments: object) -> object:
        if left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return replaced(*arguments)  # type: ignore[operator]

    return call


def test_a_write_that_fails_leaves_the_old_object_and_no_partial_file(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a/b", b"old")
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC, 2, os.fsync))
    with pytest.raises(StoreUnavailableError, match=r"cannot write a/b .*: the disk is full"):
        store.put("a/b", b"new")
    with pytest.raises(StoreUnavailableError, match=r"cannot write a/c .*: the disk is full"):
        store.create("a/c", b"new")
    assert store.get("a/b") == b"old"
    assert names(store, "a") == ["b"]


@pytest.mark.parametrize("method", ["put", "create"])
def test_a_write_goes_through_when_there_is_space_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    waits: list[float] = []
    patient = PatientStore(store, patience_s=60, sleep=waits.append)
    monkeypatch.setattr(os, "fsync", failing(errno.ENOSPC, 3, os.fsync))
    getattr(patient, method)("a/b", b"new")
    assert len(waits) == 3
    assert store.get("a/b") == b"new"
    assert names(store, "a") == ["b"]


@pytest.mark.parametrize("winner", ["mine", "theirs"])
def test_a_create_that_met_trouble_after_its_link_knows_it_when_repeated(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, winner: str
) -> None:
    if winner == "theirs":
        store.create("claim", b"theirs")
    store.put("before", b"")  # the folder is there: only its flush after the link fails
    monkeypatch.setattr(module, "_flush", failing(errno.EIO, 1, module._flush))
    patient = PatientStore(store, patience_s=60, sleep=lambda _: None)
    assert patient.create("claim", b"mine") == (winner == "mine")
    assert store.get("claim") == winner.encode()
    assert names(store, "") == ["before", "claim"]


def test_a_link_whose_answer_was_lost_is_known(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    link = Path.hardlink_to

    def linked_and_lost(self: Path, target: Path) -> None:
        link(self, target)
        raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr(Path, "hardlink_to", linked_and_lost)
    with pytest.raises(StoreUnavailableError, match="timed out"):
        store.create("claim", b"mine", token="1")  # noqa: S106
    monkeypatch.undo()
    assert not store.create("claim", b"theirs", token="2")  # noqa: S106
    assert store.create("claim", b"mine", token="1")  # noqa: S106
    assert names(store, "") == ["claim"]


def test_a_file_system_without_hard_links_is_named(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", failing(errno.EPERM, 1, None))
    with pytest.raises(StoreError, match=r"hard links.*choose another place with --store"):
        store.create("claim", b"")
    assert names(store, "") == []


def test_new_folders_are_flushed_as_entries_of_their_parents(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []
    monkeypatch.setattr(module, "_flush", flushed.append)
    root = Path(store.url)
    store.put("a/b/c", b"")
    assert set(flushed) == {root.parent, root, root / "a", root / "a" / "b"}
    flushed.clear()
    store.put("a/b/d", b"")
    assert flushed == [root / "a" / "b"]


def test_a_folder_that_is_deleted_in_the_middle_of_a_write_is_made_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = module._make_folder

    def make_and_lose(folder: Path) -> None:
        make(folder)
        monkeypatch.undo()
        store.delete_all("a")

    monkeypatch.setattr(module, "_make_folder", make_and_lose)
    PatientStore(store, patience_s=60, sleep=lambda _: None).put("a/b", b"1")
    assert store.get("a/b") == b"1"


def test_what_another_deletes_meanwhile_does_not_keep_the_rest(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a/b", "a/c"):
        store.put(key, b"")
    remove = shutil.rmtree

    def remove_late(path: Path) -> None:
        monkeypatch.undo()
        store.delete("a/b")
        raise FileNotFoundError(errno.ENOENT, "gone", str(path))

    monkeypatch.setattr(shutil, "rmtree", remove_late)
    store.delete_all("a")
    assert remove is shutil.rmtree
    assert list(store.keys("a")) == []


# Leftovers and troubles.


def test_a_partial_file_is_never_taken_for_an_object(store: LocalStore) -> None:
    store.put("a/b", b"x")
    Path(store.url, "a", ".partial-0123").write_bytes(b"half")
    assert list(store.keys("a")) == ["a/b"]
    assert store.children("a") == ["b"]
    store.delete_all("a")
    assert not Path(store.url, "a").exists()


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.ENOTCONN])
def test_a_file_system_out_of_reach_is_unavailable_and_no_object_missing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store.put("a/b", b"1")
    for module_, name in ((Path, "open"), (Path, "stat"), (Path, "iterdir"), (os, "scandir")):
        monkeypatch.setattr(module_, name, fail)
    for operation in (
        lambda: store.get("a/b"),
        lambda: store.local_path("a/b"),
        lambda: store.exists("a/b"),
        lambda: list(store.keys("a")),
        lambda: store.children("a"),
        lambda: store.delete_all("a"),
        lambda: store.put("a/b", b""),
    ):
        with pytest.raises(StoreUnavailableError, match="cannot"):
            operation()


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for method in ("put", "create"):
        with pytest.raises(StoreError, match="choose another place with --store") as caught:
            getattr(LocalStore(tmp_path / "file" / "store"), method)("a", b"")
        assert not isinstance(caught.value, StoreUnavailableError)
