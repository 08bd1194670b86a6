import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.views import crop_position, pad, padded_side, select_view


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(1, 150), st.integers(1, 150))
def test_padding_gives_sides_that_networks_accept_and_keeps_the_image(channels: int, height: int, width: int) -> None:
    image = np.random.default_rng(0).random((channels, height, width), dtype=np.float32)
    padded = pad(image)
    assert all(side % 32 == 0 and side >= 64 for side in padded.shape[1:])
    assert max(padded.shape[1] - height, padded.shape[2] - width) < 64
    np.testing.assert_array_equal(padded[:, :height, :width], image)


def test_padding_mirrors_at_the_edge_again_and_again() -> None:
    row = np.array([[[0.0, 1.0, 2.0]]])
    np.testing.assert_array_equal(pad(row)[0, 5, :9], [0, 1, 2, 1, 0, 1, 2, 1, 0])


@pytest.mark.parametrize(("side", "padded"), [(1, 64), (64, 64), (65, 96), (96, 96), (97, 128), (512, 512)])
def test_a_side_is_padded_to_the_next_multiple(side: int, padded: int) -> None:
    assert padded_side(side) == padded


def test_the_crop_is_where_the_image_is_busiest() -> None:
    image = np.full((3, 200, 300), 0.5, dtype=np.float32)
    image[:, 120:184, 200:264] = np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)
    assert crop_position(image, 64, 64) == (120, 200)


def test_the_crop_reaches_an_edge_that_no_stride_hits() -> None:
    image = np.zeros((1, 70, 71), dtype=np.float32)
    image[:, -1, -1] = 1
    assert crop_position(image, 64, 64) == (6, 7)


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(["crop", "downscale", "full"]), st.integers(1, 300), st.integers(1, 300))
def test_a_view_takes_what_it_says_it_takes(name: str, height: int, width: int) -> None:
    image = np.random.default_rng(0).random((2, height, width), dtype=np.float32)
    view = select_view(name, image, crop_px=96, downscale_px=64)
    taken = view.take(image)
    assert taken.shape == (2, view.out_height, view.out_width)
    assert taken.dtype == np.float32
    if name == "full":
        np.testing.assert_array_equal(taken, image)
    if name == "crop":
        assert taken.shape[1:] == (min(96, height), min(96, width))
        np.testing.assert_array_equal(taken, image[:, view.top :, view.left :][:, : view.height, : view.width])
    if name == "downscale":
        assert min(taken.shape[1:]) == min(64, height, width)
