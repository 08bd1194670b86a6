"""A finished run in a store, with every kind of object, made without Ray; and ways to damage it."""

import hashlib
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from PIL import Image

from orchestrator.collect.fits import Fitted
from orchestrator.collect.packed import pack
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.record import FitRecord
from orchestrator.run.attempt import RunState
from orchestrator.run.decisions import DECISIONS, RUNGS, Rung
from orchestrator.run.inputs import InputImage, Inputs, Rejected, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState, rows_record, write_results
from orchestrator.settings import Config
from orchestrator.store import Store
from orchestrator.store.sums import SUMS
from tests.orchestrator.conftest import leave_run
from workers.lottery.headers import MAGIC, digest, header_line
from workers.names import FitName, PriorName, parse_name

RUN = "r1"
LAYOUT = RunLayout(RUN)
ARMS = ("isnas-dip-blind", "lottery-imp")
PRIOR = PriorName("dip")
ROUND = parse_name("dip.imp.0.r01")
NAMES = {"isnas-dip-blind": PRIOR, "lottery-imp": ROUND}


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tiff() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.float32)).save(file, "TIFF")
    return file.getvalue()


def parquet(**columns: Any) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def ticket() -> bytes:
    fields: dict[str, Any] = {"network": "dip", "round": 1}
    fields["sha256"] = digest(fields, b"\xff")
    return MAGIC + b"\n" + header_line(fields) + b"\xff"


def leave_fit(store: Store, image: str, name: FitName, seed: int, layout: RunLayout = LAYOUT) -> Fitted:
    fit = layout.fit(image, "full", name)
    curve = np.random.default_rng(seed).random(5).astype(np.float32)
    pixels = np.random.default_rng(seed).random((3, 8, 8)).astype(np.float32)
    store.put(fit.arrays(f"{seed:016x}"), FitArrays(pixels, pixels, curve, curve[:0]).to_bytes())
    record = FitRecord(name, "full", "done", stop_iteration=3, iterations=5, arrays=f"{seed:016x}")
    store.put(fit.result, record.to_json())
    return Fitted(record, curve)


@dataclass(frozen=True)
class Whole:
    """A finished run of two images and a rejected file."""

    store: Store
    images: tuple[InputImage, ...]

    def key(self, place: Callable[[InputImage], str], image: int = 0) -> str:
        return place(self.images[image])

    def arrays(self, image: int = 0) -> str:
        (key,) = (
            key for key in self.store.keys(LAYOUT.fit(self.images[image].id, "full", PRIOR).root) if "arrays-" in key
        )
        return key


def leave_whole(store: Store, config: Config, *, state: RunState = RunState.FINISHED) -> Whole:
    """A run as it ends: two images by two methods, with masks, references, a mean, a stack; and a rejected file."""
    files = {f"{hashlib.sha256(png(seed)).hexdigest()}.png": png(seed) for seed in (1, 2)}
    mask = f"{'0' * 64}-white.png"
    for file, content in {**files, mask: png(3)}.items():
        store.put(image_key(file), content)
    images = tuple(
        InputImage(f"{name}.png", f"{name}-{file[:8]}", file, file, f"{name}.png", 8, 8, 3, mask)
        for name, file in zip("ab", files, strict=True)
    )
    record = RunRecord(
        RUN, "2026-01-31T14:25:01+00:00", 3, 1, False, config.model_dump(mode="json"), {}, state=state, seconds=1.0
    )
    leave_run(store, record)
    store.put(LAYOUT.claim(1).log, b"2026-01-31 begun\n")
    store.put(LAYOUT.config, yaml.safe_dump(record.config, sort_keys=False).encode())
    write_inputs(store, LAYOUT, Inputs(images, [Rejected("c.png", "the file is empty")]))
    table: list[Row] = []
    for number, image in enumerate(images):
        store.put(LAYOUT.scores(image.id), parquet(candidate=["dip"], psd=[0.5]))
        store.put(LAYOUT.ticket(image.id, ROUND), ticket())  # type: ignore[arg-type]
        fits = [leave_fit(store, image.id, name, 10 * number + at) for at, name in enumerate(NAMES.values())]
        store.put(LAYOUT.cohort(image.id), pack(fits))
        rows = []
        for arm, name in NAMES.items():
            decided = {"rule": "held-out", "order": [str(name)], "failed": {}, "cohort": [], "ended_by_halving": []}
            store.put(LAYOUT.pick(image.id, arm), DECISIONS.to_json(decided))
            store.put(LAYOUT.rung(image.id, arm, 8), RUNGS.to_json(Rung({name: 0.1}, [name])))
            store.put(LAYOUT.restored(arm, "pick", image.restored), png(20 + number))
            store.put(LAYOUT.restored(arm, "mean", image.restored), png(30 + number))
            store.put(LAYOUT.restored("classical", "best", image.restored), png(60 + number))
            for which in ("best", "stack"):
                store.put(LAYOUT.restored(arm, which, image.restored), png(50 + number))
            store.put(LAYOUT.restored(arm, "spread", image.spread), tiff())
            store.put(LAYOUT.preview(image.id, "restored", arm), png(40))
            told = Row(image.name, arm, RowState.RESTORED, candidate=str(name), psnr_mean=30.0)
            rows.append(replace(told, delivered="stack", classical="wavelets", stack_weights=f"{name}=1.0000"))
        store.put(LAYOUT.row(image.id), rows_record(rows))
        table += rows
    rejected = [Row("c.png", arm, RowState.REJECTED, reason="the file is empty") for arm in ARMS]
    store.put(LAYOUT.row("rejected-000000"), rows_record(rejected))
    write_results(store, LAYOUT, [*table, *rejected])
    store.put(LAYOUT.report, b"<!doctype html>")
    return Whole(store, images)


def flip(store: Store, key: str) -> None:
    """A byte that differs from what was written, with the checksum as it was."""
    path = Path(store.show(key))
    with path.open("r+b") as file:
        data = file.read()
        file.seek(len(data) // 2)
        file.write(bytes([data[len(data) // 2] ^ 1]))


def cut(store: Store, key: str) -> None:
    """The first half of an object, without any checksum, as a copy that broke off leaves it."""
    path = Path(store.show(key))
    data = path.read_bytes()
    path.unlink()
    (path.parent / SUMS).unlink(missing_ok=True)
    path.write_bytes(data[: len(data) // 2])


def newer(store: Store, key: str) -> None:
    store.put(key, json.dumps({**json.loads(store.get(key)), "format": 99}).encode())


def unfinished_file(store: Store, key: str) -> None:
    """What a killed writer of an object leaves beside it."""
    path = Path(store.show(key)).parent / ".partial-0123"
    path.write_bytes(b"half")
    os.utime(path, (0, 0))
