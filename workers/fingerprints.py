"""Fingerprints: all that a metric needs of a candidate's untrained output, kept so that it is computed once.

The output of an untrained network depends on the candidate, the shape, the channels and the seed, not on the image. The
two metrics of ISNAS-DIP need little of it: the ring of its spectrum in dB, and the sorted histogram of that ring. A bank
of such fingerprints scores any number of images as dense arithmetic, where the original pays one forward pass for every
candidate and image.

Images of all sizes share three banks per channel count: spectra are taken on squares of 64, 128 or 256 pixels, an
image's averaged over overlapping tiles (Welch's method). ``native`` scoring, the paper's, uses the image's own size.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from workers.networks import build, noise_input
from workers.seeds import generator_of, seed_of
from workers.space import Candidate
from workers.spectra import HISTOGRAM_BINS, Array, db, emd, hist, psd, strip
from workers.views import pad, padded_side

VERSION = 1
"""Part of every bank's key: raised when the numbers in a fingerprint change their meaning."""

SQUARES = (256, 128, 64)
STRIP_MSE = "psd db strip mse"
STRIP_HISTOGRAM_EMD = "psd strip hist emd"
FINGERPRINT_METRICS = (STRIP_MSE, STRIP_HISTOGRAM_EMD)


@dataclass(frozen=True)
class BankSpec:
    """What a bank of fingerprints is a function of, beside its candidates; no image enters.

    ``height`` x ``width`` is the size of the outputs in pixels, ``network_width`` the channels of every scale.
    """

    height: int
    width: int
    channels: int
    input_channels: int
    network_width: int
    draws: int
    seed: int
    operator: str = "denoise"
    version: int = VERSION


def native_size(height: int, width: int) -> tuple[int, int]:
    """The image's own size, padded to one that networks accept: the paper's way of scoring."""
    return padded_side(height), padded_side(width)


def square_size(height: int, width: int) -> tuple[int, int]:
    """The largest of the squares 256, 128, 64 that fits the padded image."""
    shortest = min(native_size(height, width))
    side = next(square for square in SQUARES if square <= shortest)
    return side, side


def fingerprint_dtype(spec: BankSpec) -> np.dtype[np.void]:
    """The record of one candidate.

    ``strip`` is the mean over the draws of the spectrum's ring in dB, ``spread`` the ring's mean variance over the draws:
    together they give the mean over draws of the squared distance exactly. ``histogram`` holds each draw's sorted bin
    heights.
    """
    ring = strip(np.zeros((spec.channels, spec.height, spec.width), dtype=np.float32)).size
    fields = [
        ("candidate", "S32"),
        ("strip", np.float32, (ring,)),
        ("spread", np.float32),
        ("histogram", np.float32, (spec.draws, HISTOGRAM_BINS)),
    ]
    return np.dtype(fields)


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


def compute_bank(
    candidates: Sequence[Candidate], spec: BankSpec, device: torch.device | str = "cpu"
) -> NDArray[np.void]:
    """The fingerprints of these candidates: one forward pass per candidate and draw. Records of `fingerprint_dtype`."""
    bank = np.empty(len(candidates), dtype=fingerprint_dtype(spec))
    for record, candidate in zip(bank, candidates, strict=True):
        rings = [strip(psd(untrained_output(candidate, spec, draw, device))) for draw in range(spec.draws)]
        levels = db(np.stack(rings))
        record["candidate"] = candidate.id.encode()
        record["strip"] = levels.mean(axis=0)
        record["spread"] = levels.var(axis=0).mean()
        record["histogram"] = [hist(ring) for ring in rings]
    return bank


@dataclass(frozen=True)
class ImageFingerprint:
    """What the metrics need of an image: its spectrum's ring in dB, and the ring's sorted histogram."""

    strip: Array
    histogram: Array


def _starts(length: int, tile: int) -> NDArray[np.int64]:
    """Tile positions that overlap by half at least, evenly spread, the last one flush with the edge."""
    count = -(-(length - tile) // (tile // 2)) + 1
    return np.linspace(0, length - tile, count).round().astype(np.int64)


def image_fingerprint(degraded: Array, height: int, width: int) -> ImageFingerprint:
    """The fingerprint of an image (C, H, W) in [0, 1] at a bank's size, averaged over overlapping tiles.

    Levels are averaged in dB, and histograms as sorted heights: candidates are measured so, one output at a time, and the
    logarithm of an averaged spectrum would lie 5.8 dB higher (10 times Euler's constant) than the average of logarithms.
    So the strip metric orders candidates exactly as its mean over the tiles would.
    """
    padded = pad(degraded)
    tiles = [(top, left) for top in _starts(padded.shape[1], height) for left in _starts(padded.shape[2], width)]
    levels = np.zeros(strip(padded[:, :height, :width]).size)
    heights = np.zeros(HISTOGRAM_BINS)
    for top, left in tiles:
        ring = strip(psd(padded[:, top : top + height, left : left + width]))
        levels += db(ring)
        heights += hist(ring)
    return ImageFingerprint((levels / len(tiles)).astype(np.float32), (heights / len(tiles)).astype(np.float32))


def score_bank(bank: NDArray[np.void], image: ImageFingerprint, metric: str) -> NDArray[np.float32]:
    """The metric of every fingerprint against the image, averaged over the draws; lower is more similar.

    ``bank`` may be memory-mapped: it is read once, in slices.

    Raises:
        ValueError: the metric is none of `FINGERPRINT_METRICS`.
    """
    if metric == STRIP_MSE:
        return np.array(
            [
                np.square(row - image.strip).mean() + spread
                for row, spread in zip(bank["strip"], bank["spread"], strict=True)
            ],
            dtype=np.float32,
        )
    if metric == STRIP_HISTOGRAM_EMD:
        return np.array([emd(draws, image.histogram) for draws in bank["histogram"]], dtype=np.float32)
    raise ValueError(
        f"a bank cannot give {metric!r}; it holds what {' and '.join(map(repr, FINGERPRINT_METRICS))} need"
    )


def random_scores(candidates: Sequence[Candidate], *words: object) -> NDArray[np.float32]:
    """Scores that know nothing: uniform on [0, 1), a function of the words and of the candidate alone."""
    return np.array([seed_of("random score", *words, c.id) / 2**63 for c in candidates], dtype=np.float32)
