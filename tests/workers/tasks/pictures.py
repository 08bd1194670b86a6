"""Helpers of several of these tests."""

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray

Image = NDArray[np.float32]


def picture(channels: int, height: int, width: int) -> Image:
    """Values from 0 to 1, both included where there is room for them."""
    return np.random.default_rng(0).integers(0, 5, (channels, height, width)).astype(np.float32) / 4


def level(noisy: Image, clean: Image) -> float:
    return float((noisy - clean).std()) * 255


check = settings(deadline=None, derandomize=True)


sizes = st.integers(3, 20)


def smooth(channels: int, side: int) -> Image:
    waves = np.sin(np.arange(side) / 5)
    plane = (np.add.outer(waves, waves) / 4 + 0.5).astype(np.float32)
    return np.stack([np.roll(plane, 7 * channel, axis=1) for channel in range(channels)])
