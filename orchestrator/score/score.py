"""The shortlist: every candidate scored against an image by what its untrained network prefers.

The bank of fingerprints is computed once per network width, channels and size, in parts of a few candidates, and stays in
the store for all later runs; scoring an image is then arithmetic on memory-mapped arrays.
"""

import io
import json
from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.arms.arm import Arm
from orchestrator.arms.candidates import candidates_of, metrics_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import DamagedError, NotFoundError
from orchestrator.fit.problem import load_observation
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import BankLayout
from orchestrator.settings import Config
from orchestrator.store import Store, create_or_read
from workers.fingerprints import (
    BankSpec,
    bank_metrics,
    compute_bank,
    image_fingerprint,
    native_size,
    random_scores,
    score_bank,
    square_size,
)
from workers.names import FitName, PriorName, parse_name
from workers.space import Candidate


@dataclass(frozen=True)
class Scored:
    """A member of a cohort and its score for an image; lower is better. Networks taken by name score their place."""

    name: FitName
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


def bank_of(config: Config, image: InputImage) -> BankSpec | None:
    """The bank that scores an image; None where no score looks at networks at all."""
    looking = [metric for metric in metrics_of(config) if metric != "random"]
    if not looking:
        return None
    size_of = square_size if config.score.view == "square" else native_size
    operator = config.task.make().operator
    height, width = size_of(image.height, image.width, operator.scale)
    return BankSpec(
        height=height,
        width=width,
        channels=image.channels,
        input_channels=config.network.input_depth(image.channels),
        network_width=config.network.width,
        draws=config.score.draws,
        seed=config.score.seed,
        metrics=bank_metrics(looking),
        operator=operator.name,
        scale=operator.scale,
    )


def bank_parts(config: Config, spec: BankSpec, candidates: Sequence[Candidate]) -> list[BankPart]:
    """The parts that hold these candidates, in order."""
    ids = [candidate.id for candidate in candidates]
    chunk = config.score.chunk
    return [BankPart(spec, tuple(ids[start : start + chunk])) for start in range(0, len(ids), chunk)]


def missing_parts(store: Store, config: Config, spec: BankSpec, candidates: Sequence[Candidate]) -> list[BankPart]:
    """Those parts that the store does not hold yet."""
    there = set(store.keys(BankLayout(spec).root))
    return [part for part in bank_parts(config, spec, candidates) if part.key not in there]


def compute_part(store: Store, part: BankPart, config: Config, device: str) -> None:
    """Fingerprint a part's candidates and leave them in the store, uncompressed so that they can be memory-mapped."""
    file = io.BytesIO()
    candidates = [Candidate.parse(text) for text in part.candidates]
    np.save(file, compute_bank(candidates, part.spec, config.task.make().operator, device))
    layout = BankLayout(part.spec)
    store.put(layout.key, json.dumps(layout.description, indent=2).encode())
    store.put(part.key, file.getvalue())


def _open_part(store: Store, part: BankPart) -> NDArray[np.void]:
    try:
        opened: NDArray[np.void] = np.load(store.local_path(part.key), mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError):
        place = store.show(part.key)
        raise DamagedError(f"{place} is no part of a bank; delete it, and it is computed again") from None
    return opened


def score_image(context: RunContext, image: InputImage, without: Container[str] = ()) -> dict[str, list[Scored]]:
    """The cohort for an image of every arm but lotteries, best first; the table of all candidates' scores is left in the store.

    Scores that are there already stand. Candidates in the parts of the bank to be done ``without``, which could not be
    computed, have no score.

    Raises:
        ImageRejectedError: the image cannot be decoded.
    """
    candidates = candidates_of(context.config)
    scores: dict[str, NDArray[np.float32]] = {}
    if metrics := metrics_of(context.config):
        key = context.layout.scores(image.id)
        try:
            data = context.store.get(key)
        except NotFoundError:
            data = create_or_read(context.store, key, _computed_scores(context, image, candidates, without))
        table = pq.read_table(io.BytesIO(data))
        scores = {metric: table[metric].to_numpy() for metric in metrics}
    return {arm.name: _cohort(arm, candidates, scores) for arm in arms_of(context.config) if not arm.is_lottery}


def _computed_scores(
    context: RunContext, image: InputImage, candidates: Sequence[Candidate], without: Container[str]
) -> bytes:
    """A table of all candidates' scores by every metric, as Parquet."""
    config = context.config
    scores = {metric: random_scores(candidates, config.seed, image.id) for metric in metrics_of(config)}
    spec = bank_of(config, image)
    if spec is not None:
        fingerprint = image_fingerprint(load_observation(context, image).pixels, spec)
        parts = [
            (part, None if part.key in without else _open_part(context.store, part))
            for part in bank_parts(config, spec, candidates)
        ]
        for metric in scores.keys() - {"random"}:
            scores[metric] = np.concatenate(
                [
                    np.full(len(part.candidates), np.nan, np.float32)
                    if opened is None
                    else score_bank(opened, fingerprint, metric)
                    for part, opened in parts
                ]
            )
    buffer = io.BytesIO()
    pq.write_table(pa.table({"candidate": [c.id for c in candidates], **scores}), buffer)
    return buffer.getvalue()


def _cohort(arm: Arm, candidates: Sequence[Candidate], scores: dict[str, NDArray[np.float32]]) -> list[Scored]:
    if arm.networks is not None:
        return [Scored(parse_name(network), float(place)) for place, network in enumerate(arm.networks)]
    # A score that is not a number is no score: it comes last. Equal ones stay in the candidates' order.
    by = np.nan_to_num(scores[arm.metric], nan=np.inf)
    return [
        Scored(PriorName(candidates[at].id), float(scores[arm.metric][at]))
        for at in np.argsort(by, kind="stable")[: arm.size]
    ]
