import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.doctor.store import check_objects
from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.store import LocalStore
from tests.orchestrator.store.checking import ChecksFirst, Writers


class Careless(LocalStore):
    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        self.put(key, data)
        return True


class Forgetful(LocalStore):
    def get(self, key: str) -> bytes:
        return b""

    def keys(self, prefix: str) -> Iterator[str]:
        return iter(())

    def delete(self, key: str) -> None:
        pass


class Full(LocalStore):
    def put(self, key: str, data: bytes) -> None:
        raise StoreUnavailableError("the disk is full")


class Locked(LocalStore):
    def keys(self, prefix: str) -> Iterator[str]:
        raise StoreError("permission denied")


def test_a_store_that_does_all_that_a_run_needs_is_left_as_it_was(tmp_path: Path) -> None:
    new = LocalStore(tmp_path / "new")
    plain, once = check_objects(new)
    assert plain.ok
    assert once.ok
    assert once.found.endswith("exactly one does (tried 2 times by 4 threads, 3 times by 4 processes)")
    assert list(tmp_path.iterdir()) == []
    used = LocalStore(tmp_path / "used")
    used.put("runs/x", b"1")
    assert all(check.ok for check in check_objects(used))
    assert [path.name for path in (tmp_path / "used").iterdir()] == ["runs"]


def test_a_store_that_does_not_create_once_is_told_apart(tmp_path: Path) -> None:
    plain, once = check_objects(Careless(tmp_path))
    assert plain.ok
    assert once.check == "create-once"
    assert once.found.startswith("two drivers could take one run: ")
    assert "overwrites what was created" in once.found
    assert "docs/store.md" in str(once.advice)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("writers", ["threads", "processes"])
def test_a_store_that_checks_first_and_writes_then_is_told_apart(tmp_path: Path, writers: Writers) -> None:
    plain, once = check_objects(ChecksFirst(tmp_path / "store", writers))
    assert plain.ok
    assert re.search(
        r"two drivers could take one run: [234] of 4 writers at once were told by the store .*/store that they had"
        " created one object: it checks first and writes then",
        once.found,
    )
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("kind", "found", "advice"),
    [
        (Forgetful, "does not give back what it was given nor list what it holds nor delete", "another place"),
        (Full, "the disk is full", "bring it back"),
        (Locked, "permission denied", "docs/store.md"),
    ],
)
def test_what_a_store_does_not_do_is_one_answer(
    tmp_path: Path, kind: type[LocalStore], found: str, advice: str
) -> None:
    (check,) = check_objects(kind(tmp_path))
    assert check.check == "store"
    assert found in check.found
    assert advice in str(check.advice)
