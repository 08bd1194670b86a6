"""The promises of a store as a test class, for other implementations of a store.

The tests of an implementation inherit it, give it a ``store`` fixture (empty, new for each test) and define how to
damage an object::

    class TestMyStore(StoreContract):
        @pytest.fixture
        def store(self, tmp_path: Path) -> Store:
            return MyStore(tmp_path)

        def damage(self, store: Store, key: str, data: bytes) -> None:
            ...

It needs pytest, and nothing else imports it.
"""

import hashlib
import os
import pickle
import threading
from collections.abc import Callable

import pytest

from orchestrator.errors import DamagedError, NotFoundError, StoreError, StoreUnavailableError
from orchestrator.store import MARKER, Store, check_store, open_store

ODD_NAMES = (
    "a b",
    "ü/ß",
    "line\nbreak",
    "tab\t",
    "-dash",
    "<b>&",
    "..a",
    "a%20b",
    "a+b",
    "q?x=1#y",
    "🙂",
    "dot.",
    "sp ",
)


EVERY_OPERATION: dict[str, Callable[[Store], object]] = {
    "get": lambda store: store.get("a/b"),
    "get_many": lambda store: list(store.get_many(["a/b"])),
    "put": lambda store: store.put("a/b", b"1"),
    "create": lambda store: store.create("a/c", b"1"),
    "checksum": lambda store: store.checksum("a/b"),
    "exists": lambda store: store.exists("a/c"),
    "delete": lambda store: store.delete("a/b"),
    "delete_all": lambda store: store.delete_all("a"),
    "delete_many": lambda store: store.delete_many(["a/b"]),
    "entries": lambda store: list(store.entries("a")),
    "keys": lambda store: list(store.keys("a")),
    "children": lambda store: store.children("a"),
    "local_path": lambda store: store.local_path("a/b"),
}


def _at_once(count: int, call: Callable[[int], None]) -> None:
    """Call with 0 to count - 1, each in a thread, all at the same moment."""
    barrier = threading.Barrier(count)

    def run(number: int) -> None:
        barrier.wait()
        call(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class StoreContract:
    """Tests of everything that `orchestrator.store.base` promises."""

    def damage(self, store: Store, key: str, data: bytes) -> None:
        """Change an object's bytes as no client of the store would; its SHA-256 stays.

        Raises:
            NotImplementedError: the implementation's tests must override it.
        """
        raise NotImplementedError

    def test_what_was_put_is_got(self, store: Store) -> None:
        store.put("a/b.bin", b"\0\xff")
        assert store.get("a/b.bin") == b"\0\xff"
        assert store.exists("a/b.bin")
        assert store.local_path("a/b.bin").read_bytes() == b"\0\xff"
        assert store.local_path("a/b.bin") == store.local_path("a/b.bin")

    def test_an_object_may_be_empty(self, store: Store) -> None:
        store.put("a", b"")
        assert store.exists("a")
        assert store.get("a") == b""
        assert store.local_path("a").read_bytes() == b""

    def test_an_object_may_be_large(self, store: Store) -> None:
        data = os.urandom(12 << 20)
        store.put("large", data)
        assert store.get("large") == data
        assert store.local_path("large").read_bytes() == data

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

    def test_many_are_got_in_order(self, store: Store) -> None:
        keys = [f"many/{number:03}" for number in range(70)]
        for key in keys:
            store.put(key, key.encode())
        assert list(store.get_many(reversed(keys))) == [key.encode() for key in reversed(keys)]
        assert list(store.get_many([])) == []

    def test_of_many_those_before_a_missing_one_are_got(self, store: Store) -> None:
        store.put("0", b"0")
        store.put("2", b"2")
        objects = store.get_many(["0", "1", "2"])
        assert next(objects) == b"0"
        with pytest.raises(NotFoundError, match="1"):
            next(objects)

    def test_a_damaged_object_is_not_given_out(self, store: Store) -> None:
        store.put("a/b", b"as it was written")
        self.damage(store, "a/b", b"as it was writtem")
        with pytest.raises(DamagedError, match="a/b is damaged"):
            store.get("a/b")
        with pytest.raises(DamagedError, match="a/b is damaged"):
            store.local_path("a/b")
        store.put("a/b", b"as it was written")
        assert store.get("a/b") == b"as it was written"

    def test_a_checksum_is_that_of_what_was_written_and_there_is_none_of_nothing(self, store: Store) -> None:
        assert store.checksum("a/b") is None
        for data in (b"first", b"second", b""):
            store.put("a/b", data)
            assert store.checksum("a/b") == hashlib.sha256(data).hexdigest()
        store.create("a/c", b"created")
        assert store.checksum("a/c") == hashlib.sha256(b"created").hexdigest()
        assert store.checksum("a") is None

    def test_create_writes_once(self, store: Store) -> None:
        assert store.create("claim", b"first")
        assert not store.create("claim", b"second")
        assert store.get("claim") == b"first"

    def test_a_create_whose_answer_was_lost_knows_its_own_object(self, store: Store) -> None:
        mine, theirs = "1", "2"
        assert store.create("claim", b"mine", token=mine)
        assert not store.create("claim", b"theirs", token=theirs)
        assert store.get("claim") == b"mine"

    def test_create_has_one_winner_among_many(self, store: Store) -> None:
        wins: list[int] = []

        def make(number: int) -> None:
            if store.create("claims/000001", str(number).encode()):
                wins.append(number)

        _at_once(8, make)
        assert len(wins) == 1
        assert store.get("claims/000001") == str(wins[0]).encode()

    def test_of_many_writers_at_once_one_is_read_whole(self, store: Store) -> None:
        objects = [bytes([number]) * 100_000 for number in range(8)]
        _at_once(8, lambda number: store.put("a", objects[number]))
        assert store.get("a") in objects

    def test_delete_is_idempotent(self, store: Store) -> None:
        store.put("a/b", b"x")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("a")
        assert not store.exists("a/b")

    def test_delete_all_takes_a_prefix_and_nothing_beside_it(self, store: Store) -> None:
        for key in ("a/x/1", "a/x/2/3", "a/x/line\nbreak", "a/xy", "b"):
            store.put(key, b"")
        store.delete_all("a/x")
        store.delete_all("a/x")
        store.delete_all("a/xy")
        assert list(store.keys("a")) == ["a/xy"]
        assert store.exists("b")

    def test_delete_many_takes_these_keys_alone(self, store: Store) -> None:
        for key in ("a/x/1", "a/x/line\nbreak", "a/y", "b/c"):
            store.put(key, b"")
        store.delete_many(["a/x/1", "a/x/line\nbreak", "nothing/here", "b/c"])
        store.delete_many(iter(["a/x/1"]))
        store.delete_many([])
        assert list(store.keys("a")) == ["a/y"]
        assert list(store.keys("b")) == []

    def test_entries_have_sizes_and_times_by_one_clock(self, store: Store) -> None:
        store.put("r/b", b"12")
        store.put("r/a/1", b"123")
        store.put("ra", b"")
        first, second = store.entries("r")
        assert (first.key, first.size, second.key, second.size) == ("r/a/1", 3, "r/b", 2)
        assert abs(first.modified - second.modified) < 60
        assert list(store.entries("none")) == []

    def test_keys_and_children_are_sorted_and_bounded_by_the_prefix(self, store: Store) -> None:
        for key in ("r/b/2", "r/a/1", "r/a/0", "r/a.b", "r/c", "ra"):
            store.put(key, b"")
        assert list(store.keys("r")) == ["r/a.b", "r/a/0", "r/a/1", "r/b/2", "r/c"]
        assert store.children("r") == ["a", "a.b", "b", "c"]
        for nothing in ("none", "ra"):
            assert list(store.keys(nothing)) == []
            assert store.children(nothing) == []

    def test_the_empty_prefix_lists_the_whole_store(self, store: Store) -> None:
        assert (store.children(""), list(store.keys("")), store.sweep("")) == ([], [], 0)
        for key in ("b/c/d", "b/a", "a"):
            store.put(key, b"1")
        assert store.children("") == ["a", "b"]
        assert list(store.keys("")) == [entry.key for entry in store.entries("")] == ["a", "b/a", "b/c/d"]
        assert store.sweep("") == 0
        with pytest.raises(StoreError, match="no key"):
            store.delete_all("")

    def test_a_sweep_takes_no_object(self, store: Store) -> None:
        store.put("a/b", b"1")
        assert store.sweep("a") == 0
        assert store.sweep("nothing") == 0
        assert store.get("a/b") == b"1"

    @pytest.mark.parametrize("key", ["", "/a", "a/", "a//b", "../a", "a/../b", ".", "a\0b", "\udcff"])
    def test_a_key_cannot_leave_the_store(self, store: Store, key: str) -> None:
        with pytest.raises(StoreError, match="no key"):
            store.put(key, b"")
        with pytest.raises(StoreError, match="no key"):
            store.local_path(key)

    def test_odd_names_are_keys_too(self, store: Store) -> None:
        for name in ODD_NAMES:
            store.put(f"odd/{name}", name.encode())
        for name in ODD_NAMES:
            assert store.get(f"odd/{name}") == name.encode()
        assert list(store.keys("odd")) == sorted(f"odd/{name}" for name in ODD_NAMES)
        assert store.children("odd") == sorted({name.split("/")[0] for name in ODD_NAMES})
        store.delete_all("odd")
        assert list(store.keys("odd")) == []

    def test_the_url_opens_the_same_store(self, store: Store) -> None:
        store.put("a", b"1")
        assert open_store(store.url).get("a") == b"1"
        assert open_store(store.url).url == store.url

    def test_a_store_can_be_pickled(self, store: Store) -> None:
        store.put("a", b"1")
        copy: Store = pickle.loads(pickle.dumps(store))  # noqa: S301
        assert copy.get("a") == b"1"

    @pytest.mark.parametrize("operation", EVERY_OPERATION.values(), ids=EVERY_OPERATION)
    def test_a_store_that_is_held_is_that_very_store(self, store: Store, operation: Callable[[Store], object]) -> None:
        store.put("a/b", b"1")
        store.put(MARKER, b"this one")
        held = open_store(store.url, patience_s=0)
        held.hold(b"this one")
        assert held.get("a/b") == b"1"
        store.put(MARKER, b"another")
        mine: Store = pickle.loads(pickle.dumps(held))  # noqa: S301
        for lacking in ("is another one", "has lost its store.json"):
            with pytest.raises(StoreUnavailableError, match=lacking):
                operation(mine)
            store.delete(MARKER)
        assert store.get("a/b") == b"1"
        assert list(store.keys("a")) == ["a/b"]
        store.put(MARKER, b"this one")
        operation(mine)

    def test_it_passes_the_check_of_what_a_run_needs(self, store: Store) -> None:
        check_store(store, "probes/1")
        assert list(store.keys("probes")) == []
