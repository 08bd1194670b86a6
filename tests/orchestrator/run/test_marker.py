from pathlib import Path

import pytest

from orchestrator.errors import DamagedError, NewerFormatError, StoreUnavailableError
from orchestrator.run.marker import MARKERS, Marker, hold, hold_if_marked
from orchestrator.store import MARKER, LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def test_a_store_has_one_marker_for_all_who_ask_first_or_later(store: LocalStore, tmp_path: Path) -> None:
    marker = hold(store)
    assert hold(LocalStore(store.url)) == store.get(MARKER) == marker
    assert hold(LocalStore(tmp_path / "other")) != marker
    assert len(MARKERS.from_json(marker).id) == 32


def test_what_only_reads_makes_no_marker_and_holds_to_one_that_is_there(store: LocalStore) -> None:
    hold_if_marked(store)
    assert not Path(store.url).exists()
    hold(LocalStore(store.url))
    hold_if_marked(store)
    Path(store.show(MARKER)).write_bytes(MARKERS.to_json(Marker("0" * 32, "")))
    with pytest.raises(StoreUnavailableError, match="is another one"):
        store.exists("a")


@pytest.mark.parametrize(
    ("marker", "error"), [(b'{"format": 99, "id": "x"}', NewerFormatError), (b"{", DamagedError), (b"", DamagedError)]
)
def test_a_store_of_a_newer_version_is_refused_and_so_is_a_damaged_marker(
    store: LocalStore, marker: bytes, error: type[Exception]
) -> None:
    store.put(MARKER, marker)
    for ask in (hold, hold_if_marked):
        with pytest.raises(error, match=r"store\.json"):
            ask(LocalStore(store.url))
