import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.workers.tasks.pictures import check, picture
from workers.tasks import enlarge, observe


def test_what_unknown_pixels_hold_is_gone() -> None:
    pixels = np.array([[[0.25, np.nan], [0.5, np.inf]]], dtype=np.float32)
    observation = observe(pixels, np.array([[True, False], [True, False]]))
    np.testing.assert_array_equal(observation.pixels, [[[0.25, 0], [0.5, 0]]])
    assert observation.pixels.dtype == np.float32
    assert np.isnan(pixels[0, 0, 1])


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.ones((3, 2), dtype=np.bool_), "mask of 3 x 2 pixels .* image of 2 x 2"),
        (np.zeros((2, 2), dtype=np.bool_), "no pixel is known"),
    ],
)
def test_a_mask_of_no_use_is_refused(mask: NDArray[np.bool_], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        observe(np.zeros((1, 2, 2), dtype=np.float32), mask)


@check
@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_enlarging_keeps_range_type_and_mirror_images(channels: int, height: int, width: int, factor: int) -> None:
    low = picture(channels, height, width)
    large = enlarge(low, factor)
    assert large.shape == (channels, factor * height, factor * width)
    assert large.dtype == np.float32
    assert large.min() >= 0
    assert large.max() <= 1
    np.testing.assert_allclose(enlarge(low[:, ::-1, ::-1], factor)[:, ::-1, ::-1], large, atol=1e-5)


def test_enlarging_interpolates() -> None:
    ramp = np.linspace(0.2, 0.8, 16, dtype=np.float32)
    large = enlarge(np.broadcast_to(ramp, (1, 16, 16)), 2)[0, 8]
    # Away from the borders, pixel j of the enlarged image is at (j + 1/2) / 2 - 1/2 of the small one.
    positions = (np.arange(6, 26) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(large[6:26], np.interp(positions, np.arange(16), ramp), atol=4e-3)
