import numpy as np
import pytest

from tests.workers.tasks.pictures import level, picture
from workers.tasks import Denoise


def test_simulated_noise_has_the_strength_asked_for_and_stays_in_range() -> None:
    clean = np.full((1, 200, 200), 0.5, dtype=np.float32)
    noisy = Denoise(sigma=25).simulate(clean, np.random.default_rng(0)).pixels
    assert level(noisy, clean) == pytest.approx(25, rel=0.02)
    extreme = Denoise(sigma=200).simulate(clean, np.random.default_rng(0)).pixels
    assert extreme.min() == 0
    assert extreme.max() == 1


def test_gaussian_noise_is_the_first_draw_of_the_generator() -> None:
    clean = picture(3, 7, 5)
    noise = np.random.default_rng(4).standard_normal((3, 7, 5), dtype=np.float32) * np.float32(25 / 255)
    np.testing.assert_array_equal(
        Denoise(25.0).simulate(clean, np.random.default_rng(4)).pixels, np.clip(clean + noise, 0, 1)
    )


def test_an_unknown_level_is_drawn_anew_from_its_interval() -> None:
    clean = np.full((1, 100, 100), 0.5, dtype=np.float32)
    task, random = Denoise(sigma=(10, 30)), np.random.default_rng(0)
    levels = [level(task.simulate(clean, random).pixels, clean) for _ in range(40)]
    assert 9.5 < min(levels) < 12
    assert 28 < max(levels) < 31.5


def test_poisson_noise_counts_photons() -> None:
    clean = np.stack([np.full((200, 200), value, dtype=np.float32) for value in (0.0, 0.1, 0.4)])
    noisy = Denoise(noise="poisson", peak=50).simulate(clean, np.random.default_rng(0)).pixels
    np.testing.assert_allclose(noisy * 50, np.rint(noisy * 50), atol=1e-4)
    assert not noisy[0].any()
    for channel, value in ((1, 0.1), (2, 0.4)):
        assert noisy[channel].mean() == pytest.approx(value, rel=0.02)
        assert noisy[channel].var() == pytest.approx(value / 50, rel=0.05)
