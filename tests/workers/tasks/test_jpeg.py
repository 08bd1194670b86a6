import numpy as np
import pytest

from tests.workers.tasks.pictures import level, smooth
from workers.tasks import Jpeg


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_compression_costs_more_at_a_lower_quality(channels: int) -> None:
    clean = smooth(channels, 64)
    errors = [level(Jpeg(quality).simulate(clean, np.random.default_rng(0)).pixels, clean) for quality in (5, 30, 95)]
    assert errors[0] > errors[1] > errors[2] > 0
    assert errors[2] < 6


def test_compressed_values_have_eight_bits() -> None:
    pixels = Jpeg(50).simulate(smooth(3, 32), np.random.default_rng(0)).pixels
    np.testing.assert_array_equal(pixels, np.rint(pixels * 255).astype(np.float32) / np.float32(255))


def test_values_are_rounded_to_the_nearest_of_256_levels() -> None:
    clean = np.full((1, 8, 8), 200.9 / 255, dtype=np.float32)
    np.testing.assert_allclose(Jpeg(95).simulate(clean, np.random.default_rng(0)).pixels * 255, 201, rtol=1e-6)


def test_colour_has_half_the_resolution() -> None:
    clean = np.zeros((3, 16, 16), dtype=np.float32)
    clean[0, :, ::2] = clean[2, :, 1::2] = 1
    pixels = Jpeg(95).simulate(clean, np.random.default_rng(0)).pixels
    # Red and blue stripes of one pixel: only their difference in lightness is left.
    assert level(pixels, clean) > 80


def test_three_channels_share_their_colour_and_others_do_not() -> None:
    clean = np.stack([smooth(1, 32)[0], *np.full((2, 32, 32), 0.5, dtype=np.float32)])
    as_colour = Jpeg(10).simulate(clean, np.random.default_rng(0)).pixels
    assert as_colour[1].std() > 0.01
    four = Jpeg(10).simulate(np.concatenate([clean, clean[:1]]), np.random.default_rng(0)).pixels
    assert four[1].std() == 0
    np.testing.assert_array_equal(four[0], four[3])
    alone = Jpeg(10).simulate(clean[:1], np.random.default_rng(0)).pixels
    np.testing.assert_array_equal(four[:1], alone)


def test_a_side_that_no_jpeg_file_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="1 x 65501 pixels"):
        Jpeg().simulate(np.zeros((1, 1, 65501), dtype=np.float32), np.random.default_rng(0))
