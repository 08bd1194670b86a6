"""Fingerprints: the numbers that metrics need of a candidate's untrained output, kept so that they are computed once.

The output of an untrained network depends on the candidate, the shape, the channels and the seed, not on the image. A
metric needs little of it: the mean over draws of the quantity that a squared distance compares, with its variance; the
heights of a histogram; a single number. A bank of such fingerprints scores any number of images as dense arithmetic,
where the original pays one forward pass for every candidate and image. Only a user's metric needs the outputs
themselves.

Images of all sizes share three banks per channel count: spectra are taken on squares of 64, 128 or 256 pixels, an
image's averaged over overlapping tiles (Welch's method). ``native`` scoring, the paper's, uses the image's own size.
Where the measurement is smaller than the image by a scale (super-resolution), outputs go through the operator first.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.metrics import WITHOUT_OUTPUTS, resolve_metric
from workers.networks import build, noise_input
from workers.networks.search import SIDE_MULTIPLE
from workers.operators import Operator
from workers.seeds import generator_of, seed_of
from workers.space import Candidate
from workers.spectra import METRICS, Array, Metric, Transforms, emd
from workers.views import pad, padded_side

VERSION = 2
"""Part of every bank's key: raised when the numbers in a fingerprint change their meaning."""

SQUARES = (256, 128, 64)
_SMALLEST_MEASUREMENT = 16
"""At half this size no frequency lies in the ring that metrics look at."""
_DEAR = ("psd db mse", "nodc psd db mse", "nodc psd strip mse")
CHEAP_METRICS = tuple(name for name in METRICS if name not in _DEAR)
"""The metrics that every bank holds: under 80 kB a candidate at 512 px RGB, nearly all of it
one ring of the spectrum.
"""

# The ring leaves out the zero frequency, and `nodc` changes nothing else.
_SAME = {"nodc psd db strip": "psd db strip"}


@dataclass(frozen=True)
class BankSpec:
    """Everything that a bank of fingerprints depends on apart from its candidates; no image enters.

    ``height`` x ``width`` is the size of the networks' outputs in pixels, measurements are ``scale`` times smaller;
    ``network_width`` is the number of channels at every scale of a network. ``metrics`` are those that the bank can
    give, as returned by `bank_metrics`; ``operator`` names the operator that turns an output into a measurement.
    """

    height: int
    width: int
    channels: int
    input_channels: int
    network_width: int
    draws: int
    seed: int
    metrics: tuple[str, ...]
    operator: str = "identity"
    scale: int = 1
    version: int = VERSION

    @property
    def measurement(self) -> tuple[int, int, int]:
        """Channels, height and width of an output that has gone through the operator."""
        return self.channels, self.height // self.scale, self.width // self.scale


def native_size(height: int, width: int, scale: int = 1) -> tuple[int, int]:
    """A measurement's own size, padded and times ``scale``, as networks accept it: the paper's way of scoring."""
    high, wide = (padded_side(max(side, _SMALLEST_MEASUREMENT), scale) for side in (height, width))
    return high * scale, wide * scale


def square_size(height: int, width: int, scale: int = 1) -> tuple[int, int]:
    """The largest of the squares 256, 128, 64 that fits a padded output for a measurement of this size.

    Where ``scale`` does not divide them, the squares are the next multiples of it that networks accept.
    """
    multiple = math.lcm(SIDE_MULTIPLE, scale)
    shortest = min(native_size(height, width, scale))
    sides = (-(-square // multiple) * multiple for square in SQUARES)
    side = next(side for side in sides if side <= shortest)
    return side, side


def bank_metrics(wanted: Iterable[str]) -> tuple[str, ...]:
    """The metrics of a bank that must hold ``wanted``. The cheap ones are always included, so
    that most runs share banks.
    """
    return (*CHEAP_METRICS, *sorted({*wanted} - {*CHEAP_METRICS, *WITHOUT_OUTPUTS}))


@dataclass(frozen=True)
class _Field:
    """A metric's field of a record: its name, what it takes of an output, and how it keeps the draws.

    With ``each``, every draw is kept. Without, their mean, and in a second field their mean variance: together these
    give the mean over draws of a squared distance exactly. ``compared`` says whether the image has the same field.
    """

    name: str
    take: Callable[[Transforms], Array | float]
    each: bool
    compared: bool

    @property
    def spread(self) -> str:
        """The name of the second field."""
        return f"{self.name} spread"


def _field(name: str) -> _Field:
    """The field in which a bank keeps the numbers for this metric; metrics that need the same share a field."""
    metric = resolve_metric(name)
    if not isinstance(metric, Metric):
        return _Field("outputs", lambda of: of[""], each=True, compared=False)
    quantity = _SAME.get(metric.quantity, metric.quantity)
    if (bandwidth := metric.bandwidth) is not None:
        return _Field(name, lambda of: bandwidth(of[quantity]), each=True, compared=False)
    return _Field(quantity or "output", lambda of: of[quantity], each=metric.distance is emd, compared=True)


def _fields(metrics: Iterable[str]) -> list[_Field]:
    return list({field.name: field for field in map(_field, metrics)}.values())


def fingerprint_dtype(spec: BankSpec) -> np.dtype[np.void]:
    """The record of one candidate: its id, and the numbers that the bank's metrics need, in fields
    named by their transforms.

    ``psd db strip``, for instance, is a mean over the draws, with its mean variance in ``psd db strip spread``; ``psd
    strip hist`` holds each draw's sorted heights and ``psd 99_per_bw`` each draw's number. ``output`` is the mean
    measurement of the outputs, for the task loss; ``outputs`` holds each draw's, for a user's metrics.

    Raises:
        ValueError: a metric does not exist, or the measurement is too small for it.
    """
    example = Transforms(np.zeros(spec.measurement))
    record: list[Any] = [("candidate", "S32")]
    for field in _fields(spec.metrics):
        shape = np.shape(field.take(example))
        record.append((field.name, np.float32, (spec.draws, *shape) if field.each else shape))
        if not field.each:
            record.append((field.spread, np.float32))
    return np.dtype(record)


@torch.no_grad()
def untrained_output(candidate: Candidate, spec: BankSpec, draw: int, device: torch.device | str = "cpu") -> Array:
    """The output (C, H, W) of a candidate with fresh weights for a fresh noise input."""
    words = (spec.seed, candidate.id, spec.height, spec.width, spec.channels, spec.input_channels, spec.network_width)
    network = build(
        candidate,
        spec.input_channels,
        spec.channels,
        spec.network_width,
        generator=generator_of("bank weights", draw, *words),
    ).to(device)
    noise = noise_input(spec.input_channels, spec.height, spec.width, generator_of("bank input", draw, *words))
    output: Array = network(noise.to(device))[0].cpu().numpy()
    return output


@torch.no_grad()
def compute_bank(
    candidates: Sequence[Candidate], spec: BankSpec, operator: Operator, device: torch.device | str = "cpu"
) -> NDArray[np.void]:
    """The fingerprints of these candidates: one forward pass per candidate and draw, on ``device``.

    Args:
        candidates: whose untrained networks are measured.
        spec: everything else that the bank depends on.
        operator: the one that the spec names; it turns an output into a measurement, on the CPU.
        device: where the networks are.

    Returns:
        Records of `fingerprint_dtype`, in the candidates' order.

    Raises:
        ValueError: as `fingerprint_dtype`; or the operator is another than the spec's.
    """
    if (operator.name, operator.scale) != (spec.operator, spec.scale):
        raise ValueError(f"a bank of {spec.operator!r} cannot be made with {operator.name!r}")
    bank = np.empty(len(candidates), dtype=fingerprint_dtype(spec))
    fields = _fields(spec.metrics)
    for record, candidate in zip(bank, candidates, strict=True):
        taken: dict[str, list[Array | float]] = {field.name: [] for field in fields}
        for draw in range(spec.draws):
            output = torch.from_numpy(untrained_output(candidate, spec, draw, device))
            measured = Transforms(operator(output[None])[0].numpy())
            for field in fields:
                taken[field.name].append(field.take(measured))
        record["candidate"] = candidate.id.encode()
        for field in fields:
            draws = np.stack(taken[field.name])
            record[field.name] = draws if field.each else draws.mean(axis=0)
            if not field.each:
                record[field.spread] = draws.var(axis=0).mean()
    return bank


@dataclass(frozen=True)
class ImageFingerprint:
    """An image's side of the comparison: by field of a bank's records, the average over its tiles, and the tiles."""

    fields: Mapping[str, Array]
    tiles: tuple[Array, ...]


def _starts(length: int, tile: int) -> NDArray[np.int64]:
    """Tile positions that overlap by half at least, evenly spread, the last one flush with the edge."""
    count = -(-(length - tile) // (tile // 2)) + 1
    return np.linspace(0, length - tile, count).round().astype(np.int64)


def image_fingerprint(degraded: Array, spec: BankSpec) -> ImageFingerprint:
    """The fingerprint of a measurement (C, H, W) in [0, 1] at a bank's size, averaged over overlapping tiles.

    It serves the metrics of the spec; a spec with fewer of them than the bank's is computed faster.

    Levels are averaged in dB, and histograms as sorted heights, because candidates are measured in the same way, one
    output at a time. The logarithm of an averaged spectrum would lie 5.8 dB higher (10 times Euler's constant) than the
    average of logarithms. A mean squared distance therefore orders candidates exactly as its mean over the tiles would.

    Raises:
        ValueError: as `fingerprint_dtype`.
    """
    padded = pad(degraded, spec.scale)
    _, height, width = spec.measurement
    missing = [max(0, side - own) for side, own in zip((height, width), padded.shape[1:], strict=True)]
    padded = np.pad(padded, ((0, 0), (0, missing[0]), (0, missing[1])), mode="reflect")
    tiles = tuple(
        padded[:, top : top + height, left : left + width]
        for top in _starts(padded.shape[1], height)
        for left in _starts(padded.shape[2], width)
    )
    compared = [field for field in _fields(spec.metrics) if field.compared]
    sums: dict[str, NDArray[np.float64]] = {}
    for tile in tiles:
        measured = Transforms(tile)
        for field in compared:
            sums[field.name] = sums.get(field.name, 0) + np.asarray(field.take(measured), dtype=np.float64)
    return ImageFingerprint({name: (total / len(tiles)).astype(np.float32) for name, total in sums.items()}, tiles)


def score_bank(bank: NDArray[np.void], image: ImageFingerprint, metric: str) -> NDArray[np.float32]:
    """The metric of every fingerprint against the image, averaged over the draws; lower is more similar.

    ``bank`` may be memory-mapped: the fields that the metric needs are read once, record by record. A user's metric is
    called for every tile and draw, and gets copies. ``image`` is a fingerprint at the bank's size that serves the
    metric.

    Raises:
        ValueError: the metric does not exist, or the bank does not hold what it needs.
    """
    field, function = _field(metric), resolve_metric(metric)
    if field.name not in (bank.dtype.names or ()):
        raise ValueError(f"this bank cannot give {metric!r}; it holds: {', '.join((bank.dtype.names or ())[1:])}")
    kept = bank[field.name]
    if not isinstance(function, Metric):
        scores = [
            np.mean([float(function(tile.copy(), output.copy())) for tile in image.tiles for output in outputs])
            for outputs in kept
        ]
    elif (distance := function.distance) is None:
        scores = kept.mean(axis=1)
    else:
        ours = image.fields[field.name]
        spreads = np.zeros(len(bank)) if field.each else bank[field.spread]
        scores = [distance(row, ours) + spread for row, spread in zip(kept, spreads, strict=True)]
    return np.asarray(scores, dtype=np.float32)


def random_scores(candidates: Sequence[Candidate], *words: object) -> NDArray[np.float32]:
    """Random scores, uniform on [0, 1): a function of the words and of the candidate alone."""
    return np.array([seed_of("random score", *words, c.id) / 2**63 for c in candidates], dtype=np.float32)
