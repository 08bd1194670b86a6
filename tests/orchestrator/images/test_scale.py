"""What decides the scale of an image: where its data lie, not extremes or values that mean no data."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.images import Picture, decode, encode
from tests.orchestrator.images.files import tiff_file
from workers.quality import psnr

SIDE = 64


def frame(dtype: str = "uint16", seed: int = 0) -> NDArray[Any]:
    """Counts of 100 to 400 with noise of 15."""
    y, x = np.mgrid[:SIDE, :SIDE]
    clean = 250 + 75 * np.sin(x / 9) + 75 * np.cos(y / 7)
    noisy = clean + np.random.default_rng(seed).normal(0, 15, clean.shape)
    return (np.rint(noisy) if np.dtype(dtype).kind in "iu" else noisy).astype(dtype)


def grey(samples: NDArray[Any], **options: Any) -> Picture:
    return decode(tiff_file(samples, photometric="minisblack"), **options)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    st.sampled_from(["uint16", "int32", "float32", "float64"]),
    st.lists(st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)), min_size=1, max_size=6),
    st.sampled_from([20_000, 65_535]),
)
def test_defects_do_not_decide_the_scale_and_are_unknown(dtype: str, places: list[tuple[int, int]], value: int) -> None:
    plain = frame(dtype)
    hot = plain.copy()
    # Lone ones: four pixels apart at least.
    places = list({(y // 4 * 4, x // 4 * 4) for y, x in places})
    for place in places:
        hot[place] = value
    without, picture = grey(plain), grey(hot)
    assert picture.known is not None
    assert picture.encoding.scale == pytest.approx(without.encoding.scale, rel=0.05)
    assert sorted(map(tuple, np.argwhere(~picture.known).tolist())) == sorted(places)
    assert picture.note is not None
    assert "far beyond all others restored like missing ones" in picture.note
    assert np.abs(picture.pixels).max() <= 1


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_a_hot_column_is_a_defect(dtype: str) -> None:
    hot = frame(dtype)
    hot[:, 20] = 65_535
    picture = grey(hot)
    assert picture.known is not None
    assert not picture.known[:, 20].any()
    assert picture.known.mean() == pytest.approx(1 - 1 / SIDE)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_real_light_is_no_defect(dtype: str) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    stars = frame("float64")
    for top, left, peak in ((20, 30, 60_000), (40, 11, 9_000), (50, 50, 3_000)):
        stars += peak * np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * 0.8**2))
    samples = np.rint(stars).astype(dtype)
    picture = grey(samples)
    assert picture.known is None
    np.testing.assert_array_equal(decode(encode(picture.pixels, picture)).pixels, picture.pixels)


@pytest.mark.parametrize(
    ("dtype", "value"),
    [("float32", -9999), ("float32", -3.4e38), ("float64", 1e20), ("int16", -32768), ("uint16", 65535)],
)
def test_values_of_no_data_do_not_decide_the_scale_and_are_written_back(dtype: str, value: float) -> None:
    holed = frame(dtype)
    holed[10:30, 20:50] = value
    holed[0, :5] = value
    picture = grey(holed)
    assert picture.known is not None
    np.testing.assert_array_equal(picture.known, holed != np.dtype(dtype).type(value))
    assert picture.encoding.scale < 1100
    written = tifffile.imread(BytesIO(encode(np.full_like(picture.pixels, 0.5), picture)))
    np.testing.assert_array_equal(written[~picture.known], holed[~picture.known])
    assert (written[picture.known] != holed[picture.known]).mean() > 0.9
    assert picture.note is not None
    assert "without data" in picture.note


def test_a_value_that_the_file_declares_is_no_data_whatever_it_is() -> None:
    holed = frame("float32")
    holed[3:9, 3:9] = np.nan
    with pytest.raises(ImageRejectedError, match="NaN or infinite"):
        grey(holed)
    data = tiff_file(holed, photometric="minisblack", extratags=[(42113, "s", 0, "nan", True)])
    picture = decode(data)
    assert picture.kept is not None
    assert picture.kept.sum() == 36
    assert np.isfinite(picture.pixels).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("hole", [np.nan, np.inf, -9999.0, 1e30, 0.0])
def test_what_a_hole_holds_does_not_matter(dtype: str, hole: float) -> None:
    known = np.random.default_rng(5).random((SIDE, SIDE)) > 0.2
    known[20:34, 24:44] = False
    plain = frame(dtype)
    holed = np.where(known, plain, np.dtype(dtype).type(hole))
    one, other = grey(plain, known=known), grey(holed, known=known)
    assert one.encoding == other.encoding
    np.testing.assert_array_equal(one.pixels[:, known], other.pixels[:, known])
    assert np.isfinite(other.pixels).all()
    holed[~known] = plain[~known]
    holed[tuple(np.argwhere(known)[0])] = np.nan
    with pytest.raises(ImageRejectedError, match=r"1 of its .* known values are NaN or infinite"):
        grey(holed, known=known)


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_room_lets_a_restored_image_go_beyond_what_was_measured(dtype: str) -> None:
    samples = frame(dtype)
    plain, roomy = grey(samples), grey(samples, room=2.0)
    brightest = roomy.encoding.offset + roomy.encoding.scale
    assert brightest >= 2.5 * float(samples.max()) - 1.5 * float(samples.min())
    assert roomy.encoding.offset >= 0
    assert roomy.encoding.peak * roomy.encoding.scale == pytest.approx(plain.encoding.scale)
    shown = roomy.encoding.shown
    assert (shown.offset, shown.scale) == pytest.approx((plain.encoding.offset, plain.encoding.scale))
    lifted = decode(encode(roomy.pixels * 2, roomy.encoding), room=2.0)
    assert lifted.pixels.max() > 0


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
def test_without_room_defects_and_holes_the_scale_is_that_of_the_first_version(dtype: str) -> None:
    samples = frame(dtype) if dtype != "uint8" else (frame() // 2).astype(np.uint8)
    first, present = grey(samples, rules=0), grey(samples)
    assert first.encoding == present.encoding
    np.testing.assert_array_equal(first.pixels, present.pixels)


def test_the_peak_of_psnr_is_the_references() -> None:
    clean = np.clip((frame("float64") - 60) / 400, 0, 1)
    noisy = clean + np.random.default_rng(1).normal(0, 0.1, clean.shape)
    given = grey(noisy.astype(np.float32))
    reference = grey(clean.astype(np.float32), like=given.encoding)
    assert psnr(given.pixels, reference.pixels, reference.encoding.peak) == pytest.approx(20, abs=0.3)
    # A noisy maximum above 1,023 counts does not make the truth a 12-bit one.
    counts = frame()
    bright = counts.copy()
    bright[5:7, 5:8] = [[1500, 1490, 1480], [1470, 1460, 1450]]
    shared = grey(counts, like=grey(bright).encoding)
    assert shared.encoding.peak == pytest.approx(1023 / 4095)


def test_where_a_reference_says_nothing_it_is_not_compared() -> None:
    given, truth = grey(frame("float32")), frame("float32", seed=1)
    whole = grey(truth, like=given.encoding)
    truth[:9] = np.nan
    part = grey(truth, like=given.encoding)
    peak = part.encoding.peak
    assert psnr(given.pixels, part.pixels, peak) == pytest.approx(psnr(given.pixels[:, 9:], whole.pixels[:, 9:], peak))
    with pytest.raises(ImageRejectedError, match="finite"):
        grey(np.full_like(truth, np.nan), like=replace(given.encoding))
