"""The promises of a store as a test class: every implementation's tests inherit it and give it a ``store`` fixture."""

import threading

import pytest

from orchestrator.errors import NotFoundError, StoreError
from orchestrator.store import Store, open_store


class StoreContract:
    def test_what_was_put_is_got(self, store: Store) -> None:
        store.put("a/b.bin", b"\0\xff")
        assert store.get("a/b.bin") == b"\0\xff"
        assert store.local_path("a/b.bin").read_bytes() == b"\0\xff"

    def test_put_replaces(self, store: Store) -> None:
        store.put("a", b"old")
        store.put("a", b"new")
        assert store.get("a") == b"new"

    def test_a_missing_object_is_not_found(self, store: Store) -> None:
        store.put("a/b", b"")
        for key in ("nothing", "a", "a/b/c"):
            assert not store.exists(key)
            with pytest.raises(NotFoundError, match=key):
                store.get(key)
            with pytest.raises(NotFoundError, match=key):
                store.local_path(key)

    def test_create_has_one_winner_among_many(self, store: Store) -> None:
        wins = []
        barrier = threading.Barrier(8)

        def claim(name: str) -> None:
            barrier.wait()
            if store.create("claims/000001", name.encode()):
                wins.append(name)

        threads = [threading.Thread(target=claim, args=(str(n),)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(wins) == 1
        assert store.get("claims/000001") == wins[0].encode()

    def test_delete_is_idempotent(self, store: Store) -> None:
        store.put("a/b", b"x")
        store.delete("a/b")
        store.delete("a/b")
        assert not store.exists("a/b")

    def test_delete_all_takes_a_prefix_and_nothing_beside_it(self, store: Store) -> None:
        for key in ("a/x/1", "a/x/2/3", "a/xy", "b"):
            store.put(key, b"")
        store.delete_all("a/x")
        store.delete_all("a/x")
        assert list(store.keys("a")) == ["a/xy"]
        assert store.exists("b")

    def test_keys_and_children_are_sorted_and_bounded_by_the_prefix(self, store: Store) -> None:
        for key in ("r/b/2", "r/a/1", "r/a/0", "r/c", "ra"):
            store.put(key, b"")
        assert list(store.keys("r")) == ["r/a/0", "r/a/1", "r/b/2", "r/c"]
        assert store.children("r") == ["a", "b", "c"]
        assert store.children("none") == []

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\0b"])
    def test_a_key_cannot_leave_the_store(self, store: Store, key: str) -> None:
        with pytest.raises(StoreError, match="no key"):
            store.put(key, b"")

    def test_odd_names_are_keys_too(self, store: Store) -> None:
        for key in ("a b", "ü/ß", "line\nbreak", "-dash", "<b>", "..a"):
            store.put(f"odd/{key}", key.encode())
            assert store.get(f"odd/{key}") == key.encode()

    def test_the_url_opens_the_same_store(self, store: Store) -> None:
        store.put("a", b"1")
        assert open_store(store.url).get("a") == b"1"
