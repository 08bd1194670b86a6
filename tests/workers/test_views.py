import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.views import View, crop_position, pad, padded_side, select_view, view_size


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


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 300), st.sampled_from([1, 2, 3, 4, 8]))
def test_a_measurement_is_padded_to_the_least_side_whose_image_networks_accept(side: int, scale: int) -> None:
    accepted = (padded for padded in range(side, 1000) if padded * scale >= 64 and padded * scale % 32 == 0)
    assert padded_side(side, scale) == next(accepted)


def test_a_measurement_of_fewer_pixels_is_mirrored_at_its_edge() -> None:
    padded = pad(np.array([[[0.0, 1.0, 2.0]]]), scale=4)
    assert padded.shape == (1, 16, 16)
    np.testing.assert_array_equal(padded[0, 5, :9], [0, 1, 2, 2, 1, 0, 0, 1, 2])


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


def test_what_is_not_known_does_not_make_a_place_busy() -> None:
    image = np.full((3, 100, 200), 0.5, dtype=np.float32)
    known = np.ones((100, 200), dtype=np.bool_)
    random = np.random.default_rng(0)
    known[16:80, 8:72] = random.random((64, 64)) < 0.5
    image[:, ~known] = 0
    image[:, 32:64, 136:168] = random.random((32, 32), dtype=np.float32)
    assert crop_position(image, 32, 32, known) == (32, 136)
    assert crop_position(image, 64, 64) == (16, 8)


def test_a_crop_of_an_image_that_is_flat_holds_what_is_known() -> None:
    known = np.zeros((100, 200), dtype=np.bool_)
    known[70, 150] = True
    top, left = crop_position(np.zeros((1, 100, 200), dtype=np.float32), 32, 32, known)
    assert known[top : top + 32, left : left + 32].any()


@settings(deadline=None, derandomize=True)
@given(st.sampled_from(["crop", "downscale", "full"]), st.integers(1, 300), st.integers(1, 300))
def test_a_view_takes_what_it_says_it_takes(name: str, height: int, width: int) -> None:
    image = np.random.default_rng(0).random((2, height, width), dtype=np.float32)
    view = select_view(name, image, crop_px=96, downscale_px=64)
    taken, known = view.take(image)
    assert known is None
    assert taken.shape == (2, view.out_height, view.out_width)
    assert taken.dtype == np.float32
    if name == "full":
        np.testing.assert_array_equal(taken, image)
    if name == "crop":
        assert taken.shape[1:] == (min(96, height), min(96, width))
        np.testing.assert_array_equal(taken, image[:, view.top :, view.left :][:, : view.height, : view.width])
    if name == "downscale":
        assert min(taken.shape[1:]) == min(64, height, width)


def test_a_view_takes_the_mask_of_the_same_place() -> None:
    random = np.random.default_rng(0)
    image, known = random.random((2, 90, 100), dtype=np.float32), random.random((90, 100)) < 0.5
    view = select_view("crop", image, known=known, crop_px=64)
    taken, mask = view.take(image, known)
    assert mask is not None
    np.testing.assert_array_equal(taken, image[:, view.top : view.top + 64, view.left : view.left + 64])
    np.testing.assert_array_equal(mask, known[view.top : view.top + 64, view.left : view.left + 64])


def test_an_image_with_holes_is_made_small_from_what_is_known() -> None:
    known = np.random.default_rng(0).random((256, 256)) < 0.6
    known[:128, :128] = False
    clean = np.broadcast_to(np.linspace(0.2, 0.8, 256, dtype=np.float32), (3, 256, 256))
    whole, _ = select_view("downscale", clean).take(clean)
    view = select_view("downscale", clean * known, known=known)
    small, mask = view.take(clean * known, known)
    assert mask is not None
    assert mask.dtype == np.bool_
    assert mask.shape == small.shape[1:] == (64, 64)
    # Holes of single pixels close, a large one stays; unknown pixels are zero.
    assert not mask[:28, :28].any()
    assert mask[36:].mean() > 0.8
    assert (small[:, ~mask] == 0).all()
    np.testing.assert_allclose(small[:, mask], whole[:, mask], atol=0.01)


def test_of_an_image_with_few_known_pixels_something_stays_known() -> None:
    known = np.zeros((256, 256), dtype=np.bool_)
    known[100, 200] = True
    small, mask = select_view("downscale", known[None].astype(np.float32)).take(known[None].astype(np.float32), known)
    assert mask is not None
    assert mask.any()
    np.testing.assert_allclose(small[:, mask], 1, atol=1e-5)


def test_sizes_in_pixels_are_those_of_the_restored_image() -> None:
    assert view_size("crop", 50, 100, crop_px=128, downscale_px=64, scale=4) == (32, 32)
    assert view_size("crop", 20, 100, crop_px=128, downscale_px=64, scale=4) == (20, 32)
    assert view_size("crop", 50, 100, crop_px=4, downscale_px=64, scale=8) == (1, 1)
    assert view_size("downscale", 50, 100, crop_px=128, downscale_px=64, scale=4) == (16, 32)
    assert view_size("downscale", 10, 100, crop_px=128, downscale_px=64, scale=4) == (10, 100)
    assert view_size("full", 50, 100, crop_px=128, downscale_px=64, scale=4) == (50, 100)


def test_a_view_of_a_measurement_is_the_same_place_of_the_restored_image() -> None:
    view = View("crop", 1, 2, 3, 4, 3, 4)
    assert view.of_restored(4) == View("crop", 4, 8, 12, 16, 12, 16)
    assert view.of_restored(1) == view
    restored = np.random.default_rng(0).random((1, 40, 40), dtype=np.float32)
    np.testing.assert_array_equal(view.of_restored(4).take(restored)[0], restored[:, 4:16, 8:24])
