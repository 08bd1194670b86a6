import numpy as np
import pytest
import torch

from workers.operators import Denoise


def test_simulated_noise_has_the_strength_asked_for_and_stays_in_range() -> None:
    clean = np.full((1, 200, 200), 0.5, dtype=np.float32)
    noisy = Denoise(sigma=25).simulate(clean, np.random.default_rng(0))
    assert noisy.dtype == np.float32
    assert float((noisy - clean).std()) == pytest.approx(25 / 255, rel=0.02)
    extreme = Denoise(sigma=200).simulate(clean, np.random.default_rng(0))
    assert extreme.min() == 0
    assert extreme.max() == 1


def test_the_same_generator_state_gives_the_same_noise() -> None:
    clean = np.zeros((3, 8, 8), dtype=np.float32)
    first, second = (Denoise(10).simulate(clean, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_denoising_sees_the_image_itself() -> None:
    image = torch.rand(1, 3, 5, 7)
    assert Denoise()(image) is image
