from pathlib import Path

import pytest

from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.store import LocalStore, check_store
from tests.orchestrator.store.checking import ChecksFirst


def test_a_store_that_overwrites_what_was_created_is_found_out(tmp_path: Path) -> None:
    class Careless(LocalStore):
        def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
            self.put(key, data)
            return True

    with pytest.raises(StoreError, match="overwrites what was created"):
        check_store(Careless(tmp_path), "probes/1")
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_checks_first_and_writes_then_is_found_out(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="it checks first and writes then"):
        check_store(ChecksFirst(tmp_path / "store", "threads"), "probes/1")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_store_in_trouble_is_no_store_with_two_winners(tmp_path: Path) -> None:
    class Troubled(LocalStore):
        def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
            if key.endswith("-1"):
                raise StoreUnavailableError("away")
            return super().create(key, data, token=token)

    with pytest.raises(StoreUnavailableError, match="away"):
        check_store(Troubled(tmp_path), "probes/1")
