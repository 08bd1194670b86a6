"""The shortlist: every candidate scored against an image by what its untrained network prefers.

The bank of fingerprints is computed once per network width, channels and size, in parts of a few candidates, and stays in
the store for all later runs; scoring an image is then arithmetic on memory-mapped arrays.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.config import Config
from orchestrator.context import RunContext
from orchestrator.ingest import InputImage
from orchestrator.layout import BankLayout
from orchestrator.problem import load_degraded
from orchestrator.store import Store
from workers.fingerprints import (
    BankSpec,
    compute_bank,
    image_fingerprint,
    native_size,
    random_scores,
    score_bank,
    square_size,
)
from workers.space import Candidate, sample_candidates


@dataclass(frozen=True)
class Scored:
    """A candidate and its score for an image; lower is better."""

    candidate: str
    score: float


@dataclass(frozen=True)
class BankPart:
    """A piece of a bank: one scoring task's work and one object in the store."""

    spec: BankSpec
    candidates: tuple[str, ...]

    @property
    def key(self) -> str:
        """Where it is kept."""
        return BankLayout(self.spec).part(self.candidates)


def candidates_of(config: Config) -> list[Candidate]:
    """The candidates of a run, in order."""
    wanted = config.score.candidates
    if isinstance(wanted, int):
        return sample_candidates(wanted, config.score.seed, width=config.network.width)
    return [Candidate.parse(text) for text in wanted]


def bank_of(config: Config, image: InputImage) -> BankSpec | None:
    """The bank that scores an image; None where the score does not look at networks at all."""
    if config.score.metric == "random":
        return None
    size_of = square_size if config.score.view == "square" else native_size
    height, width = size_of(image.height, image.width)
    return BankSpec(
        height=height,
        width=width,
        channels=image.channels,
        input_channels=config.network.input_depth(image.channels),
        network_width=config.network.width,
        draws=config.score.draws,
        seed=config.score.seed,
        operator=config.task.name,
    )


def bank_parts(config: Config, spec: BankSpec, candidates: Sequence[Candidate]) -> list[BankPart]:
    """The parts that hold these candidates, in order."""
    ids = [candidate.id for candidate in candidates]
    chunk = config.score.chunk
    return [BankPart(spec, tuple(ids[start : start + chunk])) for start in range(0, len(ids), chunk)]


def compute_part(store: Store, part: BankPart, device: str) -> None:
    """Fingerprint a part's candidates and leave them in the store, uncompressed so that they can be memory-mapped."""
    file = io.BytesIO()
    np.save(file, compute_bank([Candidate.parse(text) for text in part.candidates], part.spec, device))
    layout = BankLayout(part.spec)
    store.put(layout.key, json.dumps(layout.description, indent=2).encode())
    store.put(part.key, file.getvalue())


def _open_parts(store: Store, parts: Sequence[BankPart]) -> Iterator[NDArray[np.void]]:
    for part in parts:
        yield np.load(store.local_path(part.key), mmap_mode="r", allow_pickle=False)


def score_image(context: RunContext, image: InputImage, keep: int) -> list[Scored]:
    """Score every candidate against an image, leave the table in the store and return the ``keep`` best, best first.

    Raises:
        ImageRejectedError: the image cannot be decoded.
    """
    config = context.config
    candidates = candidates_of(config)
    spec = bank_of(config, image)
    if spec is None:
        scores = random_scores(candidates, config.seed, image.id)
    else:
        fingerprint = image_fingerprint(load_degraded(context, image), spec.height, spec.width)
        parts = _open_parts(context.store, bank_parts(config, spec, candidates))
        scores = np.concatenate([score_bank(part, fingerprint, config.score.metric) for part in parts])
    # A score that is not a number is no score: it comes last. Equal ones stay in the candidates' order.
    order = np.argsort(np.nan_to_num(scores, nan=np.inf), kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    table = pa.table({"candidate": [c.id for c in candidates], "score": scores, "rank": rank})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    context.store.put(context.layout.scores(image.id), buffer.getvalue())
    return [Scored(candidates[at].id, float(scores[at])) for at in order[:keep]]
