import os
from pathlib import Path

import pytest

from orchestrator.errors import StoreError
from orchestrator.store import LocalStore
from tests.orchestrator.store.contract import StoreContract


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


class TestLocalStore(StoreContract):
    pass


def test_a_write_that_fails_leaves_the_old_object_and_no_partial_file(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a/b", b"old")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(StoreError, match="the disk is full"):
        store.put("a/b", b"new")
    assert store.get("a/b") == b"old"
    assert [path.name for path in Path(store.url, "a").iterdir()] == ["b"]


def test_a_partial_file_is_never_taken_for_an_object(store: LocalStore) -> None:
    store.put("a/b", b"x")
    Path(store.url, "a", ".partial-0123").write_bytes(b"half")
    assert list(store.keys("a")) == ["a/b"]
    assert store.children("a") == ["b"]


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="choose another place with --store"):
        LocalStore(tmp_path / "file" / "store").put("a", b"")
