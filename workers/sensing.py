"""Measurement matrices of compressed sensing: y = M x, with fewer values than the image has pixels.

Every measured value depends on the whole image. A matrix is a function of its name, its number of rows, the image's
shape and a seed; it is never stored. Images are (N, C, H, W) with n = C H W values, measurements (N, P, 1, m): P is 2
for complex values (real and imaginary parts), else 1.

| name | rows | cost |
|---|---|---|
| ``gaussian`` | independent N(0, 1/n), drawn block by block | m n |
| ``hadamard`` | m random rows of the Walsh-Hadamard transform of the image with random signs | n log n |
| ``dct`` | m random rows of the orthonormal DCT-II of the image with random signs | n log n |
| ``fourier`` | m random frequencies of each channel's Fourier transform, low ones more often, as in MRI | n log n |

A matrix of more rows has all those of a smaller one, so results over m compare.
Rows have the norm 1 (Gaussian ones on average), as the rows that measure single pixels have. So noise of a level means
the same as for pixels, and for an error e of the image that does not depend on M the mean square of M e is about that
of e.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import prod, sqrt
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.seeds import seed_of

Map = Callable[[Tensor], Tensor]
MatrixName = Literal["gaussian", "hadamard", "dct", "fourier"]

_BLOCK = 2**22
"""Values of a block of a Gaussian matrix."""

_KEPT = 2**26
"""The most values of a Gaussian matrix that stays in memory; a larger one is drawn again at every use."""

_LOW = 16.0
"""A frequency of r cycles a pixel is drawn in proportion to 1 / (1 + (16 r)^2) (variable density: Lustig et al. 2007,
"Sparse MRI")."""


@dataclass(frozen=True)
class Sensing:
    """A measurement matrix as an operator; pixels of an image beyond its shape are not looked at.

    Args:
        matrix: its name.
        measurements: m, its number of rows; of complex ones for ``fourier``.
        shape: (C, H, W) of the image.
        seed: equal seeds give equal matrices.

    Raises:
        ValueError: m is not between 1 and the number of rows that there are.
    """

    matrix: MatrixName
    measurements: int
    shape: tuple[int, int, int]
    seed: int = 0
    scale: ClassVar[int] = 1
    symmetric: ClassVar[bool] = False
    reach: ClassVar[int] = 0

    def __post_init__(self) -> None:
        most, words = self.most, " x ".join(map(str, self.shape))
        if not 1 <= self.measurements <= most:
            raise ValueError(
                f"{self.measurements} measurements of an image of {words} values: there must be between 1 and {most}"
            )

    @property
    def name(self) -> str:
        """Such as ``gaussian 500 of 3x64x64, seed 0``."""
        return f"{self.matrix} {self.measurements} of {'x'.join(map(str, self.shape))}, seed {self.seed}"

    @property
    def whole(self) -> tuple[int, int, int]:
        """The shape of the image that every measured value depends on."""
        return self.shape

    @property
    def most(self) -> int:
        """The largest number of measurements: as many as the image has values, or frequencies that differ."""
        return self.shape[0] * len(_frequencies(*self.shape[1:])) if self.matrix == "fourier" else prod(self.shape)

    @property
    def parts(self) -> int:
        """Real numbers of a measured value."""
        return 2 if self.matrix == "fourier" else 1

    def __call__(self, image: Tensor) -> Tensor:
        """M x, differentiable: (N, C, H, W) to (N, P, 1, m)."""
        _, height, width = self.shape
        measured: Tensor = _Linear.apply(image[..., :height, :width], self._forward, self.adjoint)  # type: ignore[no-untyped-call]
        return measured

    def adjoint(self, measured: Tensor) -> Tensor:
        """M' y: (N, P, 1, m) to (N, C, H, W)."""
        batch = len(measured)
        if self.matrix == "gaussian":
            rows, found = measured.reshape(batch, -1), None
            for start, block in self._blocks(measured):
                part = rows[:, start : start + len(block)] @ block
                found = part if found is None else found + part
            assert found is not None  # noqa: S101 - there is a row
            return found.reshape(batch, *self.shape)
        place = self._rows.to(measured.device)
        if self.matrix == "fourier":
            return self._from_frequencies(measured, place)
        transformed = measured.new_zeros(batch, self._length)
        transformed[:, place] = measured.reshape(batch, -1)
        signed = (_hadamard if self.matrix == "hadamard" else _inverse_dct)(transformed)[:, : prod(self.shape)]
        return (signed * (self._gain * self._signs.to(measured))).reshape(batch, *self.shape)

    def _forward(self, image: Tensor) -> Tensor:
        batch = len(image)
        if self.matrix == "gaussian":
            flat = image.reshape(batch, -1)
            return torch.cat([flat @ block.T for _, block in self._blocks(image)], 1)[:, None, None]
        place = self._rows.to(image.device)
        if self.matrix == "fourier":
            spectrum = torch.fft.fft2(image, norm="ortho").reshape(batch, -1)[:, place] * self._weights.to(image)
            return torch.stack([spectrum.real, spectrum.imag], 1)[:, :, None]
        signed = image.reshape(batch, -1) * (self._gain * self._signs.to(image))
        padded = torch.nn.functional.pad(signed, (0, self._length - signed.shape[1]))
        return (_hadamard if self.matrix == "hadamard" else _dct)(padded)[:, place][:, None, None]

    def _from_frequencies(self, measured: Tensor, place: Tensor) -> Tensor:
        values = torch.complex(measured[:, 0, 0], measured[:, 1, 0]) * self._weights.to(measured)
        spectrum = values.new_zeros(len(values), prod(self.shape))
        spectrum[:, place] = values
        image: Tensor = torch.fft.ifft2(spectrum.reshape(-1, *self.shape), norm="ortho").real
        return image

    @property
    def _length(self) -> int:
        """Values of the transform: a Walsh-Hadamard transform has a power of two of them."""
        size = prod(self.shape)
        return 1 << (size - 1).bit_length() if self.matrix == "hadamard" else size

    @property
    def _gain(self) -> float:
        """Makes rows of the norm 1 of those that were cut to the image's size."""
        return sqrt(self._length / prod(self.shape))

    @property
    def _signs(self) -> Tensor:
        return _signs(self.seed, prod(self.shape))

    @property
    def _rows(self) -> Tensor:
        """The places of the rows: in the transform, or in all channels' Fourier transforms."""
        return _rows(self)[0]

    @property
    def _weights(self) -> Tensor:
        """Of the frequencies: the two parts of a complex value share the norm of its row, but where it is real."""
        return _rows(self)[1]

    def _blocks(self, like: Tensor) -> Iterator[tuple[int, Tensor]]:
        """A Gaussian matrix in blocks of rows (r, n), and the first row of each."""
        size = prod(self.shape)
        if self.measurements * size <= _KEPT:
            yield 0, _gaussian(self.seed, self.measurements, size, like.dtype, like.device)
            return
        rows = _rows_of_block(size)
        for start in range(0, self.measurements, rows):
            block = _gaussian_block(self.seed, start // rows, size)[: self.measurements - start]
            yield start, torch.from_numpy(block).to(like)


class _Linear(torch.autograd.Function):
    """A linear map with a given adjoint: nothing has to be kept for the gradient."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, forward: Map, adjoint: Map) -> Tensor:
        """The map of an image."""
        ctx.adjoint = adjoint
        return forward(image)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The adjoint of the gradient."""
        return ctx.adjoint(gradients[0]), None, None


def _rows_of_block(size: int) -> int:
    return max(1, _BLOCK // size)


def _gaussian_block(seed: int, number: int, size: int) -> NDArray[np.float32]:
    """A block of rows; numpy's normal numbers are the same on every machine."""
    random = np.random.default_rng(seed_of("sensing", "gaussian", seed, number))
    return random.standard_normal((_rows_of_block(size), size), dtype=np.float32) / np.float32(sqrt(size))


@lru_cache(maxsize=2)
def _gaussian(seed: int, rows: int, size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    blocks = [_gaussian_block(seed, number, size) for number in range(-(-rows // _rows_of_block(size)))]
    # A tensor made in inference mode could never be part of a fit, and this one is kept.
    with torch.inference_mode(False):
        return torch.from_numpy(np.concatenate(blocks)[:rows]).to(dtype=dtype, device=device)


@lru_cache(maxsize=8)
def _signs(seed: int, size: int) -> Tensor:
    random = np.random.default_rng(seed_of("sensing", "signs", seed))
    with torch.inference_mode(False):
        return torch.from_numpy(random.integers(0, 2, size).astype(np.float32) * 2 - 1)


@lru_cache(maxsize=8)
def _rows(operator: Sensing) -> tuple[Tensor, Tensor]:
    """The places of the rows, ascending, and their weights."""
    random = np.random.default_rng(seed_of("sensing", "rows", operator.matrix, operator.seed))
    if operator.matrix != "fourier":
        chosen = np.sort(random.permutation(operator._length)[: operator.measurements])
        weights = np.ones(len(chosen))
    else:
        channels, height, width = operator.shape
        places = _frequencies(height, width)
        rows, columns = np.divmod(places, width)
        radius = np.hypot(np.fft.fftfreq(height)[rows], np.fft.fftfreq(width)[columns])
        # The largest of log(weight) plus Gumbel noise are a weighted draw without replacement. The mean is always one.
        keys = random.gumbel(size=(channels, len(places))) - np.log1p((_LOW * radius) ** 2)
        keys[:, 0] = np.inf
        every = (np.arange(channels)[:, None] * height * width + places).ravel()
        order = np.argsort(-keys.ravel(), kind="stable")[: operator.measurements]
        chosen = np.sort(every[order])
        rows, columns = np.divmod(chosen % (height * width), width)
        is_real = ((2 * rows) % height == 0) & ((2 * columns) % width == 0)
        weights = np.where(is_real, 1.0, sqrt(2))
    with torch.inference_mode(False):
        return torch.from_numpy(chosen), torch.from_numpy(weights.astype(np.float32))


@lru_cache(maxsize=8)
def _frequencies(height: int, width: int) -> NDArray[np.int64]:
    """The places in (H, W) of frequencies of which none is another's conjugate: those of a real image that differ."""
    rows, columns = np.divmod(np.arange(height * width), width)
    conjugate = (-rows % height) * width + (-columns % width)
    return np.flatnonzero(np.arange(height * width) <= conjugate)


def _hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform of (N, 2^k), which is its own inverse."""
    length, half = x.shape[1], 1
    while half < length:
        pairs = x.reshape(len(x), -1, 2, half)
        first, second = pairs.unbind(2)
        x = torch.stack([first + second, first - second], 2).reshape(len(x), length)
        half *= 2
    return x / sqrt(length)


def _dct(x: Tensor) -> Tensor:
    """The orthonormal DCT-II of (N, n), by a Fourier transform of n values (Makhoul 1980)."""
    length = x.shape[1]
    folded = torch.cat([x[:, ::2], x[:, 1::2].flip(1)], 1)
    spectrum = torch.fft.fft(folded) * _turn(length, -1, x.dtype, x.device)
    transformed: Tensor = spectrum.real * _norms(length, x)
    return transformed


def _inverse_dct(x: Tensor) -> Tensor:
    """The inverse of `_dct`, and its adjoint."""
    length = x.shape[1]
    plain = x / _norms(length, x)
    mirrored = torch.cat([torch.zeros_like(plain[:, :1]), plain[:, 1:].flip(1)], 1)
    folded = torch.fft.ifft(torch.complex(plain, -mirrored) * _turn(length, 1, x.dtype, x.device)).real
    found = torch.empty_like(x)
    even = (length + 1) // 2
    found[:, ::2], found[:, 1::2] = folded[:, :even], folded[:, even:].flip(1)
    return found


@lru_cache(maxsize=8)
def _turn(length: int, sign: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    angle = torch.arange(length, dtype=torch.float64) * (sign * torch.pi / (2 * length))
    with torch.inference_mode(False):
        turn: Tensor = torch.complex(
            angle.cos().to(dtype=dtype, device=device), angle.sin().to(dtype=dtype, device=device)
        )
    return turn


def _norms(length: int, like: Tensor) -> Tensor:
    norms = torch.full((length,), sqrt(2 / length), dtype=like.dtype, device=like.device)
    norms[0] = sqrt(1 / length)
    return norms
