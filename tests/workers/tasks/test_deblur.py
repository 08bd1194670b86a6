import numpy as np
import pytest

from tests.workers.tasks.pictures import level
from workers.tasks import Deblur


def test_a_blur_without_noise_is_the_blur_and_with_noise_has_its_level() -> None:
    clean = np.full((1, 200, 200), 0.5, dtype=np.float32)
    np.testing.assert_allclose(Deblur(np.ones((3, 3))).simulate(clean, np.random.default_rng(0)).pixels, 0.5, atol=1e-6)
    noisy = Deblur(np.ones((3, 3)), sigma=10).simulate(clean, np.random.default_rng(0)).pixels
    assert level(noisy, clean) == pytest.approx(10, rel=0.02)
