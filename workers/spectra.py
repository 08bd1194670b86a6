"""The metrics at initialisation of ISNAS-DIP (arXiv 2111.15362, section 4), by name.

A metric compares the degraded image with the output of an untrained network, or looks at the output alone. Its name is
read left to right: transforms, then a distance, as in ``psd db strip mse``.

==============  ==============================================================================================
word            meaning
==============  ==============================================================================================
psd             power spectral density per channel, |fft2(x, norm="forward")|^2, zero frequency in the centre
db              10 ln(.): the reference's "decibel", with the natural logarithm
nodc            subtract the mean of the whole (C, H, W) array
strip           the ring 0.05 <= r < 0.1 of the spectrum, all channels, as one list
hist            bin heights of a 100-bin density histogram over the array's own range
mse             mean squared difference
emd             earth mover's distance between the two lists of bin heights
p_per_bw        the radius that holds p % of the energy (of the output alone)
d_db_bw         the share of the spectrum above its maximum minus d (of the output alone)
==============  ==============================================================================================

Everything is computed in float32, as the reference values of the tests were.
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

HISTOGRAM_BINS = 100
DISKS = 99
STRIP_INNER, STRIP_OUTER = 0.05, 0.1
SIMILARITY_METRICS = (
    "psd db mse",
    "psd db strip mse",
    "nodc psd db mse",
    "nodc psd strip mse",
    "nodc psd db strip mse",
    "psd db hist emd",
    "nodc psd hist emd",
    "nodc psd db hist emd",
    "psd strip hist emd",
)
LOW_PASS_METRICS = ("psd 99_per_bw", "psd 70_per_bw", "nodc psd 75_per_bw", "nodc psd db 50_db_bw")
METRICS = SIMILARITY_METRICS + LOW_PASS_METRICS
# A frequency without power has no decibels; this power, far below float32's rounding of any image, stands for
# "nothing".
_FLOOR = np.float32(1e-30)


def psd(x: Array) -> Array:
    """Power spectral density of each channel: (C, H, W) in, (C, H, W) out, zero frequency at (H//2, W//2)."""
    spectrum = np.fft.fftshift(np.fft.fft2(x, norm="forward"), axes=(-2, -1))
    power: Array = np.square(np.abs(spectrum))
    return power


def db(x: Array) -> Array:
    """10 ln(x), the reference's decibel; zero power is floored so that the result is finite."""
    level: Array = np.float32(10) * np.log(np.maximum(x, _FLOOR))
    return level


def nodc(x: Array) -> Array:
    """Subtract the mean over the whole (C, H, W) array."""
    centred: Array = x - x.mean()
    return centred


def _squared_radius(height: int, width: int) -> NDArray[np.float64]:
    rows = (np.arange(height) / height - 0.5)[:, None]
    columns = (np.arange(width) / width - 0.5)[None, :]
    squared: NDArray[np.float64] = columns**2 + rows**2
    return squared


@lru_cache(maxsize=8)
def _ring(height: int, width: int) -> NDArray[np.bool_]:
    radius = _squared_radius(height, width)
    return (radius < STRIP_OUTER**2) & ~(radius < STRIP_INNER**2)


@lru_cache(maxsize=8)
def _smallest_disk(height: int, width: int) -> NDArray[np.uint8]:
    """For every frequency (height, width), the number of the smallest disk that holds it; `DISKS` where none does."""
    diameters = np.linspace(0, np.sqrt(2), DISKS + 1)[1:]
    return np.searchsorted((diameters / 2) ** 2, _squared_radius(height, width), side="right").astype(np.uint8)


def strip(x: Array) -> Array:
    """The ring 0.05 <= r < 0.1 of a centred spectrum (C, H, W), flattened; r = 1/2 at the edge of the longest axis.

    Raises:
        ValueError: the spectrum is so small that no frequency lies in the ring, as one of 8 x 8.
    """
    height, width = x.shape[-2:]
    ring = x[:, _ring(height, width)].ravel()
    if not ring.size:
        raise ValueError(f"the spectrum of {width}x{height} px has no frequency in the ring that 'strip' takes")
    return ring


def hist(x: Array) -> Array:
    """The 100 bin heights of the density histogram over the array's own range, in ascending order."""
    try:
        heights, _ = np.histogram(x, bins=HISTOGRAM_BINS, density=True)
    except ValueError:
        # A flat spectrum, as one bright pixel's, may span fewer than 100 different float32 numbers.
        heights, _ = np.histogram(x.astype(np.float64), bins=HISTOGRAM_BINS, density=True)
    return np.sort(heights)


def mse(a: Array, b: Array) -> float:
    """Mean squared difference of two arrays of equal shape."""
    return float(np.square(a - b).mean())


def emd(a: Array, b: Array) -> float:
    """1-D earth mover's distance between two equally long, sorted lists: their mean absolute difference."""
    return float(np.abs(a - b).mean())


def percent_bandwidth(x: Array, percent: float) -> float:
    """The radius, as a share of the 99 disks up to the spectrum's corner, within which ``percent`` of the energy lies.

    ``x`` is a centred PSD (C, H, W); its channels are averaged. Between neighbouring disks the radius is interpolated.
    """
    energy = x.mean(axis=0)
    disk = _smallest_disk(*energy.shape)

    def held(k: int) -> np.float32:
        total: np.float32 = energy[disk <= k].sum()
        return total

    wanted = np.float32(percent / 100) * energy.sum()
    k = min(bisect_left(range(DISKS), wanted, key=held), DISKS - 1)
    before = held(k - 1) if k else np.float32(0)
    step = held(k) - before
    return float((k + ((wanted - before) / step if step > 0 else 0.0)) / DISKS)


def db_bandwidth(x: Array, drop: float) -> float:
    """The share of the spectrum whose level, averaged over channels, is above the maximum less ``drop``.

    ``x`` is a centred PSD in dB (C, H, W).
    """
    level = x.mean(axis=0)
    return float((level > level.max() - np.float32(drop)).mean())


_TRANSFORMS: dict[str, Callable[[Array], Array]] = {"psd": psd, "db": db, "nodc": nodc, "strip": strip, "hist": hist}
_DISTANCES: dict[str, Callable[[Array, Array], float]] = {"mse": mse, "emd": emd}


class Transforms(dict[str, Array]):
    """An array's transforms by name, each computed on first use: ``Transforms(x)["psd db strip"]``.

    The common beginning of two names is computed once; the empty name is the array itself, (C, H, W), as float32.
    """

    def __init__(self, x: NDArray[Any]) -> None:
        super().__init__({"": np.asarray(x, dtype=np.float32)})

    def __missing__(self, name: str) -> Array:
        before, _, last = name.rpartition(" ")
        self[name] = _TRANSFORMS[last](self[before])
        return self[name]


@dataclass(frozen=True)
class Metric:
    """A metric at initialisation, callable as ``metric(degraded, output)`` on (C, H, W) float32 arrays in [0, 1].

    ``quantity`` names its transforms, as in ``psd db strip``. Either ``distance`` compares the quantity of both arrays,
    or ``bandwidth`` measures the output's. Lower is better for all of them: a smaller distance, or (for the low-pass
    metrics) a narrower band.
    """

    name: str
    quantity: str
    distance: Callable[[Array, Array], float] | None
    bandwidth: Callable[[Array], float] | None

    @property
    def uses_image(self) -> bool:
        """Whether the degraded image enters the value; the others give every image the same order."""
        return self.distance is not None

    def __call__(self, degraded: NDArray[Any], output: NDArray[Any]) -> float:
        """The metric's value; both arrays are (C, H, W) of equal shape."""
        measured = Transforms(output)[self.quantity]
        if self.bandwidth is not None:
            return self.bandwidth(measured)
        assert self.distance is not None  # noqa: S101 - every metric has one of the two
        return self.distance(Transforms(degraded)[self.quantity], measured)


def metric(name: str) -> Metric:
    """The metric of this name, such as ``psd db strip mse`` or ``psd 99_per_bw``.

    Raises:
        ValueError: the name is none of `METRICS`.
    """
    if name not in METRICS:
        raise ValueError(f"no metric is called {name!r}; there are: {', '.join(METRICS)}")
    quantity, _, last = name.rpartition(" ")
    if last in _DISTANCES:
        return Metric(name, quantity, _DISTANCES[last], None)
    amount, kind, _ = last.split("_")
    measure = percent_bandwidth if kind == "per" else db_bandwidth
    return Metric(name, quantity, None, lambda x: measure(x, float(amount)))
