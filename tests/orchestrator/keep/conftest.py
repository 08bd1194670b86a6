"""Runs in a store that share inputs and banks, on a folder and on a bucket; processes that die at a given moment."""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import InputImage, Inputs, write_inputs
from orchestrator.run.layout import BankLayout, RunLayout, image_key
from orchestrator.run.record import RunRecord
from orchestrator.score.bank import bank_of
from orchestrator.store import Entry, LocalStore, Store
from tests.orchestrator.conftest import MakeConfig, leave_run
from tests.orchestrator.keep.whole import ARMS, Whole, leave_whole
from tests.orchestrator.store.conftest import (  # noqa: F401 - a bucket for the tests here
    OpenS3,
    forget_connections,
    on_moto,
    open_s3,
)


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "folder":
        yield LocalStore(tmp_path / "store")
        return
    forget_connections()
    opened: OpenS3 = request.getfixturevalue("on_moto")
    yield opened()
    forget_connections()


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory, make_config: MakeConfig) -> Whole:
    return leave_whole(LocalStore(tmp_path_factory.mktemp("whole") / "store"), make_config(arms=list(ARMS)))


@pytest.fixture
def whole(made_once: Whole, tmp_path: Path) -> Whole:
    """A finished run in a folder, with all its checksums."""
    shutil.copytree(made_once.store.url, tmp_path / "store")
    return Whole(LocalStore(tmp_path / "store"), made_once.images)


@pytest.fixture
def elsewhere(tmp_path: Path) -> LocalStore:
    """Another store."""
    return LocalStore(tmp_path / "elsewhere")


@dataclass(frozen=True)
class Picture:
    """An image; its size decides its bank."""

    content: bytes
    height: int = 40

    @property
    def file(self) -> str:
        return f"{hashlib.sha256(self.content).hexdigest()}.png"

    @property
    def key(self) -> str:
        return image_key(self.file)


SMALL, OTHER, LARGE = Picture(b"small"), Picture(b"other"), Picture(b"large", 300)
LeaveRun = Callable[..., RunRecord]


@pytest.fixture
def leave(make_config: MakeConfig, store: Store) -> LeaveRun:
    """Leave a run of some pictures in a store, with their banks and a few objects of its own."""

    def leave_(
        name: str,
        pictures: Iterable[Picture],
        *,
        created: str = "2026-01-31T14:25:01+00:00",
        state: RunState = RunState.FINISHED,
        listed: bool = True,
        tickets: str | None = None,
        into: Store = store,
    ) -> RunRecord:
        config = make_config()
        settings: dict[str, Any] = config.model_dump(mode="json")
        settings["lottery"]["tickets"] = tickets
        images = [
            InputImage(
                f"{picture.file[:4]}.png",
                picture.file[:12],
                picture.file,
                None,
                "a.png",
                picture.height,
                picture.height,
                3,
            )
            for picture in pictures
        ]
        record = RunRecord(
            name, created, len(images), 0, False, settings, {}, state=state, finished=created, seconds=1.0
        )
        leave_run(into, record)
        layout = RunLayout(name)
        for picture, image in zip(pictures, images, strict=True):
            into.put(picture.key, picture.content)
            bank = bank_of(config, image)
            assert bank is not None
            into.put(BankLayout(bank).key, b"{}")
            into.put(f"{BankLayout(bank).root}/part-0.npy", f"{picture.height}".encode())
            into.put(layout.row(image.id), b"[]")
            into.put(layout.restored("one", "pick", f"{image.id} ü.png"), image.id.encode())
        if listed:
            write_inputs(into, layout, Inputs(images, []))
        return record

    return leave_


def contents(store: Store, *prefixes: str) -> dict[str, bytes]:
    """All that a store holds, but for the claim on its upkeep."""
    keys = [key for prefix in prefixes or ("runs", "images", "fingerprints") for key in store.keys(prefix)]
    return {key: store.get(key) for key in keys}


class DeadError(BaseException):
    """The process was killed."""


class Dying:
    """A store whose process is killed before its nth change; ``left`` is how many it may still make."""

    def __init__(self, inner: Store, changes: int) -> None:
        self._inner, self.left = inner, changes

    def _change(self) -> None:
        if self.left == 0:
            raise DeadError
        self.left -= 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def put(self, key: str, data: bytes) -> None:
        self._change()
        self._inner.put(key, data)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        self._change()
        return self._inner.create(key, data, token=token)

    def delete(self, key: str) -> None:
        self._change()
        self._inner.delete(key)

    def delete_many(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._change()
            self._inner.delete_many([key])

    def delete_all(self, prefix: str) -> None:
        self.delete_many(list(self._inner.keys(prefix)))


def died(store: Store, changes: int, work: Callable[[Store], object]) -> bool:
    """Whether the process that does some work is killed before it has made all its changes."""
    dying: Any = Dying(store, changes)
    try:
        work(dying)
    except DeadError:
        return True
    return False


def keys_of(entries: Iterable[Entry]) -> set[str]:
    return {entry.key for entry in entries}
