import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import NotFoundError, StoreError, StoreUnavailableError
from orchestrator.store import LocalStore, open_store
from orchestrator.store.patient import PatientStore


class Time:
    """A clock that moves only in the sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def clock(self) -> float:
        return self.now


class Longest(random.Random):
    """Chance that waits as long as it may."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Troubled(LocalStore):
    """A store that is in trouble a given number of times."""

    trouble = 0
    tokens: tuple[str | None, ...] = ()

    def _folder(self, *prefix: str, make: bool = False) -> AbstractContextManager[int]:
        if self.trouble:
            self.trouble -= 1
            raise StoreUnavailableError(f"no way to {'/'.join(prefix)}")
        return super()._folder(*prefix, make=make)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        self.tokens += (token,)
        return super().create(key, data, token=token)

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        for key in keys:
            yield self.get(key)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def inner(tmp_path: Path) -> Troubled:
    store = Troubled(tmp_path)
    store.put("a/b", b"1")
    return store


def patient(inner: LocalStore, time: Time, patience_s: float = 60.0) -> PatientStore:
    generator = random.Random(0)
    return PatientStore(inner, patience_s, sleep=time.sleep, clock=time.clock, generator=generator)


@pytest.mark.parametrize(
    ("operation", "outcome"),
    [
        (lambda store: store.put("a/c", b"2"), None),
        (lambda store: store.create("a/c", b"2"), True),
        (lambda store: store.create("a/b", b"2"), False),
        (lambda store: store.get("a/b"), b"1"),
        (lambda store: list(store.get_many(["a/b", "a/b"])), [b"1", b"1"]),
        (lambda store: store.exists("a/b"), True),
        (lambda store: store.delete("a/b"), None),
        (lambda store: store.delete_all("a"), None),
        (lambda store: list(store.keys("a")), ["a/b"]),
        (lambda store: store.children("a"), ["b"]),
        (lambda store: store.local_path("a/b").read_bytes(), b"1"),
    ],
)
def test_every_operation_is_tried_again(
    inner: Troubled, time: Time, operation: Callable[[PatientStore], object], outcome: object
) -> None:
    inner.trouble = 3
    assert operation(patient(inner, time)) == outcome
    assert len(time.waits) == 3


def test_all_tries_of_a_create_have_one_token(inner: Troubled, time: Time) -> None:
    inner.trouble = 2
    store = patient(inner, time)
    assert store.create("c", b"")
    assert store.create("d", b"")
    first, second, third, other = inner.tokens
    assert first == second == third
    assert first
    assert other not in (None, first)


def test_it_gives_up_when_its_patience_is_over(inner: Troubled, time: Time) -> None:
    inner.trouble = 10**6
    with pytest.raises(StoreUnavailableError, match=r"no way to a \(tried again for 15 s\)"):
        patient(inner, time, patience_s=15).get("a/b")
    assert time.now == 1015


def test_patience_begins_anew_with_each_object_of_many(inner: Troubled, time: Time) -> None:
    objects = patient(inner, time, patience_s=15).get_many(["a/b"] * 3)
    for _ in range(3):
        inner.trouble = 8
        assert next(objects) == b"1"
    assert time.now > 1020


def test_without_patience_nothing_is_tried_again(inner: Troubled, time: Time) -> None:
    inner.trouble = 1
    with pytest.raises(StoreUnavailableError):
        patient(inner, time, patience_s=0).get("a/b")
    assert time.waits == []


@pytest.mark.parametrize("key", ["missing", "../a"])
def test_other_errors_go_up_at_once(inner: Troubled, time: Time, key: str) -> None:
    with pytest.raises((NotFoundError, StoreError), match=key):
        patient(inner, time).get(key)
    assert time.waits == []


def test_waits_double_up_to_five_seconds(inner: Troubled, time: Time) -> None:
    inner.trouble = 8
    PatientStore(inner, 60, sleep=time.sleep, clock=time.clock, generator=Longest()).get("a/b")
    assert time.waits == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5, 5]


@given(seed=st.integers(0, 2**32), patience_s=st.floats(0, 1000))
def test_waits_are_random_but_never_longer_than_the_patience(seed: int, patience_s: float) -> None:
    class Never(LocalStore):
        def get(self, key: str) -> bytes:
            raise StoreUnavailableError(key)

    time, generator = Time(), random.Random(seed)
    store = PatientStore(Never("nowhere"), patience_s, sleep=time.sleep, clock=time.clock, generator=generator)
    with pytest.raises(StoreUnavailableError):
        store.get("a")
    assert all(0 <= wait <= 5 for wait in time.waits)
    assert time.now == pytest.approx(1000 + patience_s)


def test_it_travels_with_its_patience(tmp_path: Path) -> None:
    for url in (str(tmp_path), "s3://bucket/prefix?region=eu-central-1"):
        copy = pickle.loads(pickle.dumps(open_store(url, patience_s=7)))  # noqa: S301
        assert copy.url == open_store(url).url
        assert copy._patience_s == 7
        assert copy.show("a") == open_store(url).show("a")
