import numpy as np
import pytest
import torch

from tests.workers.tasks.pictures import picture
from workers.operators import Downsample
from workers.tasks import SuperResolve


def test_what_does_not_divide_is_cropped_at_the_bottom_and_right() -> None:
    task = SuperResolve(4)
    clean = picture(3, 15, 22)
    assert task.whole(15, 22) == (12, 20)
    np.testing.assert_array_equal(
        task.simulate(clean, np.random.default_rng(0)).pixels,
        task.simulate(clean[:, :12, :20], np.random.default_rng(0)).pixels,
    )


def test_overshoot_is_clipped() -> None:
    clean = np.zeros((1, 16, 16), dtype=np.float32)
    clean[..., 8:] = 1
    assert Downsample(4)(torch.from_numpy(clean)[None]).min() < 0
    low = SuperResolve(4).simulate(clean, np.random.default_rng(0)).pixels
    assert (low.min(), low.max()) == (0, 1)


@pytest.mark.parametrize("size", [(3, 9), (9, 3)])
def test_an_image_smaller_than_the_factor_cannot_be_scaled_down(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"{size[0]} x {size[1]} pixels is too small"):
        SuperResolve(4).simulate(picture(1, *size), np.random.default_rng(0))
