"""The findings of a study: how well each metric at initialisation, and the held-out error,
predict a network's best PSNR.

A study is a run whose one arm fits every candidate at full size on every image (`Config.arms`: all). This module builds
its table from the store, and its figures from the table; nothing here knows Ray.
"""

import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.errors import NotFoundError
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store
from orchestrator.text import to_csv

HELD_OUT = "held-out error"
BEST = "psnr_oracle_stop"
_RESAMPLES = 300
_RESAMPLES_OF_IMAGES = 2000
_PAIRED_AT_ONCE = 256


@dataclass(frozen=True)
class Table:
    """A row per image and candidate, by columns of equal length.

    ``image``, ``candidate`` are names; ``psnr_oracle_stop`` (the best PSNR of the fit, dB), ``psnr`` (where it was
    stopped blind) and ``held_out_error`` are figures of its fit, NaN where it failed; ``scores`` has a column for each
    metric. ``multiply_adds`` are the fits' costs, NaN where they are not known. ``task`` and ``sigma`` (grey levels)
    are the same in all rows, None where they are not known.
    """

    image: NDArray[np.str_]
    candidate: NDArray[np.str_]
    psnr_oracle_stop: NDArray[np.float64]
    psnr: NDArray[np.float64]
    held_out_error: NDArray[np.float64]
    scores: dict[str, NDArray[np.float64]]
    multiply_adds: NDArray[np.float64] | None = None
    task: str | None = None
    sigma: float | None = None

    @property
    def predictors(self) -> dict[str, NDArray[np.float64]]:
        """The predictors of the best PSNR: the held-out error, which needs a fit, and the metrics, which need none."""
        return {HELD_OUT: self.held_out_error, **self.scores}

    def of(self, image: str) -> "Table":
        """The rows of one image whose fits have a PSNR."""
        return self._at(np.flatnonzero((self.image == image) & np.isfinite(self.psnr_oracle_stop)))

    def by_image(self) -> list["Table"]:
        """The rows of each image whose fits have a PSNR, for the images that have some; each row is looked at once."""
        rows: dict[str, list[int]] = {image: [] for image in self.images}
        for row in np.flatnonzero(np.isfinite(self.psnr_oracle_stop)).tolist():
            rows[str(self.image[row])].append(row)
        return [self._at(np.array(own)) for own in rows.values() if own]

    def _at(self, rows: NDArray[np.intp]) -> "Table":
        return replace(
            self,
            image=self.image[rows],
            candidate=self.candidate[rows],
            psnr_oracle_stop=self.psnr_oracle_stop[rows],
            psnr=self.psnr[rows],
            held_out_error=self.held_out_error[rows],
            scores={metric: values[rows] for metric, values in self.scores.items()},
            multiply_adds=None if self.multiply_adds is None else self.multiply_adds[rows],
        )

    @property
    def images(self) -> list[str]:
        """The images' names, each once, in order."""
        return list(dict.fromkeys(self.image.tolist()))

    def to_arrow(self) -> pa.Table:
        """The table as others load it."""
        columns = {name: getattr(self, name) for name in ("image", "candidate", BEST, "psnr", "held_out_error")}
        if self.multiply_adds is not None:
            columns["multiply_adds"] = self.multiply_adds
        if self.task is not None:
            columns["task"] = pa.array([self.task] * len(self.image), pa.string())
            columns["sigma"] = pa.array([self.sigma] * len(self.image), pa.float64())
        return pa.table({**columns, **self.scores})


@dataclass(frozen=True)
class Tau:
    """Kendall's rank correlation of a predictor with the best PSNR; -1 where lower values predict higher PSNR exactly.

    ``low`` to ``high`` is the 95 % interval: of an image by resampling candidates, of the mean over images by
    resampling these (`mean_tau`). ``image`` is None for that mean.
    """

    predictor: str
    image: str | None
    candidates: int
    tau: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class CohortSize:
    """The result of fitting K candidates, in dB of best PSNR, averaged over images.

    ``by`` is the metric that shortlists, None for K at random (the exact expectation). ``best`` is the best of the K,
    ``blind`` the one of least held-out error among them.
    """

    by: str | None
    size: int
    best: float
    blind: float | None


@dataclass(frozen=True)
class Study:
    """All figures of a study."""

    images: int
    candidates: int
    taus: list[Tau]
    cohort_sizes: list[CohortSize]


def read_table(
    store: Store,
    layout: RunLayout,
    images: Sequence[InputImage],
    *,
    task: str | None = None,
    sigma: float | None = None,
) -> Table:
    """The table of a study's run, for its finished images; ``task`` and ``sigma`` are the run's."""
    records: list[dict[str, Any]] = []
    for image in images:
        try:
            fits = pq.read_table(io.BytesIO(store.get(layout.cohort(image.id)))).to_pylist()
            scores = pq.read_table(io.BytesIO(store.get(layout.scores(image.id)))).to_pylist()
        except NotFoundError:
            continue
        by_candidate = {fit["candidate"]: fit for fit in fits if fit["view"] == "full"}
        records += [{"image": image.name, "fit": by_candidate.get(row["candidate"], {}), **row} for row in scores]

    def numbers(values: Iterator[Any]) -> NDArray[np.float64]:
        return np.array([math.nan if value is None else value for value in values], dtype=np.float64)

    metrics = [name for name in records[0] if name not in ("image", "fit", "candidate")] if records else []
    return Table(
        image=np.array([record["image"] for record in records], dtype=np.str_),
        candidate=np.array([record["candidate"] for record in records], dtype=np.str_),
        psnr_oracle_stop=numbers(record["fit"].get(BEST) for record in records),
        psnr=numbers(record["fit"].get("psnr") for record in records),
        held_out_error=numbers(record["fit"].get("held_out_error") for record in records),
        scores={metric: numbers(record[metric] for record in records) for metric in metrics},
        multiply_adds=numbers(record["fit"].get("multiply_adds") for record in records),
        task=task,
        sigma=sigma,
    )


def tau_of(predictor: NDArray[np.float64], best: NDArray[np.float64]) -> float:
    """Kendall's tau-b; NaN where one of the two does not vary."""
    known = np.isfinite(predictor) & np.isfinite(best)
    from scipy.stats import kendalltau  # noqa: PLC0415 - it takes a second, and few runs are studies

    return float(kendalltau(predictor[known], best[known]).statistic) if known.sum() > 1 else math.nan


def resampled_taus(predictor: NDArray[np.float64], best: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kendall's tau-b of samples drawn with replacement; NaN where one of the two does not vary in a sample.

    A sample is the number of times that each candidate is in it. So its concordant less its discordant pairs are a
    quadratic form of these numbers, and all samples need one matrix product instead of a sort each.
    """
    random, count = np.random.default_rng(0), len(best)
    drawn = [np.bincount(random.integers(0, count, count), minlength=count) for _ in range(_RESAMPLES)]
    known = np.isfinite(predictor) & np.isfinite(best)
    x, y, times = predictor[known], best[known], np.array(drawn, dtype=np.float64)[:, known]
    pairs = np.zeros((3, _RESAMPLES))
    # By blocks, since the pairs of many candidates need not all be in memory.
    for start in range(0, len(x), _PAIRED_AT_ONCE):
        rows = slice(start, start + _PAIRED_AT_ONCE)
        x_signs, y_signs = np.sign(x[rows, None] - x), np.sign(y[rows, None] - y)
        kinds = (x_signs * y_signs, np.abs(x_signs), np.abs(y_signs))
        pairs += [(times @ signs.T * times[:, rows]).sum(axis=1) for signs in kinds]
    concordant, x_differs, y_differs = pairs
    with np.errstate(invalid="ignore"):
        taus: NDArray[np.float64] = concordant / np.sqrt(x_differs * y_differs)
    return taus


def _tau_of_image(name: str, image: str, predictor: NDArray[np.float64], best: NDArray[np.float64]) -> Tau:
    tau = tau_of(predictor, best)
    resampled = resampled_taus(predictor, best)
    resampled = resampled[np.isfinite(resampled)]
    if not math.isfinite(tau) or not resampled.size:
        return Tau(name, image, len(best), tau, None, None)
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Tau(name, image, len(best), tau, float(low), float(high))


def mean_tau(taus: Sequence[float]) -> tuple[float, float | None, float | None]:
    """The mean of correlations of several images, and its 95 % interval; None for a single image.

    The ends are quantiles of the means of images drawn with replacement (bootstrap, the same draws every time). Unlike
    Student's t they lie within [-1, 1], as means of correlations do. Of few images such an interval is rather narrow.
    """
    mean = math.fsum(taus) / len(taus)
    if len(taus) < 2:
        return mean, None, None
    drawn = np.random.default_rng(0).integers(len(taus), size=(_RESAMPLES_OF_IMAGES, len(taus)))
    low, high = np.quantile(np.asarray(taus)[drawn].mean(axis=1), [0.025, 0.975])
    return mean, float(low), float(high)


def taus_of(table: Table) -> list[Tau]:
    """For every predictor: its mean over the images first, then each image."""
    of_images = table.by_image()
    taus = []
    for name in table.predictors:
        own = [
            _tau_of_image(name, str(rows.image[0]), rows.predictors[name], rows.psnr_oracle_stop)
            for rows in of_images
            if len(rows.image) > 1
        ]
        known = [tau.tau for tau in own if math.isfinite(tau.tau)]
        if known:
            mean, low, high = mean_tau(known)
            taus.append(Tau(name, None, sum(tau.candidates for tau in own), mean, low, high))
        taus += own
    return taus


def expected_best(values: NDArray[np.float64], size: int) -> float:
    """The expected greatest of ``size`` values drawn without replacement, exactly."""
    return float(_chances(len(values), size) @ np.sort(values))


@lru_cache(maxsize=256)
def _chances(count: int, size: int) -> NDArray[np.float64]:
    """The chance of each of ``count`` values, in rising order, to be the greatest of ``size`` drawn ones."""
    draws = math.comb(count, size)
    return np.array([math.comb(place, size - 1) / draws for place in range(count)])


def cohort_sizes_of(table: Table, sizes: Sequence[int] | None = None) -> list[CohortSize]:
    """Best of the top K by each metric against K at random, for growing K."""
    of_images = table.by_image()
    most = min((len(rows.image) for rows in of_images), default=0)
    wanted = [size for size in sizes or _sizes(most) if size <= most]
    curve = [
        CohortSize(None, size, float(np.mean([expected_best(rows.psnr_oracle_stop, size) for rows in of_images])), None)
        for size in wanted
    ]
    for metric in table.scores:
        for size in wanted:
            tops = [np.argsort(rows.scores[metric], kind="stable")[:size] for rows in of_images]
            best = np.mean([rows.psnr_oracle_stop[top].max() for rows, top in zip(of_images, tops, strict=True)])
            blind = np.mean([_blind(rows, top) for rows, top in zip(of_images, tops, strict=True)])
            curve.append(CohortSize(metric, size, float(best), float(blind)))
    return curve


def _blind(rows: Table, top: NDArray[np.intp]) -> float:
    """PSNR of the member of least held-out error, stopped blind."""
    errors = rows.held_out_error[top]
    return float(rows.psnr[top][np.nanargmin(errors) if np.isfinite(errors).any() else 0])


def _sizes(most: int) -> list[int]:
    """1, 2, 3, 5, 7, 10, 15, 22, ... up to ``most``."""
    sizes = [1, 2, 3, 5, 7, 10, 15]
    while sizes[-1] < most:
        sizes.append(round(sizes[-1] * 1.5))
    return [size for size in sizes if size < most] + ([most] if most else [])


def study_of(table: Table) -> Study:
    """All figures of a table."""
    candidates = len(set(table.candidate.tolist()))
    return Study(len(table.images), candidates, taus_of(table), cohort_sizes_of(table))


def write_study(store: Store, layout: RunLayout, table: Table, study: Study) -> None:
    """Write the table (Parquet, CSV) and the figures (JSON) to the store."""
    arrow = table.to_arrow()
    buffer = io.BytesIO()
    pq.write_table(arrow, buffer)
    store.put(layout.study("table.parquet"), buffer.getvalue())
    text = to_csv(arrow.column_names, _without_nan(arrow.to_pylist()))
    store.put(layout.study("table.csv"), text.encode())
    store.put(layout.study("study.json"), json.dumps(_without_nan(asdict(study)), indent=2, allow_nan=False).encode())


def _without_nan(value: Any) -> Any:
    """The value with null in place of NaN, as JSON requires."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
