"""The metric ``learnt``: what past fits tell of a network, by what it is like.

A ridge regression (scikit-learn) of the held-out error in dB on the features of candidates, each fit against the mean
of its picture's. No reference is needed, since held-out pixels tell the error. How good it is, is told by leaving
pictures out: each picture's networks are ranked by what the other pictures have taught.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from orchestrator.figures.portfolio import PastFit
from orchestrator.figures.study import Table, tau_of
from orchestrator.settings.portfolio import ANY
from workers.features import FEATURES, features_of
from workers.metrics import LEARNT

FEWEST_FITS, FEWEST_IMAGES = 60, 3
"""Below these nothing is learnt: there are some thirty features, and a picture by itself teaches itself."""

_PENALTIES = tuple(10.0**power for power in range(-1, 4))


@dataclass(frozen=True)
class Model:
    """What was learnt for a task.

    Attributes:
        task: the task, or ``any``.
        images: the pictures that it was learnt on.
        fits: how many fits it was learnt from.
        weights: dB that a feature adds to minus the held-out error in dB, by the feature's name; to the hundredth.
        tau: Kendall's tau of the predictions with the held-out error, mean of the pictures, each left out once; 1 ranks
            exactly. NaN where no picture has several networks.
    """

    task: str
    images: tuple[str, ...]
    fits: int
    weights: dict[str, float]
    tau: float


@dataclass(frozen=True)
class _Lesson:
    """A fit as it is learnt from: its picture with task and noise, what its network is like, and its error in dB."""

    image: str
    case: tuple[str, float, str]
    features: dict[str, float]
    error: float


def learn_models(fits: Sequence[PastFit]) -> list[Model]:
    """What the fits teach, by task and for any; nothing for a task with too few of them."""
    lessons = _lessons(fits)
    tasks = sorted({lesson.case[0] for lesson in lessons})
    groups = [(task, [lesson for lesson in lessons if lesson.case[0] == task]) for task in tasks]
    return [_model(task, group) for task, group in [*groups, (ANY, lessons)] if _is_enough(group)]


def _lessons(fits: Iterable[PastFit]) -> list[_Lesson]:
    found = []
    for fit in fits:
        features = features_of(fit.network)
        if features is not None and math.isfinite(fit.held_out_error) and fit.held_out_error > 0:
            case = (fit.task, -1.0 if fit.sigma is None else fit.sigma, fit.image)
            found.append(_Lesson(fit.image, case, features, 10 * math.log10(fit.held_out_error)))
    # The order of the fits must not matter, not even to the last digit.
    return sorted(found, key=lambda lesson: (lesson.case, sorted(lesson.features.items()), lesson.error))


def _is_enough(lessons: Sequence[_Lesson]) -> bool:
    return len(lessons) >= FEWEST_FITS and len({lesson.image for lesson in lessons}) >= FEWEST_IMAGES


def _model(task: str, lessons: Sequence[_Lesson]) -> Model:
    images = tuple(sorted({lesson.image for lesson in lessons}))
    taus = []
    for image in images:
        weights = _weights([lesson for lesson in lessons if lesson.image != image])
        for case in sorted({lesson.case for lesson in lessons if lesson.image == image}):
            own = [lesson for lesson in lessons if lesson.case == case]
            predicted = np.array([predict(weights, lesson.features) for lesson in own])
            taus.append(tau_of(predicted, -np.array([lesson.error for lesson in own])))
    known = [tau for tau in taus if math.isfinite(tau)]
    mean = math.fsum(known) / len(known) if known else math.nan
    return Model(task, images, len(lessons), _weights(lessons), mean)


def _weights(lessons: Sequence[_Lesson]) -> dict[str, float]:
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415 - it takes a second, and few commands learn

    cases: dict[tuple[str, float, str], list[int]] = {}
    for at, lesson in enumerate(lessons):
        cases.setdefault(lesson.case, []).append(at)
    x = np.array([[lesson.features.get(name, 0.0) for name in FEATURES] for lesson in lessons])
    y = -np.array([lesson.error for lesson in lessons])
    for rows in cases.values():
        # A picture that is hard to restore says nothing of the networks that were tried on it.
        y[rows] -= y[rows].mean()
        x[rows] -= x[rows].mean(axis=0)
    coefficients: NDArray[np.float64] = RidgeCV(alphas=_PENALTIES, fit_intercept=False).fit(x, y).coef_
    return {name: round(float(value), 2) for name, value in zip(FEATURES, coefficients, strict=True) if round(value, 2)}


def predict(weights: dict[str, float], features: dict[str, float]) -> float:
    """How much less held-out error in dB a network has than another whose features have no weight."""
    return math.fsum(weights.get(name, 0.0) * value for name, value in features.items())


def with_learnt(table: Table) -> Table:
    """A study's table with the score of the metric ``learnt``, each image's by the fits of the others.

    Without enough fits the table is as it was.
    """
    fits = [
        PastFit(table.task or ANY, table.sigma, image, network, math.nan, error, math.nan)
        for image, network, error in zip(
            table.image.tolist(), table.candidate.tolist(), table.held_out_error.tolist(), strict=True
        )
    ]
    lessons = _lessons(fits)
    if not _is_enough(lessons):
        return table
    scores = np.full(len(table.image), np.nan)
    for image in table.images:
        weights = _weights([lesson for lesson in lessons if lesson.image != image])
        for row in np.flatnonzero(table.image == image):
            features = features_of(str(table.candidate[row]))
            scores[row] = math.nan if features is None else -predict(weights, features)
    return replace(table, scores={**table.scores, LEARNT: scores})


def models_to_plain(models: Sequence[Model]) -> list[dict[str, object]]:
    """The models as a table of portfolios has them (`orchestrator.settings.learnt` reads them)."""
    return [
        {
            "task": model.task,
            "images": list(model.images),
            "fits": model.fits,
            "tau": None if math.isnan(model.tau) else round(model.tau, 2),
            "weights": model.weights,
        }
        for model in models
    ]
