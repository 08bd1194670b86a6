import numpy as np
import pytest

from tests.workers.tasks.pictures import picture
from workers.tasks import Inpaint


def test_missing_pixels_are_missing_in_all_channels() -> None:
    clean = np.full((3, 200, 200), 0.5, dtype=np.float32)
    observation = Inpaint(missing=0.3).simulate(clean, np.random.default_rng(0))
    assert observation.known is not None
    assert 1 - observation.known.mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(observation.pixels, np.broadcast_to(0.5 * observation.known, clean.shape))


def test_nothing_need_be_missing_and_one_pixel_stays() -> None:
    clean = picture(1, 6, 6)
    none, all_but_one = (Inpaint(share).simulate(clean, np.random.default_rng(0)).known for share in (0.0, 1.0))
    assert none is not None
    assert none.all()
    assert all_but_one is not None
    assert all_but_one.sum() == 1
