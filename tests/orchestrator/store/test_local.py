import errno
import fcntl
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DamagedError, StoreError, StoreUnavailableError
from orchestrator.store import LocalStore, Store
from orchestrator.store import local as module
from orchestrator.store.contract import EVERY_OPERATION, StoreContract
from orchestrator.store.folders import flush
from orchestrator.store.patient import PatientStore
from orchestrator.store.sums import SUMS

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
    return sorted(path.name for path in Path(store.url, folder).iterdir() if path.name != SUMS)


def without_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the file system has no extended attributes."""

    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "setxattr", unsupported, raising=False)
    monkeypatch.setattr(os, "getxattr", unsupported, raising=False)


class TestLocalStore(StoreContract):
    def damage(self, store: Store, key: str, data: bytes) -> None:
        Path(store.show(key)).write_bytes(data)


class TestWithoutAttributes(TestLocalStore):
    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
        without_attributes(monkeypatch)
        return LocalStore(tmp_path / "store")


# Content.


@pytest.mark.parametrize("method", ["put", "create"])
def test_a_files_sha256_is_its_attribute(store: LocalStore, method: str) -> None:
    getattr(store, method)("a", b"abc")
    assert attribute_or_skip(Path(store.show("a"))).startswith("ba7816bf8f01cfea")


def test_a_file_that_somebody_put_there_is_taken_as_it_is(store: LocalStore) -> None:
    store.put("a", b"1")
    shutil.copyfile(store.show("a"), store.show("b"))
    assert store.get("b") == b"1"
    assert store.local_path("b").read_bytes() == b"1"


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

    def call(*arguments: object, **named: object) -> object:
        if left[0]:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return replaced(*arguments, **named)  # type: ignore[operator]

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
    monkeypatch.setattr(module, "flush", failing(errno.EIO, 1, flush))
    patient = PatientStore(store, patience_s=60, sleep=lambda _: None)
    assert patient.create("claim", b"mine") == (winner == "mine")
    assert store.get("claim") == winner.encode()
    assert names(store, "") == ["before", "claim"]


def test_a_link_whose_answer_was_lost_is_known(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def linked_and_lost(source: str, target: str, **how: Any) -> None:
        link(source, target, **how)
        raise OSError(errno.ETIMEDOUT, "timed out")

    monkeypatch.setattr(os, "link", linked_and_lost)
    with pytest.raises(StoreUnavailableError, match="timed out"):
        store.create("claim", b"mine", token="1")  # noqa: S106
    monkeypatch.undo()
    assert not store.create("claim", b"theirs", token="2")  # noqa: S106
    assert store.create("claim", b"mine", token="1")  # noqa: S106
    assert names(store, "") == ["claim"]


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_named(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "link", failing(code, 1, None))
    with pytest.raises(StoreError, match=r"hard links.*choose another place with --store"):
        store.create("claim", b"")
    assert names(store, "") == []


def test_a_share_whose_folders_cannot_be_flushed_will_do(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def of_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", of_files)
    store.put("a/b", b"1")
    assert store.create("a/c", b"2")
    assert (store.get("a/b"), store.get("a/c")) == (b"1", b"2")


def test_a_read_only_file_system_is_no_reason_for_another_store(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a/b", b"1")
    monkeypatch.setattr(os, "fsync", failing(errno.EROFS, 1, None))
    with pytest.raises(StoreError, match=r"read-only: make it writable .* and resume the run"):
        store.put("a/b", b"2")


def test_new_folders_are_flushed_as_entries_of_their_parents(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed: list[Path] = []

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            flushed.append(Path(f"/proc/self/fd/{descriptor}").readlink())

    monkeypatch.setattr(os, "fsync", fsync)
    root = Path(store.url)
    store.put("a/b/c", b"")
    assert set(flushed) == {root.parent, root, root / "a", root / "a" / "b"}
    flushed.clear()
    store.put("a/b/d", b"")
    assert flushed == [root / "a" / "b"]


def test_a_folder_that_is_deleted_in_the_middle_of_a_write_is_made_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def lose_and_replace(*names: str, **folders: int) -> None:
        monkeypatch.undo()
        store.delete_all("a")
        replace(*names, **folders)

    monkeypatch.setattr(os, "replace", lose_and_replace)
    PatientStore(store, patience_s=60, sleep=lambda _: None).put("a/b", b"1")
    assert store.get("a/b") == b"1"


def test_folders_that_become_empty_go_with_their_last_object(store: LocalStore) -> None:
    for key in ("a/b/c/1", "a/b/c/2", "a/d", "e/f"):
        store.put(key, b"")
    store.delete_many(["a/b/c/1"])
    assert names(store, "a/b") == ["c"]
    store.delete_many(["a/b/c/2", "e/f"])
    assert names(store, "") == ["a"]
    assert names(store, "a") == ["d"]


def test_what_another_deletes_meanwhile_does_not_keep_the_rest(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("a/b", "a/c"):
        store.put(key, b"")
    remove = shutil.rmtree

    def remove_late(name: str, **_: object) -> None:
        monkeypatch.undo()
        store.delete("a/b")
        raise FileNotFoundError(errno.ENOENT, "gone", name)

    monkeypatch.setattr(shutil, "rmtree", remove_late)
    store.delete_all("a")
    assert remove is shutil.rmtree
    assert list(store.keys("a")) == []


# Links.


@pytest.fixture
def outside(tmp_path: Path, store: LocalStore) -> Path:
    """A folder outside of the store, and links in the store to it (``r/f``) and to a file in it (``r/o``)."""
    store.put("r/a", b"inside")
    folder = tmp_path / "outside"
    (folder / "deep").mkdir(parents=True)
    for file in (folder / "o", folder / "deep" / "o"):
        file.write_bytes(b"precious")
    Path(store.url, "r", "f").symlink_to(folder)
    Path(store.url, "r", "o").symlink_to(folder / "o")
    return folder


def refused(store: LocalStore, operation: Callable[[LocalStore], object], message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        operation(store)
    assert not isinstance(caught.value, StoreUnavailableError)


OPERATIONS: dict[str, Callable[[LocalStore], object]] = {
    "get": lambda store: refused(store, lambda store: store.get("r/f/o"), "symbolic link"),
    "get, of a file": lambda store: refused(store, lambda store: store.get("r/o"), "symbolic link"),
    "get_many": lambda store: refused(store, lambda store: list(store.get_many(["r/o"])), "symbolic link"),
    "local_path": lambda store: refused(store, lambda store: store.local_path("r/f/o"), "symbolic link"),
    "local_path, of a file": lambda store: refused(store, lambda store: store.local_path("r/o"), "symbolic link"),
    "put": lambda store: refused(store, lambda store: store.put("r/f/o", b"evil"), "put the folder itself"),
    "put, of a new folder": lambda store: refused(
        store, lambda store: store.put("r/f/new/o", b""), "the folder itself"
    ),
    "create": lambda store: refused(store, lambda store: store.create("r/f/new", b"evil"), "put the folder itself"),
    "create, of a file": lambda store: not store.create("r/o", b"evil"),
    "exists": lambda store: not store.exists("r/f/o"),
    "exists, of a file": lambda store: not store.exists("r/o"),
    "delete": lambda store: store.delete("r/f/o"),
    "delete_all": lambda store: store.delete_all("r/f"),
    "delete_all, of a folder below": lambda store: store.delete_all("r/f/deep"),
    "delete_all, of all above": lambda store: store.delete_all("r"),
    "keys": lambda store: list(store.keys("r")) == ["r/a"],
    "keys, of the link": lambda store: not list(store.keys("r/f")),
    "children": lambda store: store.children("r") == ["a"],
    "children, of the link": lambda store: not store.children("r/f"),
    "sweep": lambda store: not store.sweep("r/f"),
    "sweep, of all above": lambda store: not store.sweep("r"),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_no_operation_follows_a_link_out_of_the_store(
    store: LocalStore, outside: Path, operation: Callable[[LocalStore], object]
) -> None:
    leave_behind(outside / ".partial-0123")
    there = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    assert operation(store) in (None, True)
    assert {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()} == there


def test_writing_and_deleting_a_link_take_the_link_alone(store: LocalStore, outside: Path) -> None:
    store.put("r/o", b"mine")
    assert store.get("r/o") == b"mine"
    store.delete("r/f")
    assert names(store, "r") == ["a", "o"]
    assert (outside / "o").read_bytes() == b"precious"


def test_a_folder_that_becomes_a_link_while_it_is_deleted_leads_nowhere(
    store: LocalStore, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("r/g/h/i", b"")
    open_ = os.open

    def exchange_and_open(path: Any, *arguments: Any, **how: Any) -> int:
        if path == "h":
            monkeypatch.undo()
            (Path(store.url) / "r/g/h").rename(Path(store.url) / "r/moved")
            (Path(store.url) / "r/g/h").symlink_to(outside)
        return open_(path, *arguments, **how)

    monkeypatch.setattr(os, "open", exchange_and_open)
    with pytest.raises(StoreError, match="symbolic link"):
        store.delete_all("r/g")
    assert (outside / "o").read_bytes() == b"precious"


def test_the_root_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "here").symlink_to(tmp_path / "there")
    store = LocalStore(tmp_path / "here")
    store.put("a/b", b"1")
    assert (tmp_path / "there" / "a" / "b").read_bytes() == b"1"
    assert list(store.keys("a")) == ["a/b"]


def test_what_is_no_regular_file_is_damaged_and_keeps_nobody_waiting(store: LocalStore) -> None:
    store.put("a/b", b"")
    os.mkfifo(Path(store.url, "a", "pipe"))
    for operation in (store.get, store.local_path):
        with pytest.raises(DamagedError, match="no regular file"):
            operation("a/pipe")
    assert list(store.keys("a")) == ["a/b"]
    assert not store.exists("a/pipe")


# Leftovers and troubles.


def test_a_partial_file_is_never_taken_for_an_object(store: LocalStore) -> None:
    store.put("a/b", b"x")
    Path(store.url, "a", ".partial-0123").write_bytes(b"half")
    assert list(store.keys("a")) == ["a/b"]
    assert store.children("a") == ["b"]
    store.delete_all("a")
    assert not Path(store.url, "a").exists()


def leave_behind(path: Path, age_s: float = 60.0) -> None:
    """Leave a file as a writer that was killed so many seconds ago does."""
    path.write_bytes(b"half")
    os.utime(path, (time.time() - age_s,) * 2)


def test_what_dead_writers_left_is_swept(store: LocalStore, tmp_path: Path) -> None:
    store.put("r/a/b", b"x")
    folder = Path(store.url, "r", "a")
    leave_behind(folder / ".partial-0123")
    leave_behind(folder / ".partial-4567")
    leave_behind(tmp_path / ".partial-89ab")
    assert store.sweep("r", dry_run=True) == 2
    assert store.sweep("r") == 2
    assert store.sweep("r", dry_run=True) == 0
    assert names(store, "r/a") == ["b"]
    assert store.sweep("nothing") == 0
    assert (tmp_path / ".partial-89ab").exists()


def test_folders_without_an_object_are_swept(store: LocalStore) -> None:
    for key in ("r/a/b/c", "r/d", "r/e/f/g", "s/h"):
        store.put(key, b"x")
    store.delete("r/a/b/c")
    store.delete_all("r/e/f")
    assert store.sweep("r", dry_run=True) == 0
    assert names(store, "r") == ["a", "d", "e"]
    assert store.sweep("r") == 0
    assert names(store, "r") == ["d"]
    store.delete("r/d")
    store.sweep("r")
    assert names(store, ".") == ["s"]
    store.sweep("")
    assert names(store, ".") == ["s"]


@pytest.mark.parametrize("alive", ["holds its lock", "has only begun"])
def test_what_a_living_writer_needs_is_not_swept(store: LocalStore, alive: str) -> None:
    store.put("r/a/b", b"x")
    partial = Path(store.url, "r", "a", ".partial-0123")
    leave_behind(partial, 60 if alive == "holds its lock" else 1)
    with partial.open("rb+") as file:
        if alive == "holds its lock":
            fcntl.flock(file, fcntl.LOCK_EX)
        assert store.sweep("r") == 0
    assert partial.exists()


def test_a_writer_holds_its_lock_until_its_object_is_in_place(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    def sweep_and_fail(partial: str, _: str, **how: int) -> None:
        os.utime(partial, (time.time() - 60,) * 2, dir_fd=how["src_dir_fd"])
        kept.append(store.sweep("a"))
        raise OSError(errno.EIO, "lost")

    for name in ("replace", "link"):
        monkeypatch.setattr(os, name, sweep_and_fail)
    for method in (store.put, store.create):
        with pytest.raises(StoreUnavailableError):
            method("a/b", b"1")
    assert kept == [0, 0]


def test_without_locks_only_old_files_are_swept(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put("r/a", b"x")
    monkeypatch.setattr(fcntl, "flock", failing(errno.ENOLCK, 9, None))
    leave_behind(Path(store.url, "r", ".partial-0123"))
    leave_behind(Path(store.url, "r", ".partial-4567"), age_s=100_000)
    assert store.sweep("r") == 1
    assert names(store, "r") == [".partial-0123", "a"]


@pytest.mark.parametrize("code", [errno.ESTALE, errno.ETIMEDOUT, errno.EIO, errno.ENOTCONN])
def test_a_file_system_out_of_reach_is_unavailable_and_no_object_missing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    store.put("a/b", b"1")
    monkeypatch.setattr(os, "open", fail)
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


@pytest.mark.parametrize("instead", ["nothing", "an empty folder", "another store"])
@pytest.mark.parametrize("operation", EVERY_OPERATION.values(), ids=EVERY_OPERATION)
def test_a_store_that_vanished_is_not_made_anew_and_no_object_of_it_is_missing(
    store: LocalStore, tmp_path: Path, instead: str, operation: Callable[[Store], object]
) -> None:
    store.put("a/b", b"1")
    store.create("store.json", b"this one")
    store.hold(b"this one")
    operation(store)
    store.put("a/b", b"1")
    away = Path(store.url).rename(tmp_path / "away")
    if instead != "nothing":
        Path(store.url).mkdir()
    if instead == "another store":
        LocalStore(store.url).create("store.json", b"that one")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StoreUnavailableError, match="mount it, or put it back, and resume the run"):
        operation(store)
    assert sorted(tmp_path.rglob("*")) == before
    shutil.rmtree(store.url, ignore_errors=True)
    away.rename(store.url)
    operation(store)


def test_a_marker_that_is_a_link_is_none(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"1")
    (tmp_path / "elsewhere").write_bytes(b"this one")
    Path(store.url, "store.json").symlink_to(tmp_path / "elsewhere")
    store.hold(b"this one")
    with pytest.raises(StoreUnavailableError, match="is another one"):
        store.get("a")


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for method in ("put", "create"):
        with pytest.raises(StoreError, match="choose another place with --store") as caught:
            getattr(LocalStore(tmp_path / "file" / "store"), method)("a", b"")
        assert not isinstance(caught.value, StoreUnavailableError)


_IN_LATIN_1 = """
import sys
assert sys.getfilesystemencoding() != "utf-8", sys.getfilesystemencoding()
from orchestrator.store import LocalStore
store = LocalStore(sys.argv[1])
japanese, key = "\\u65e5\\u672c", "a/\\u65e5\\u672c/\\u00e9.png"
assert store.get(key) == b"theirs"
assert list(store.keys("a")) == [key] == [entry.key for entry in store.entries(f"a/{japanese}")]
assert store.children("a") == [japanese]
assert store.local_path(key).read_bytes() == b"theirs"
store.put(key, b"mine")
assert store.create(f"b/{japanese}", b"created")
store.delete_many([f"b/{japanese}"])
assert store.children("b") == []
"""


def test_keys_are_the_same_in_a_process_whose_locale_is_not_utf_8(store: LocalStore) -> None:
    key = "a/\u65e5\u672c/\u00e9.png"
    store.put(key, b"theirs")
    other = {**os.environ, "PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-X", "utf8=0", "-c", _IN_LATIN_1, store.url], check=True, env=other)
    assert store.get(key) == b"mine"
    assert list(store.keys("")) == [key]
    lines = (Path(store.url) / "a/\u65e5\u672c" / SUMS).read_bytes().split()
    assert set(lines[1::2]) == {"\u00e9.png".encode()}
