"""Shared by the tests of a run's pieces: small real pictures, tiny settings, and a run in a store of its own."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from orchestrator.images import decode, encode_mask
from orchestrator.run.attempt import Holder, Standing, now
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import IMAGES, RunLayout, image_key
from orchestrator.run.record import RunRecord
from orchestrator.settings import Config
from orchestrator.store import Store

# Three candidates of different cells, all of which a network of 8 channels can hold.
CANDIDATES = (
    "158-1111101111001110001100001",
    "0-0000000000000000000000000",
    "12-1000001000001000001000001",
)

_TINY: dict[str, dict[str, Any]] = {
    "network": {"width": 8},
    "score": {"candidates": list(CANDIDATES), "draws": 1, "chunk": 2},
    "cohort": {"size": 3, "crop_px": 32},
    "fit": {"iterations": 6, "patience": 6, "block": 2, "average": 0.5},
    "pick": {"full_fits": 2},
    # Most tests are of the fits.
    "classical": {"use": False},
}

MakeConfig = Callable[..., Config]
Encoded = Callable[..., bytes]


@dataclass(frozen=True)
class Bench:
    """A run of one image, as its workers find it."""

    context: RunContext
    image: InputImage

    @property
    def store(self) -> Store:
        return self.context.store


MakeBench = Callable[..., Bench]
Reads = Callable[[Bench], list[str]]


ELSEWHERE = Holder(1, "elsewhere.example", 7, "another boot", "1", "2026-01-31T14:25:01+00:00", {})


def leave_run(store: Store, record: RunRecord, holder: Holder = ELSEWHERE) -> None:
    """A run in the store, as a driver leaves it."""
    layout = RunLayout(record.run)
    store.put(layout.record, record.to_json())
    holder = replace(holder, machine=record.machine)
    store.put(layout.claim(holder.number).holder, json.dumps(asdict(holder)).encode())
    standing = Standing(record.state, 1, now(), record.finished, record.seconds, record.reason, usage=record.usage)
    store.put(layout.claim(holder.number).state, json.dumps(asdict(standing)).encode())


@pytest.fixture(scope="session")
def make_config() -> MakeConfig:
    """Settings small enough to fit in a second; sections given are merged into them."""

    def make(**changes: Any) -> Config:
        settings: dict[str, Any] = {name: dict(section) for name, section in _TINY.items()}
        for name, value in changes.items():
            settings[name] = {**settings.get(name, {}), **value} if isinstance(value, dict) else value
        return Config.model_validate(settings)

    return make


def smooth(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    rows, columns = np.mgrid[0:height, 0:width] / 8
    waves = [127 + 100 * np.sin(rows + (1 + channel) * columns) for channel in range(channels)]
    return np.stack(waves, axis=-1).round().astype(np.uint8)


@pytest.fixture(scope="session")
def encoded() -> Encoded:
    """The bytes of a picture file: smooth waves, with noise of a seed on top if there is one."""

    def make(
        height: int = 40, width: int = 48, channels: int = 3, *, kind: str = "PNG", noise_seed: int | None = None
    ) -> bytes:
        pixels = smooth(height, width, channels)
        if noise_seed is not None:
            noise = np.random.default_rng(noise_seed).normal(0, 25, pixels.shape)
            pixels = np.clip(pixels + noise, 0, 255).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(file, kind)
        return file.getvalue()

    return make


@pytest.fixture
def make_bench(tmp_path: Path) -> MakeBench:
    """A store with one image of a run in it, and its reference and mask of known pixels if there are such.

    With ``simulate`` the picture is clean and its own reference.
    """

    def make(
        config: Config,
        picture: bytes,
        reference: bytes | None = None,
        *,
        mask: NDArray[np.bool_] | None = None,
        simulate: bool = False,
        name: str = "a.png",
        store: str = "store",
    ) -> Bench:
        context = RunContext(str(tmp_path / store), "test", config, simulate=simulate, device="cpu", threads=1)
        decoded = decode(picture)
        channels, height, width = decoded.pixels.shape
        shrunk = config.task.scale if simulate else 1
        stem, _, suffix = name.rpartition(".")
        image = InputImage(
            name=name,
            id=f"{stem}-0123abcd",
            file=f"{stem}-0123abcd.{suffix}",
            reference=f"{stem}-0123abcd.{suffix}" if simulate else None,
            restored=stem + decoded.encoding.suffix,
            height=height // shrunk,
            width=width // shrunk,
            channels=channels,
        )
        context.store.put(image_key(image.file), picture)
        if reference is not None:
            image = replace(image, reference=f"{stem}-0123abcd.ref")
            context.store.put(image_key(f"{stem}-0123abcd.ref"), reference)
        if mask is not None:
            image = replace(image, mask=f"{stem}-mask.png")
            context.store.put(image_key(f"{stem}-mask.png"), encode_mask(mask))
        return Bench(context, image)

    return make


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The keys of a run's inputs in the order in which they are read from now on; each is a GET on S3."""

    def watch(bench: Bench) -> list[str]:
        keys: list[str] = []
        get = bench.store.get

        def told(key: str) -> bytes:
            if key.startswith(f"{IMAGES}/"):
                keys.append(key)
            return get(key)

        monkeypatch.setattr(bench.store, "get", told)
        return keys

    return watch
