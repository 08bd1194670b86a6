"""The shortlist: score every candidate for an image by the output of its untrained network.

Scoring an image is arithmetic on the memory-mapped arrays of a bank.
"""

import io
import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.arms.arm import Arm
from orchestrator.arms.candidates import candidates_of, metrics_of
from orchestrator.arms.resolve import arms_of
from orchestrator.errors import NotFoundError
from orchestrator.figures.learnt import predict
from orchestrator.fit.problem import Problem
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.score.bank import bank_of, bank_parts, open_part
from orchestrator.settings import Config
from orchestrator.settings.learnt import weights_for
from orchestrator.store import create_or_read
from workers.features import features_of
from workers.fingerprints import (
    image_fingerprint,
    random_scores,
    score_bank,
)
from workers.metrics import LEARNT, WITHOUT_OUTPUTS
from workers.names import FitName, PriorName, parse_name
from workers.noise import measured_weights, noise_variance
from workers.space import Candidate
from workers.tasks import Observation


@dataclass(frozen=True)
class Scored:
    """A member of a cohort and its score for an image; lower is better. A named network's score is its place in the
    list."""

    name: FitName
    score: float


def score_image(context: RunContext, image: InputImage, without: Container[str] = ()) -> dict[str, list[Scored]]:
    """Return the cohort of every arm but lotteries for an image, best first; write all candidates' scores to the store.

    Scores that the store already has stand. ``without`` holds the keys of parts of the bank that could not be computed;
    their candidates have no score.

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
    arms = [arm for arm in arms_of(context.config) if not arm.is_lottery]
    sigma = noise_level(Problem(context, image).observation) if any(arm.bands for arm in arms) else None
    explore = partial(_explore, context, image, candidates)
    return {arm.name: _cohort(arm, candidates, scores, sigma, explore) for arm in arms}


def noise_level(observation: Observation) -> float | None:
    """The standard deviation of an image's noise in 8-bit grey levels, estimated from the image alone; None if it
    cannot be."""
    noise = noise_variance(observation.pixels, measured_weights(observation.pixels, observation.known))
    return None if noise is None else 255 * math.sqrt(noise.value)


def _computed_scores(
    context: RunContext, image: InputImage, candidates: Sequence[Candidate], without: Container[str]
) -> bytes:
    """Compute all candidates' scores by every metric, as a Parquet table."""
    config = context.config
    scores = {metric: random_scores(candidates, config.seed, image.id) for metric in metrics_of(config)}
    if LEARNT in scores:
        scores[LEARNT] = learnt_scores(config, candidates)
    spec = bank_of(config, image)
    if spec is not None:
        fingerprint = image_fingerprint(Problem(context, image).degraded, spec)
        parts = [
            (part, None if part.key in without else open_part(context.store, part))
            for part in bank_parts(config, spec, candidates)
        ]
        for metric in scores.keys() - {*WITHOUT_OUTPUTS}:
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


def _cohort(
    arm: Arm,
    candidates: Sequence[Candidate],
    scores: dict[str, NDArray[np.float32]],
    sigma: float | None,
    explore: Callable[[NDArray[np.intp], int], NDArray[np.intp]],
) -> list[Scored]:
    networks = arm.networks_at(sigma)
    if networks is not None:
        return [Scored(parse_name(network), float(place)) for place, network in enumerate(networks)]
    # A score that is not a number comes last. Equal scores keep the candidates' order.
    by = np.nan_to_num(scores[arm.metric], nan=np.inf)
    order = np.argsort(by, kind="stable")
    if arm.metric == LEARNT:
        order = explore(order, arm.size)
    return [Scored(PriorName(candidates[at].id), float(scores[arm.metric][at])) for at in order[: arm.size]]


def _explore(
    context: RunContext, image: InputImage, candidates: Sequence[Candidate], order: NDArray[np.intp], size: int
) -> NDArray[np.intp]:
    """A cohort with the share that is drawn for an image: the same whenever the image is scored."""
    drawn = random_scores(candidates, context.config.seed, image.id, "explore")
    return explored(order, size, context.config.score.explore, drawn)


def learnt_scores(config: Config, candidates: Sequence[Candidate]) -> NDArray[np.float32]:
    """The candidates' scores by the metric ``learnt``: minus the dB that it foretells; the same for every image."""
    weights = weights_for(config.score.learnt or [], config.task.name) or {}
    return np.array([-predict(weights, features_of(each.id) or {}) for each in candidates], dtype=np.float32)


def explored(order: NDArray[np.intp], size: int, share: float, drawn: NDArray[np.float32]) -> NDArray[np.intp]:
    """A cohort of the best, and of a share that is drawn from the others.

    Args:
        order: all candidates, the best first.
        size: how many the cohort has.
        share: of the cohort, that is drawn.
        drawn: a random number for each candidate; the least ones are drawn.
    """
    known = size - round(share * size)
    others = order[known:]
    return np.concatenate([order[:known], others[np.argsort(drawn[others], kind="stable")]])[:size]
