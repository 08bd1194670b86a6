import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.operators import Blur, Downsample, Identity, gaussian_kernel
from workers.tasks import Deblur, Denoise, Inpaint, Jpeg, SuperResolve, Task, enlarge, observe

Image = NDArray[np.float32]

TASKS: list[Task] = [
    Denoise(),
    Denoise(sigma=(5, 80)),
    Denoise(noise="poisson", peak=4),
    Inpaint(),
    Inpaint(missing=1),
    SuperResolve(3),
    SuperResolve(2, "bicubic"),
    Deblur(gaussian_kernel(1)),
    Deblur(np.array([[0, 0, 1.0]]), sigma=30),
    Jpeg(),
]


def picture(channels: int, height: int, width: int) -> Image:
    """Values from 0 to 1, both included where there is room for them."""
    return np.random.default_rng(0).integers(0, 5, (channels, height, width)).astype(np.float32) / 4


def level(noisy: Image, clean: Image) -> float:
    return float((noisy - clean).std()) * 255


check = settings(deadline=None, derandomize=True)
sizes = st.integers(3, 20)


@check
@given(st.sampled_from(TASKS), st.integers(1, 4), sizes, sizes, st.integers(0, 99))
def test_observations_are_images_in_range_that_the_generator_decides(
    task: Task, channels: int, height: int, width: int, seed: int
) -> None:
    clean = picture(channels, height, width)
    clean.setflags(write=False)
    first, second = (task.simulate(clean, np.random.default_rng(seed)) for _ in range(2))
    scale = task.operator.scale
    assert first.pixels.shape == (channels, height // scale, width // scale)
    assert first.pixels.dtype == np.float32
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 1
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.known, second.known)
    if first.known is not None:
        assert (first.known.shape, first.known.dtype) == (first.pixels.shape[1:], np.bool_)
        assert first.known.any()
        assert not first.pixels[:, ~first.known].any()


@check
@given(st.sampled_from([Inpaint(), SuperResolve(3), Deblur(gaussian_kernel(1))]), st.integers(1, 4), sizes, sizes)
def test_what_is_known_is_the_operators_result(task: Task, channels: int, height: int, width: int) -> None:
    scale = task.operator.scale
    clean = picture(channels, height - height % scale, width - width % scale)
    observation = task.simulate(clean, np.random.default_rng(0))
    known = slice(None) if observation.known is None else observation.known
    measured = task.operator(torch.from_numpy(clean)[None])[0].clamp(0, 1).numpy()
    np.testing.assert_array_equal(observation.pixels[:, known], measured[:, known])


@pytest.mark.parametrize(
    ("task", "name", "correlated"),
    [
        (Denoise(), "denoise", False),
        (Inpaint(), "inpaint", False),
        (SuperResolve(), "super-resolve", False),
        (Deblur(np.ones((3, 3))), "deblur", False),
        (Jpeg(), "jpeg", True),
    ],
)
def test_names_and_what_is_known_of_the_noise(task: Task, name: str, correlated: bool) -> None:
    assert (task.name, task.correlated_noise) == (name, correlated)


def test_operators() -> None:
    assert all(task.operator == Identity() for task in (Denoise(), Inpaint(), Jpeg()))
    assert SuperResolve(8, "box").operator == Downsample(8, "box")
    assert Deblur(np.ones((3, 3)), sigma=1).operator == Blur(np.ones((3, 3)))


def test_tasks_compare_by_what_they_are() -> None:
    assert Deblur(np.ones((3, 3))) == Deblur(2 * np.ones((3, 3)))
    assert len({Deblur(np.ones((3, 3))), Deblur(np.ones((1, 3))), Deblur(np.ones((3, 3)), sigma=1)}) == 3
    assert SuperResolve(4) == SuperResolve(4)
    assert SuperResolve(4) != SuperResolve(4, "box")


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


def test_a_blur_without_noise_is_the_blur_and_with_noise_has_its_level() -> None:
    clean = np.full((1, 200, 200), 0.5, dtype=np.float32)
    np.testing.assert_allclose(Deblur(np.ones((3, 3))).simulate(clean, np.random.default_rng(0)).pixels, 0.5, atol=1e-6)
    noisy = Deblur(np.ones((3, 3)), sigma=10).simulate(clean, np.random.default_rng(0)).pixels
    assert level(noisy, clean) == pytest.approx(10, rel=0.02)


def smooth(channels: int, side: int) -> Image:
    waves = np.sin(np.arange(side) / 5)
    plane = (np.add.outer(waves, waves) / 4 + 0.5).astype(np.float32)
    return np.stack([np.roll(plane, 7 * channel, axis=1) for channel in range(channels)])


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
