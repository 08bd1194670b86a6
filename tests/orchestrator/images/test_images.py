import gc
import struct
import sys
import tracemalloc
import zlib
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from PIL import Image

from orchestrator.errors import ImageRejectedError
from orchestrator.images import (
    Encoding,
    Picture,
    decode,
    decode_mask,
    encode,
    encode_map,
    encode_mask,
    preview,
    resized,
)
from tests.orchestrator.images import files

SMALL_FILES = files.small_files()
quick = settings(deadline=None, derandomize=True, max_examples=50)


def written_back(picture: Picture) -> bytes:
    return encode(picture.pixels, picture)


def first_channel_last(array: NDArray[Any]) -> NDArray[Any]:
    return np.moveaxis(np.atleast_3d(array), -1, 0)


def read_tiff(data: bytes) -> tuple[NDArray[Any], Any]:
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        return tiff.pages[0].asarray(), tiff.pages[0]


def read_png(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["PNG"])
    image.load()
    return image


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3)])
@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_8_bit_grey_and_rgb_are_read_over_255_and_written_back_unchanged(kind: str, mode: str, channels: int) -> None:
    array = files.samples(5, 8, 3) if mode == "RGB" else files.samples(5, 8)
    picture = decode(files.pillow_file(array, kind))
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.shape == (channels, 5, 8)
    assert picture.alpha is None
    assert_array_equal(picture.pixels, first_channel_last(array).astype(np.float32) / np.float32(255))
    assert picture.encoding.suffix == (".tif" if kind == "TIFF" else ".png")
    again = written_back(picture)
    assert_array_equal(read_tiff(again)[0] if kind == "TIFF" else np.asarray(read_png(again)), array)


@pytest.mark.parametrize("quality", [{"quality": 100, "subsampling": 0}, {"quality": 100, "progressive": True}])
def test_a_jpeg_becomes_a_png_of_the_same_pixels(quality: dict[str, Any]) -> None:
    array = np.full((6, 9, 3), (200, 100, 50), np.uint8)
    data = files.pillow_file(array, "JPEG", **quality)
    expected = np.asarray(Image.open(BytesIO(data)))
    again = read_png(written_back(decode(data)))
    assert again.mode == "RGB"
    assert_array_equal(np.asarray(again), expected)


def test_a_grey_jpeg_stays_grey() -> None:
    picture = decode(files.pillow_file(files.samples(8, 8), "JPEG"))
    assert (picture.encoding.container, picture.encoding.colour) == ("png", "grey")
    assert read_png(written_back(picture)).mode == "L"


def test_a_cmyk_jpeg_becomes_rgb() -> None:
    inks = np.zeros((8, 8, 4), np.uint8)
    inks[..., 0] = 255  # cyan removes red from white
    picture = decode(files.cmyk_jpeg(inks))
    assert picture.encoding.colour == "rgb"
    assert_array_equal(picture.pixels[:, 4, 4].round(1), np.float32([0, 1, 1]))
    assert read_png(written_back(picture)).mode == "RGB"


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_a_lossless_webp_becomes_a_png_of_the_same_samples(mode: str) -> None:
    array = files.samples(6, 7, len(mode))
    picture = decode(files.pillow_file(array, "WEBP", lossless=True, exact=True))
    again = read_png(written_back(picture))
    assert again.mode == mode
    assert_array_equal(np.asarray(again), array)


def test_a_lossy_webp_is_read() -> None:
    picture = decode(files.pillow_file(np.full((20, 30, 3), 128, np.uint8), "WEBP"))
    assert picture.pixels.shape == (1, 20, 30)
    assert np.abs(picture.pixels - 0.5).max() < 0.02


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_any_layout_and_depth_keeps_its_samples_and_its_alpha(dtype: str, channels: int) -> None:
    array = files.samples(5, 4, channels, dtype=dtype)
    array = array[..., 0] if channels == 1 else array
    picture = decode(files.png16(array))
    assert picture.pixels.shape[0] == (1 if channels < 3 else 3)
    assert picture.encoding.dtype == dtype
    assert (picture.alpha is None) == (channels in (1, 3))
    if picture.alpha is not None:
        assert picture.alpha.dtype == dtype
        assert_array_equal(picture.alpha, array[..., -1])
    assert written_back(picture) == files.png16(array)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_png_of_fewer_than_8_bits_becomes_8_bit_grey(bits: int) -> None:
    levels = 2**bits
    width = 8 // bits
    picture = decode(files.raw_png((width, 1), bits, 0, [bytes([0b00011011])]))
    packed = [0b00011011 >> (8 - bits * (i + 1)) & (levels - 1) for i in range(width)]
    assert_array_equal(np.asarray(read_png(written_back(picture))), [[v * 255 // (levels - 1) for v in packed]])


def test_a_bilevel_png_becomes_8_bit_grey() -> None:
    array = files.samples(9, 11) > 99
    picture = decode(files.saved(Image.fromarray(array), "PNG"))
    assert_array_equal(picture.pixels[0], array.astype(np.float32))
    assert picture.encoding.dtype == "uint8"


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_palette_picture_becomes_rgb(kind: str) -> None:
    image = Image.fromarray(files.samples(6, 6, 3)).convert("P", palette=Image.Palette.ADAPTIVE, colors=20)
    picture = decode(files.saved(image, kind))
    assert picture.alpha is None
    expected = first_channel_last(np.asarray(image.convert("RGB")))
    assert_array_equal(np.rint(picture.pixels * 255), expected)
    assert picture.encoding.dtype == "uint8"


def test_a_palette_with_transparency_becomes_rgb_and_alpha() -> None:
    image = Image.fromarray(files.samples(6, 6, 3)).convert("P", palette=Image.Palette.ADAPTIVE, colors=20)
    picture = decode(files.saved(image, "PNG", transparency=bytes(range(20))))
    assert_array_equal(picture.alpha, np.asarray(image))
    assert read_png(written_back(picture)).mode == "RGBA"


def test_a_palette_tiff_with_8_bit_values_in_its_palette_is_not_black() -> None:
    colormap = np.arange(768, dtype=np.uint16).reshape(3, 256) % 256
    data = files.tiff_file(files.samples(4, 4), photometric="palette", colormap=colormap)
    assert decode(data).pixels.max() == 1


@pytest.mark.parametrize(
    ("colour_type", "rows", "transparent", "expected"),
    [
        (0, [b"\0\1\0\2"], b"\0\1", [[0, 65535]]),
        (2, [bytes(range(12))], bytes(range(6)), [[0, 65535]]),
    ],
)
def test_a_transparent_colour_in_a_16_bit_png_becomes_alpha(
    colour_type: int, rows: list[bytes], transparent: bytes, expected: list[list[int]]
) -> None:
    chunk = files.png_chunk(b"tRNS", transparent)
    picture = decode(files.raw_png((2, 1), 16, colour_type, rows, chunk))
    assert picture.alpha is not None
    assert picture.alpha.dtype == np.uint16
    assert_array_equal(picture.alpha, expected)


def test_a_32_bit_bmp_with_alpha_keeps_it() -> None:
    array = files.samples(4, 5, 4)
    picture = decode(files.pillow_file(array, "BMP"))
    header = struct.unpack_from("<I", files.pillow_file(array, "BMP"), 14)
    assert header == (40,)  # the plain header has no alpha mask: the fourth byte is padding
    assert picture.alpha is None
    assert_array_equal(np.asarray(read_png(written_back(picture))), array[..., :3])


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize(
    "dtype",
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64"],
)
def test_a_tiff_of_any_sample_type_keeps_its_samples(dtype: str, white_is_zero: bool) -> None:
    array = files.samples(7, 5, dtype=dtype)
    photometric = "miniswhite" if white_is_zero else "minisblack"
    picture = decode(files.tiff_file(array, photometric=photometric))
    assert picture.encoding.dtype == dtype
    assert (picture.pixels.min(), picture.pixels.max()) == (0, 1)
    samples, page = read_tiff(written_back(picture))
    assert samples.dtype == dtype
    assert_array_equal(samples, array)
    assert page.photometric.name == photometric.upper()
    assert page.compression.name == "ADOBE_DEFLATE"


def test_a_minimum_is_white_tiff_is_turned_over() -> None:
    picture = decode(files.tiff_file(np.uint8([[0, 255, 51]]), photometric="miniswhite"))
    assert_array_equal(picture.pixels[0], np.float32([[1, 0, 0.8]]))
    brighter = encode(np.clip(picture.pixels + np.float32(0.2), 0, 1), picture)
    assert_array_equal(decode(brighter).pixels[0], np.float32([[1, 0.2, 1]]))


@pytest.mark.parametrize("compression", [None, "group4", "tiff_lzw"])
def test_a_bilevel_tiff_becomes_8_bit(compression: str | None) -> None:
    array = files.samples(9, 11) > 99
    options = {} if compression is None else {"compression": compression}
    picture = decode(files.saved(Image.fromarray(array), "TIFF", **options))
    assert_array_equal(picture.pixels[0], array.astype(np.float32))
    assert read_tiff(written_back(picture))[0].dtype == np.uint8


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_a_tiff_of_4_bits_becomes_8_bit(photometric: str) -> None:
    grey = {"minisblack": 1, "miniswhite": 0}[photometric]
    tags = [(256, 4, 1, 2), (257, 4, 1, 1), (258, 3, 1, 4), (259, 3, 1, 1), (262, 3, 1, grey), (277, 3, 1, 1)]
    offset = 8 + 2 + 12 * (len(tags) + 3) + 4
    data = files.raw_tiff([*tags, (273, 4, 1, offset), (278, 4, 1, 1), (279, 4, 1, 1)], b"\x1f")
    expected = np.float32([[17, 255]]) / np.float32(255)
    assert_array_equal(decode(data).pixels[0].round(6), (expected if grey else 1 - expected).round(6))


@pytest.mark.parametrize("alpha", [None, "unspecified", "assocalpha", "unassalpha"])
@pytest.mark.parametrize(("photometric", "colours"), [("minisblack", 1), ("rgb", 3), ("separated", 4)])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_a_tiff_of_any_layout_keeps_its_colours_and_its_kind_of_alpha(
    dtype: str, planar: str, photometric: str, colours: int, alpha: str | None
) -> None:
    channels = colours + (alpha is not None)
    array = files.samples(channels, 5, 4, dtype=dtype)
    if alpha == "unspecified":
        array[-1] = 1  # where it varies, it may be an image; see below
    stored = array if planar == "separate" else np.ascontiguousarray(np.moveaxis(array, 0, -1))
    if channels == 1:
        stored = array[0]
    options = {"planarconfig": planar} if channels > 1 else {}
    extra = {"extrasamples": [alpha]} if alpha else {}
    picture = decode(files.tiff_file(stored, photometric=photometric, **options, **extra))
    assert picture.pixels.shape == (colours, 5, 4)
    assert (picture.alpha is None) == (alpha is None)
    samples, page = read_tiff(written_back(picture))
    assert_array_equal(first_channel_last(samples), array)
    assert page.photometric.name == photometric.upper()
    assert [kind.name for kind in page.extrasamples] == ([alpha.upper()] if alpha else [])


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "lzw"},
        {"compression": "zlib", "predictor": True},
        {"compression": "packbits"},
        {"compression": "zstd"},
        {"bigtiff": True},
        {"byteorder": ">"},
        {"byteorder": ">", "compression": "lzw", "predictor": True, "rowsperstrip": 3},
        {"tile": (16, 16), "compression": "zlib"},
    ],
)
def test_a_tiff_of_any_common_storage_is_read(options: dict[str, Any]) -> None:
    array = files.samples(20, 21, 3, dtype="uint16")
    samples, _ = read_tiff(written_back(decode(files.tiff_file(array, photometric="rgb", **options))))
    assert_array_equal(samples, array)


def test_a_jpeg_compressed_tiff_becomes_rgb() -> None:
    image = Image.fromarray(np.full((16, 16, 3), (200, 100, 50), np.uint8)).convert("YCbCr")
    picture = decode(files.tiff_file(np.asarray(image), photometric="ycbcr", compression="jpeg"))
    assert np.abs(picture.pixels[:, 8, 8] * 255 - [200, 100, 50]).max() < 4
    assert read_tiff(written_back(picture))[1].photometric.name == "RGB"


@pytest.mark.parametrize(("maximum", "bits"), [(1, 10), (1023, 10), (1024, 12), (4095, 12), (16383, 14), (16384, 16)])
def test_16_bit_samples_are_scaled_by_the_smallest_depth_that_holds_them(maximum: int, bits: int) -> None:
    picture = decode(files.png16(np.uint16([[0, maximum]])))
    assert picture.encoding.bit_depth == bits
    assert picture.pixels[0, 0, 1] == np.float32(maximum / (2**bits - 1))
    brightest = decode(encode(np.full((1, 1, 2), 1.5), picture))
    assert brightest.encoding.bit_depth == bits
    assert (brightest.pixels == 1).all()


def test_the_depth_of_16_bit_samples_does_not_depend_on_the_alpha() -> None:
    assert decode(files.png16(np.uint16([[[4000, 65535]]]))).encoding.bit_depth == 12


def test_floats_in_the_unit_range_are_not_rescaled() -> None:
    array = np.float32([[0.25, 0.5], [0.3, 0.4]])
    assert_array_equal(decode(files.tiff_file(array, photometric="minisblack")).pixels[0], array)


def test_floats_beyond_the_unit_range_are_scaled_by_their_own_extremes() -> None:
    array = np.float32([[-10, 30], [0, 10]])
    picture = decode(files.tiff_file(array, photometric="minisblack"))
    assert_array_equal(picture.pixels[0], np.float32([[0, 1], [0.25, 0.5]]))
    assert (picture.encoding.offset, picture.encoding.scale) == (-10, 40)


def test_floats_of_very_different_size_come_back_bit_for_bit() -> None:
    array = np.float32([[1e-30, 1e30, -3.14159, 7e-5, -0.0]])
    samples, _ = read_tiff(written_back(decode(files.tiff_file(array, photometric="minisblack"))))
    assert samples.tobytes() == array.tobytes()


@pytest.mark.parametrize("value", [0.0, -3.5, 1e38])
def test_a_constant_float_picture_keeps_its_value(value: float) -> None:
    array = np.full((3, 2), value, np.float32)
    picture = decode(files.tiff_file(array, photometric="minisblack"))
    assert np.isfinite(picture.pixels).all()
    assert_array_equal(read_tiff(encode(picture.pixels, picture.encoding))[0], array)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_rejected_with_their_count(bad: float) -> None:
    array = np.ones((10, 10), np.float32)
    array[0, :3] = bad
    with pytest.raises(ImageRejectedError, match=r"3 of its 100 values are NaN or infinite"):
        decode(files.tiff_file(array, photometric="minisblack"))


def test_floats_whose_range_overflows_are_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="spread too far"):
        decode(files.tiff_file(np.array([[-1.7e308, 1.7e308]]), photometric="minisblack"))


def test_a_reference_shares_the_scale_of_the_degraded_picture() -> None:
    degraded = decode(files.tiff_file(np.float32([[0, 200]]), photometric="minisblack"))
    reference = decode(files.tiff_file(np.float32([[-20, 100, 250]]), photometric="minisblack"), like=degraded.encoding)
    assert_array_equal(reference.pixels[0], np.float32([[-0.1, 0.5, 1.25]]))


def test_a_16_bit_reference_shares_the_bit_depth_of_the_degraded_picture() -> None:
    degraded = decode(files.png16(np.uint16([[0, 4000]])))
    reference = decode(files.png16(np.uint16([[0, 8190]])), like=degraded.encoding)
    assert_array_equal(reference.pixels[0], np.float32([[0, 2]]))
    assert_array_equal(decode(written_back(reference)).pixels, decode(files.png16(np.uint16([[0, 8190]]))).pixels)


def test_an_integer_reference_in_the_units_of_a_degraded_float_picture_shares_its_scale() -> None:
    degraded = decode(files.tiff_file(np.float32([[0, 200]]), photometric="minisblack"))
    reference = decode(files.png16(np.uint8([[50, 100]])), like=degraded.encoding)
    assert_array_equal(reference.pixels[0], np.float32([[0.25, 0.5]]))


def test_an_8_bit_picture_and_its_16_bit_reference_keep_their_own_full_scales() -> None:
    degraded = decode(files.png16(np.uint8([[0, 255]])))
    reference = decode(files.png16(np.uint16([[0, 65535]])), like=degraded.encoding)
    assert_array_equal(reference.pixels, degraded.pixels)


def test_a_reference_too_far_from_the_scale_of_the_degraded_picture_is_rejected() -> None:
    degraded = decode(files.tiff_file(np.array([[0, 1e-200, -1e-200]]), photometric="minisblack"))
    with pytest.raises(ImageRejectedError, match="too far outside the scale"):
        decode(files.tiff_file(np.array([[0, 1e200]]), photometric="minisblack"), like=degraded.encoding)


def turned(array: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Turn (H, W, ...) upright the way Pillow does."""
    methods = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    image = Image.fromarray(array)
    return np.asarray(image.transpose(methods[orientation]) if orientation in methods else image)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_the_orientation_is_applied_to_pixels_and_alpha_and_not_written(kind: str, orientation: int) -> None:
    array = files.samples(3, 5, 4)
    if kind == "png":
        data = files.with_png_chunk(files.png16(array), b"eXIf", files.exif(orientation, ">")[6:])
    elif kind == "webp":
        data = files.pillow_file(array, "WEBP", lossless=True, exact=True, exif=files.exif(orientation))
    else:
        data = files.tiff_file(array, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    picture = decode(data)
    expected = turned(array, orientation)
    assert_array_equal(np.rint(picture.pixels * 255), first_channel_last(expected[..., :3]))
    assert_array_equal(picture.alpha, expected[..., 3])
    again = written_back(picture)
    assert_array_equal(decode(again).pixels, picture.pixels)
    if kind == "tiff":
        assert 274 not in read_tiff(again)[1].tags
    else:
        assert "exif" not in read_png(again).info


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_jpeg_is_applied(orientation: int) -> None:
    array = np.zeros((16, 24, 3), np.uint8)
    array[:8, :8] = 255
    data = files.pillow_file(array, "JPEG", quality=95, exif=files.exif(orientation))
    assert_array_equal(np.rint(decode(data).pixels), first_channel_last(turned(array, orientation))[:1] / 255)


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"junk"])
def test_a_damaged_exif_block_does_not_reject_the_picture(block: bytes) -> None:
    assert decode(files.pillow_file(files.samples(8, 8), "JPEG", exif=block)).pixels.shape == (1, 8, 8)
    assert decode(files.with_png_chunk(SMALL_FILES["png"], b"eXIf", block)).pixels.shape == (3, 9, 7)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("space", "channels"), [(b"GRAY", 1), (b"RGB ", 3), (b"RGB ", 4)])
def test_a_png_keeps_its_icc_profile(space: bytes, channels: int, dtype: str) -> None:
    array = files.samples(4, 4, channels, dtype=dtype)
    profile = files.icc_profile(space)
    chunk = b"name\0\0" + zlib.compress(profile)
    data = files.with_png_chunk(files.png16(array[..., 0] if channels == 1 else array), b"iCCP", chunk)
    again = written_back(decode(data))
    assert read_png(again).info["icc_profile"] == profile
    assert decode(again).encoding.icc_profile == profile


@pytest.mark.parametrize(("space", "photometric", "channels"), [(b"RGB ", "rgb", 3), (b"CMYK", "separated", 4)])
def test_a_tiff_keeps_its_icc_profile(space: bytes, photometric: str, channels: int) -> None:
    profile = files.icc_profile(space)
    data = files.tiff_file(files.samples(4, 4, channels), photometric=photometric, iccprofile=profile)
    assert read_tiff(written_back(decode(data)))[1].iccprofile == profile


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_png_made_of_a_jpeg_or_webp_keeps_the_icc_profile(kind: str) -> None:
    profile = files.icc_profile(b"RGB ")
    data = files.pillow_file(files.samples(8, 8, 3), kind, icc_profile=profile)
    assert read_png(written_back(decode(data))).info["icc_profile"] == profile


def test_a_png_keeps_what_says_which_colours_its_samples_are_and_its_resolution() -> None:
    kept = {
        b"gAMA": struct.pack(">I", 100_000),
        b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000),
        b"pHYs": struct.pack(">IIB", 23622, 23622, 1),
    }
    data = files.pillow_file(files.samples(6, 5, 3), "PNG")
    for kind, body in kept.items():
        data = files.with_png_chunk(data, kind, body)
    written = written_back(decode(data))
    assert all(files.png_chunk(kind, body) in written for kind, body in kept.items())
    assert Image.open(BytesIO(written)).info["gamma"] == 1.0
    enlarged = encode(np.zeros((3, 12, 10), np.float32), resized(decode(data), 12, 10))
    assert files.png_chunk(b"gAMA", kept[b"gAMA"]) in enlarged
    assert b"pHYs" not in enlarged
    # A run of the first version goes on as it was begun.
    assert b"gAMA" not in written_back(decode(data, rules=0))


@pytest.mark.parametrize("kind", ["png", "png with alpha", "tiff of floats", "tiff with a hole", "palette"])
def test_grey_that_is_stored_as_colour_has_one_channel_and_comes_back_without_a_tint(kind: str) -> None:
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (9, 7, 1), dtype=np.uint8)
    if kind == "palette":
        data = files.pillow_file(grey[..., 0], "PNG", "P")
        image = Image.open(BytesIO(data))
        image.putpalette([level for number in range(256) for level in [number] * 3])
        buffer = BytesIO()
        image.save(buffer, "PNG")
        data = buffer.getvalue()
    elif kind.startswith("png"):
        alpha = random.integers(0, 256, (9, 7, 1), dtype=np.uint8)
        samples = np.dstack([grey] * 3 + ([alpha] if "alpha" in kind else []))
        data = files.png16(samples)
    else:
        floats = random.random((9, 7, 1), dtype=np.float32) * 300
        floats[0, 0] = np.nan if "hole" in kind else 3.0
        data = files.tiff_file(np.dstack([floats] * 3), photometric="rgb")
    picture = decode(data, finite=False)
    assert picture.pixels.shape == (1, 9, 7)
    assert decode(data, rules=2, finite=False).pixels.shape == (3, 9, 7)
    written = decode(encode(picture.pixels, picture), rules=2, finite=False)
    assert np.array_equal(written.pixels, decode(data, rules=2, finite=False).pixels)
    assert (written.alpha is None) == (picture.alpha is None)
    restored = decode(encode(picture.pixels * np.float32(0.9), picture), rules=2, finite=False).pixels
    assert restored.shape == (3, 9, 7)
    assert np.array_equal(restored[0], restored[1])
    assert np.array_equal(restored[0], restored[2])


def test_what_is_compared_with_a_picture_has_its_channels() -> None:
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (9, 7, 1), dtype=np.uint8)
    colour = files.png16(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    equal, plain = files.png16(np.dstack([grey] * 3)), files.png16(grey[..., 0])
    # A black-and-white reference of a picture with noise in each of its colours, and any mixture of the other two.
    assert decode(equal, like=decode(colour).encoding).pixels.shape == (3, 9, 7)
    for image, reference in ((equal, plain), (plain, equal), (equal, equal)):
        pixels = decode(reference, like=decode(image).encoding).pixels
        assert np.array_equal(pixels, decode(image).pixels)


def test_a_tiff_keeps_its_resolution_and_an_imagej_calibration() -> None:
    buffer = BytesIO()
    options = {"resolution": (9.2, 4.6), "metadata": {"unit": "um", "spacing": 0.3, "axes": "YX"}}
    tifffile.imwrite(buffer, files.samples(8, 9, dtype="float32"), imagej=True, **options)
    picture = decode(buffer.getvalue())
    with tifffile.TiffFile(BytesIO(written_back(picture))) as tiff:
        across, down = (tiff.pages[0].tags[tag].value for tag in (282, 283))
        assert (across[0] / across[1], down[0] / down[1]) == pytest.approx((9.2, 4.6))
        assert tiff.imagej_metadata is not None
        assert (tiff.imagej_metadata["unit"], tiff.imagej_metadata["spacing"]) == ("um", 0.3)
    with tifffile.TiffFile(BytesIO(encode(np.zeros((1, 16, 18), np.float32), resized(picture, 16, 18)))) as tiff:
        assert not tiff.is_imagej


def test_an_icc_profile_of_another_colour_space_is_dropped() -> None:
    inks = Image.frombytes("CMYK", (8, 8), bytes(256))
    data = files.saved(inks, "JPEG", icc_profile=files.icc_profile(b"CMYK"))
    assert decode(data).encoding.icc_profile is None


@pytest.mark.parametrize("body", [b"", b"name\0\0junk", b"name\0\0" + b"\x78\x9c"])
def test_a_damaged_icc_profile_does_not_reject_the_picture(body: bytes) -> None:
    picture = decode(files.with_png_chunk(SMALL_FILES["png"], b"iCCP", body))
    assert picture.encoding.icc_profile is None


@pytest.mark.parametrize("tag", [34675, 274])
@pytest.mark.parametrize(("kind", "count", "value"), [(4, 1, 99), (3, 2, (6, 6)), (2, 4, "abc"), (12, 1, 6.5)])
def test_a_tiff_tag_of_the_wrong_type_does_not_reject_the_picture(tag: int, kind: int, count: int, value: Any) -> None:
    array = files.samples(4, 5)
    data = files.tiff_file(array, photometric="minisblack", extratags=[(tag, kind, count, value, True)])
    assert_array_equal(read_tiff(written_back(decode(data)))[0], array)


def test_an_empty_file_is_rejected() -> None:
    with pytest.raises(ImageRejectedError, match=r"^the file is empty$"):
        decode(b"")


@pytest.mark.parametrize("data", [b"\0", b"GIF89a" + bytes(20), b"hello", b"\x89PNG", b"RIFF\0\0\0\0WAVE", b"%PDF-1.4"])
def test_other_formats_are_rejected(data: bytes) -> None:
    with pytest.raises(ImageRejectedError, match=r"^not a PNG, JPEG, WebP, TIFF or BMP image$"):
        decode(data)


@pytest.mark.parametrize("kind", files.huge_headers())
def test_the_pixel_limit_is_checked_before_anything_is_decoded(kind: str) -> None:
    with pytest.raises(
        ImageRejectedError, match="60000 x 60000 is 3,600,000,000 pixels, more than the limit of 100,000"
    ):
        decode(files.huge_headers()[kind])


@pytest.mark.parametrize("kind", SMALL_FILES)
def test_the_pixel_limit_is_inclusive(kind: str) -> None:
    data = SMALL_FILES[kind]
    _, height, width = decode(data).pixels.shape
    assert decode(data, max_pixels=height * width).pixels.shape[1:] == (height, width)
    with pytest.raises(ImageRejectedError, match=f"limit of {height * width - 1}"):
        decode(data, max_pixels=height * width - 1)


def test_our_pixel_limit_replaces_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert decode(SMALL_FILES["jpeg"]).pixels.shape == (1, 24, 20)
    assert decode(SMALL_FILES["bmp"]).pixels.shape == (3, 9, 7)
    assert Image.MAX_IMAGE_PIXELS == 20


def test_a_picture_with_a_side_beyond_the_limit_of_png_is_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="longer than the limit of 1,000,000"):
        decode(files.raw_png((1_000_001, 1), 8, 0, [bytes(1_000_001)]))


def test_a_header_of_an_empty_picture_is_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="empty image of 0 x 5"):
        decode(files.raw_png((0, 5), 8, 0, []))


def test_a_tile_far_larger_than_its_picture_is_rejected_before_decoding() -> None:
    tags = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1), (277, 3, 1, 1)]
    tiles = [(322, 4, 1, 60_000), (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 64)]
    with pytest.raises(ImageRejectedError, match="tiles of 60000 x 60000 pixels"):
        decode(files.raw_tiff([*tags, *tiles]))


def test_a_tiff_of_several_pages_is_rejected() -> None:
    data = files.tiff_file(files.samples(3, 8, 8), photometric="minisblack")
    with pytest.raises(ImageRejectedError, match=r"^has 3 pages; split it into single images$"):
        decode(data)


def test_a_tiff_whose_pages_form_a_circle_is_rejected() -> None:
    tags = [(256, 4, 1, 4), (257, 4, 1, 4), (258, 3, 1, 8), (273, 4, 1, 8), (279, 4, 1, 16)]
    first = bytearray(files.raw_tiff(tags))
    second = len(first)
    first[-4:] = struct.pack("<I", second)
    with pytest.raises(ImageRejectedError, match="circle"):
        decode(bytes(first) + bytes(first[8:-4]) + struct.pack("<I", second))


def test_a_volume_behind_one_imagej_page_is_rejected() -> None:
    buffer = BytesIO()
    tifffile.imwrite(buffer, files.samples(4, 8, 8), imagej=True, truncate=True)
    data = buffer.getvalue()
    with tifffile.TiffFile(BytesIO(data)) as tiff:
        assert len(tiff.pages) == 1
    with pytest.raises(ImageRejectedError, match="has 4 pages"):
        decode(data)


def test_a_single_plane_saved_by_imagej_is_read() -> None:
    buffer = BytesIO()
    array = files.samples(8, 8, dtype="uint16")
    tifffile.imwrite(buffer, array, imagej=True)
    assert_array_equal(read_tiff(written_back(decode(buffer.getvalue())))[0], array)


@pytest.mark.parametrize("where", ["page", "subifd"])
def test_a_tiff_with_a_reduced_preview_is_read_at_full_size(where: str) -> None:
    array = files.samples(32, 32)
    buffer = BytesIO()
    with tifffile.TiffWriter(buffer) as tiff:
        tiff.write(array, photometric="minisblack", metadata=None, subifds=1 if where == "subifd" else None)
        tiff.write(array[::2, ::2], photometric="minisblack", metadata=None, subfiletype=1)
    assert decode(buffer.getvalue()).pixels.shape == (1, 32, 32)


def test_a_tiff_with_nothing_but_a_preview_is_rejected() -> None:
    with pytest.raises(ImageRejectedError, match="no full-size picture"):
        decode(files.tiff_file(files.samples(4, 4), photometric="minisblack", subfiletype=1))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_is_rejected(kind: str) -> None:
    frames = [Image.fromarray(files.samples(8, 8, 3, seed=seed)) for seed in range(3)]
    data = files.saved(frames[0], kind, save_all=True, append_images=frames[1:])
    with pytest.raises(ImageRejectedError, match=r"^has 3 frames; split it into single images$"):
        decode(data)


def test_only_the_first_picture_of_an_mpo_is_read() -> None:
    frames = [Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (200, 50)]
    data = files.saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(decode(data).pixels * 255 - 200).max() < 3


@pytest.mark.parametrize(
    ("array", "options", "reason"),
    [
        (files.samples(4, 4, 3), {"photometric": "cielab"}, "its colours (CIELAB) are not supported"),
        (files.samples(4, 4, 3), {"photometric": "ycbcr"}, "its colours (YCBCR) are not supported"),
        (files.samples(4, 4, 5), {"photometric": "rgb", "planarconfig": "contig"}, "it has 5 channels"),
        (files.samples(4, 4, 3), {"photometric": "minisblack", "planarconfig": "contig"}, "it has 3 channels"),
        (np.ones((4, 4), np.complex64), {"photometric": "minisblack"}, "its samples (64 bits, SampleFormat 6)"),
    ],
)
def test_a_tiff_of_an_unsupported_kind_is_rejected_with_its_reason(
    array: NDArray[Any], options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ImageRejectedError) as caught:
        decode(files.tiff_file(array, **options))
    assert reason in str(caught.value)


def test_a_truncated_png_is_rejected_with_its_reason() -> None:
    with pytest.raises(ImageRejectedError, match="the PNG data is truncated or damaged"):
        decode(SMALL_FILES["png"][:-20])


def test_a_png_with_a_damaged_checksum_is_rejected() -> None:
    data = bytearray(SMALL_FILES["png"])
    data[-20] ^= 1
    with pytest.raises(ImageRejectedError, match="the PNG data is damaged: a checksum does not match"):
        decode(bytes(data))


def test_png_data_that_does_not_unpack_is_rejected_and_costs_the_interpreter_nothing() -> None:
    header = struct.pack(">IIBBBBB", 3, 3, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(5))), (b"IEND", b"")]
    data = files.PNG_SIGNATURE + b"".join(files.png_chunk(kind, body) for kind, body in chunks)
    # What other tests left to the garbage collector holds None too, by the hundred: it goes first, and a loss of one
    # a decoding stands far above what is left.
    gc.collect()
    before = sys.getrefcount(None)
    for _ in range(1000):
        with pytest.raises(ImageRejectedError, match="Not enough image data"):
            decode(data)
    assert sys.getrefcount(None) - before > -500


@pytest.mark.parametrize("kind", SMALL_FILES)
def test_a_truncated_file_is_rejected_or_whole(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    data = SMALL_FILES[kind]
    whole = decode(data)
    for length in range(1, len(data), max(1, len(data) // 60)):
        picture = decoded_or_rejected(data[:length])
        if picture is not None:
            assert_array_equal(picture.pixels, whole.pixels)
    assert caplog.records == []
    with pytest.raises(ImageRejectedError):
        decode(data[: len(data) // 2])


@pytest.mark.parametrize("kind", SMALL_FILES)
@settings(deadline=None, derandomize=True, max_examples=30)
@given(damage=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_file_gives_a_picture_or_a_rejection(kind: str, damage: list[tuple[float, int]]) -> None:
    data = bytearray(SMALL_FILES[kind])
    for place, value in damage:
        data[int(place * len(data))] = value
    decoded_or_rejected(bytes(data))


@pytest.mark.parametrize("magic", [data[:4] for data in files.huge_headers().values()] + [b"RIFF\0\0\0\0WEBPVP8 ", b""])
@quick
@given(tail=st.binary(max_size=200))
def test_random_bytes_give_a_picture_or_a_rejection(magic: bytes, tail: bytes) -> None:
    decoded_or_rejected(magic + tail)


def decoded_or_rejected(data: bytes) -> Picture | None:
    """Return the picture, or None if it was rejected with a reason on one line; any other error fails the test."""
    reason = ""
    try:
        picture = decode(data, max_pixels=10_000)
    except ImageRejectedError as error:
        reason = str(error)
    if reason:
        assert reason == reason.strip()
        assert "\n" not in reason
        return None
    assert np.isfinite(picture.pixels).all()
    return picture


layouts = st.sampled_from([("grey", 1), ("grey", 2), ("rgb", 3), ("rgb", 4), ("cmyk", 4), ("cmyk", 5)])
tiff_dtypes = st.sampled_from(["uint8", "uint16", "int16", "uint32", "int64", "float16", "float32", "float64"])
sides = st.integers(1, 20)


@quick
@given(layout=layouts, dtype=tiff_dtypes, height=sides, width=sides, data=st.data())
def test_a_tiff_survives_decoding_and_encoding(
    layout: tuple[str, int], dtype: str, height: int, width: int, data: st.DataObject
) -> None:
    colour, channels = layout
    seed = data.draw(st.integers(0, 99))
    array = files.samples(height, width, channels, dtype=dtype, seed=seed)
    if np.dtype(dtype).kind == "f":
        array = array * np.dtype(dtype).type(data.draw(st.sampled_from([1, 0.5, -3, 1000])))
    photometric = {"grey": "minisblack", "rgb": "rgb", "cmyk": "separated"}[colour]
    stored = array[..., 0] if channels == 1 else array
    options: dict[str, Any] = {} if channels == 1 else {"planarconfig": "contig"}
    if channels in (2, 5) or (colour, channels) == ("rgb", 4):
        options["extrasamples"] = ["unassalpha"]
    picture = decode(files.tiff_file(stored, photometric=photometric, **options))
    samples, _ = read_tiff(written_back(picture))
    assert samples.tobytes() == array.tobytes()
    again = decode(written_back(picture))
    assert_array_equal(again.pixels, picture.pixels)
    assert again.encoding == picture.encoding


@quick
@given(channels=st.integers(1, 4), dtype=st.sampled_from(["uint8", "uint16"]), height=sides, width=sides, seed=sides)
def test_a_png_survives_decoding_and_encoding(channels: int, dtype: str, height: int, width: int, seed: int) -> None:
    array = files.samples(height, width, channels, dtype=dtype, seed=seed)
    picture = decode(files.png16(array[..., 0] if channels == 1 else array))
    again = decode(encode(picture.pixels, picture.encoding, picture.alpha))
    assert_array_equal(again.pixels, picture.pixels)
    assert again.encoding == picture.encoding
    if channels in (2, 4):
        assert_array_equal(again.alpha, array[..., -1])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("uint8", [0, 100, 255]),
        ("uint16", [0, 25600, 65535]),
        ("int16", [-32768, 25600, 32767]),
        ("uint64", [0, 25600, 2**64 - 2048]),
        ("int64", [-(2**63), 25600, 2**63 - 1024]),
    ],
)
def test_integers_are_rounded_and_clipped_to_their_range(dtype: str, expected: list[int]) -> None:
    bits = np.dtype(dtype).itemsize * 8
    scale = 255.0 if dtype == "uint8" else 65535.0
    encoding = Encoding("tiff", dtype, bits, 0.0, scale, "grey")
    middle = (expected[1] + 0.4) / scale
    assert_array_equal(read_tiff(encode(np.array([[[-1e30, middle, 1e30]]]), encoding))[0], np.array([expected], dtype))


def test_floats_are_clipped_to_the_finite_range_only() -> None:
    encoding = Encoding("tiff", "float16", 16, 0.0, 1.0, "grey")
    assert_array_equal(
        read_tiff(encode(np.array([[[-0.5, 1.5, 1e30]]]), encoding))[0], np.float16([[-0.5, 1.5, 65504]])
    )


def test_changed_pixels_are_written_and_unchanged_ones_stay_exact() -> None:
    array = np.array([[1 / 3, 5.0, 7 / 3, -2.0]])
    picture = decode(files.tiff_file(array, photometric="minisblack"))
    restored = picture.pixels.copy()
    restored[0, 0, 1] = 0.5
    samples, _ = read_tiff(encode(restored, picture))
    assert_array_equal(samples, [[1 / 3, 1.5, 7 / 3, -2.0]])


def test_pixels_that_do_not_fit_the_encoding_are_a_mistake() -> None:
    picture = decode(files.png16(files.samples(4, 5, 4)))
    with pytest.raises(ValueError, match="do not fit 3 channels"):
        encode(picture.pixels[:1], picture)
    with pytest.raises(ValueError, match="NaN"):
        encode(picture.pixels * np.float32(np.nan), picture)
    with pytest.raises(ValueError, match="the alpha given is NoneType"):
        encode(picture.pixels, picture.encoding)
    with pytest.raises(ValueError, match="the alpha given is ndarray"):
        encode(picture.pixels, replace(picture.encoding, alpha=None), picture.alpha)
    with pytest.raises(ValueError, match="does not fit"):
        encode(picture.pixels[:, :2], picture)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_the_smallest_pictures_are_read_and_written(shape: tuple[int, int]) -> None:
    for kind in ("PNG", "BMP", "TIFF", "JPEG", "WEBP"):
        picture = decode(files.pillow_file(files.samples(*shape, 3), kind))
        assert decode(written_back(picture)).pixels.shape == (3, *shape)


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (4, "RGB"), (5, "RGB")])
def test_a_preview_is_an_8_bit_png(channels: int, mode: str) -> None:
    image = read_png(preview(np.zeros((channels, 4, 6), np.float32)))
    assert (image.mode, image.size) == (mode, (6, 4))
    assert_array_equal(np.asarray(image), np.full_like(image, 255 if channels == 4 else 0))


def test_a_preview_shows_values_beyond_the_range_as_black_and_white() -> None:
    image = read_png(preview(np.array([[[-1.0, np.nan, 0.5, np.inf]]])))
    assert_array_equal(np.asarray(image), [[0, 0, 128, 255]])


@pytest.mark.parametrize(
    ("shape", "size"), [((1000, 500), (256, 512)), ((3, 5000), (512, 1)), ((512, 512), (512, 512)), ((2, 3), (3, 2))]
)
def test_a_preview_is_shrunk_to_the_longest_side_and_never_enlarged(
    shape: tuple[int, int], size: tuple[int, int]
) -> None:
    assert read_png(preview(np.full((3, *shape), 0.5))).size == size


@pytest.mark.parametrize("kind", ["L", "1", "I;16", "RGB", "LA", "P"])
def test_a_mask_of_any_kind_is_known_where_it_is_white(kind: str) -> None:
    known = files.samples(5, 9) > 127
    grey = Image.fromarray(known)
    if kind == "I;16":
        image = Image.fromarray(known.astype(np.uint16) * 65535)
    elif kind == "P":
        image = Image.fromarray(known.astype(np.uint8))
        image.putpalette([0, 0, 0, 255, 255, 255])
    else:
        image = grey.convert("L").convert(kind)
    file = BytesIO()
    image.save(file, "PNG")
    read = decode_mask(file.getvalue())
    assert read.dtype == bool
    assert_array_equal(read, known)
    assert_array_equal(decode_mask(file.getvalue(), white_is_known=False), ~known)


def test_what_is_lighter_than_middle_grey_is_white() -> None:
    levels = np.array([[0, 20, 127, 128, 235, 255]], np.uint8)
    assert_array_equal(decode_mask(files.pillow_file(levels, "PNG")), [[False, False, False, True, True, True]])


def test_a_mask_whose_transparency_varies_says_nothing_clear() -> None:
    known = files.samples(9, 9) > 127
    for colour in (0, 255):
        erased = np.dstack([np.full((9, 9, 3), colour), known * 255]).astype(np.uint8)
        with pytest.raises(ImageRejectedError, match="transparency"):
            decode_mask(files.pillow_file(erased, "PNG"))
    opaque = np.dstack([known * 255] * 3 + [np.full((9, 9), 200)]).astype(np.uint8)
    assert_array_equal(decode_mask(files.pillow_file(opaque, "PNG")), known)


@pytest.mark.parametrize("kind", ["labels", "photo", "yellow", "red", "probabilities"])
def test_a_mask_of_more_than_black_and_white_says_nothing_clear(kind: str) -> None:
    known = files.samples(32, 32) > 127
    marked = np.full((32, 32, 3), 255, np.uint8)
    marked[~known] = [255, 0, 0] if kind == "red" else [255, 255, 0]
    data = {
        "labels": files.pillow_file(files.samples(32, 32) % 3, "PNG"),
        "photo": files.pillow_file(files.samples(32, 32, 3), "PNG"),
        "probabilities": files.tiff_file(files.samples(32, 32, dtype="float32"), photometric="minisblack"),
    }.get(kind, files.pillow_file(marked, "PNG"))
    with pytest.raises(ImageRejectedError, match="black and white"):
        decode_mask(data)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "float32"])
@pytest.mark.parametrize("white", [1, 100])
def test_a_mask_of_any_sample_type_is_read_also_where_all_of_it_is_known(dtype: str, white: int) -> None:
    for known in (files.samples(9, 9) > 127, np.ones((9, 9), dtype=bool)):
        data = files.tiff_file((known * white).astype(dtype), photometric="minisblack")
        assert_array_equal(decode_mask(data), known)


@pytest.mark.parametrize("colours", [1, 3])
def test_an_extra_sample_that_may_be_an_image_is_not_taken_for_alpha(colours: int) -> None:
    array = files.samples(6, 5, colours + 1, dtype="uint16")
    photometric = "rgb" if colours == 3 else "minisblack"
    data = files.tiff_file(array, photometric=photometric, planarconfig="contig", extrasamples=["unspecified"])
    with pytest.raises(ImageRejectedError, match=f"it has {colours + 1} channels, and the file does not say whether"):
        decode(data)
    # A run of the first version goes on as it was begun.
    assert decode(data, rules=0).pixels.shape[0] == colours


def test_a_mask_is_limited_and_rejected_as_a_picture_is() -> None:
    data = encode_mask(np.ones((10, 10), dtype=bool))
    assert decode_mask(data, max_pixels=100).all()
    with pytest.raises(ImageRejectedError, match="99"):
        decode_mask(data, max_pixels=99)
    with pytest.raises(ImageRejectedError):
        decode_mask(data[:-20])


@quick
@given(height=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 99))
def test_a_mask_is_kept_in_a_bit_a_pixel(height: int, width: int, seed: int) -> None:
    known = np.random.default_rng(seed).random((height, width)) < 0.5
    data = encode_mask(known)
    assert read_png(data).mode == "1"
    assert_array_equal(decode_mask(data), known)


def test_a_map_holds_its_figures_as_they_are() -> None:
    values = np.array([[[0.0, 1e-9, 3.5], [-2.0, 0.25, 1e9]]], np.float32)
    array, page = read_tiff(encode_map(values))
    assert array.dtype == np.float32
    assert page.photometric.name == "MINISBLACK"
    assert_array_equal(array, values[0])


def test_a_picture_of_the_wanted_size_is_like_itself() -> None:
    picture = decode(files.pillow_file(files.samples(3, 4, 3), "PNG"))
    assert resized(picture, 3, 4) is picture


@pytest.mark.parametrize("scale", [2, 3])
def test_a_larger_picture_is_written_in_kind_with_its_alpha_enlarged(scale: int) -> None:
    samples = files.samples(3, 5, 4)
    picture = decode(files.pillow_file(samples, "PNG"))
    large = np.repeat(np.repeat(samples, scale, axis=0), scale, axis=1)
    pixels = first_channel_last(large)[:3].astype(np.float32) / 255
    written = np.asarray(read_png(encode(pixels, resized(picture, 3 * scale, 5 * scale))))
    assert_array_equal(written, large)
    with pytest.raises(ValueError, match="alpha"):
        encode(pixels, picture)


def test_a_larger_picture_keeps_depth_and_container() -> None:
    deep = files.samples(3, 4).astype(np.uint16) * 257
    file = BytesIO()
    tifffile.imwrite(file, deep)
    picture = decode(file.getvalue())
    pixels = np.full((1, 6, 8), 0.5, np.float32)
    array, _ = read_tiff(encode(pixels, resized(picture, 6, 8)))
    assert (array.dtype, array.shape) == (np.uint16, (6, 8))
    assert (array == 32768).all()


def test_an_interlaced_png_is_put_together() -> None:
    array = files.samples(13, 11, 3)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [array[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", 11, 13, 8, 2, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    data = files.PNG_SIGNATURE + b"".join(files.png_chunk(kind, body) for kind, body in chunks)
    assert_array_equal(np.rint(decode(data).pixels * 255), first_channel_last(array))


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_of_pictures_is_read(codec: str, tile: tuple[int, int] | None) -> None:
    smooth = np.linspace(0, 255, 40 * 24 * 3).reshape(40, 24, 3).astype(np.uint8)
    options = {"rowsperstrip": 16} if tile is None else {"tile": tile}
    level = {"compressionargs": {"level": 95}} if codec == "jpeg" else {}
    picture = decode(files.tiff_file(smooth, photometric="rgb", compression=codec, **options, **level))
    assert np.abs(picture.pixels * 255 - first_channel_last(smooth)).max() < 10


@pytest.mark.parametrize("codec", ["jpeg", "jpeg2000"])
@pytest.mark.parametrize(
    ("tag", "value", "reason"),
    [
        (256, 20, "20 x 40 pixels of 3 samples is a picture of 24 x 40 of 3"),
        (256, 28, "28 x 40 pixels of 3 samples is a picture of 24 x 40 of 3"),
        (257, 39, "24 x 39 pixels of 3 samples is a picture of 24 x 40 of 3"),
        (277, 4, "24 x 40 pixels of 4 samples is a picture of 24 x 40 of 3"),
    ],
)
def test_a_tiff_whose_strip_is_a_picture_of_another_shape_is_rejected(
    codec: str, tag: int, value: int, reason: str
) -> None:
    data = bytearray(files.tiff_file(files.samples(40, 24, 3), photometric="rgb", compression=codec))
    entry = next(
        at for at in range(len(data) - 12) if data[at : at + 2] == struct.pack("<H", tag) and data[at + 2] in (3, 4)
    )
    data[entry + 8 : entry + 10] = struct.pack("<H", value)
    with pytest.raises(ImageRejectedError, match=reason):
        decode(bytes(data))


@pytest.mark.parametrize("codec", ["jpegxl", "webp", "png"])
def test_a_tiff_of_pictures_whose_size_is_not_known_beforehand_is_rejected(codec: str) -> None:
    data = files.tiff_file(files.samples(9, 7, 3), photometric="rgb", compression=codec)
    with pytest.raises(ImageRejectedError, match=f"^its compression \\({codec.upper()}\\) is not supported; save it"):
        decode(data)


def test_a_reason_is_one_printable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("\x1b[31m\n\u202e")

    monkeypatch.setattr("imagecodecs.png_decode", fail)
    with pytest.raises(ImageRejectedError, match=r"\(\\x1b\[31m \\u202e\)$"):
        decode(SMALL_FILES["png"])


def test_too_little_memory_is_said_to_be_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("imagecodecs.png_decode", fail)
    with pytest.raises(ImageRejectedError, match=r"^decoding it takes more memory than it may have$"):
        decode(SMALL_FILES["png"])


def test_a_png_without_pixels_is_rejected() -> None:
    data = files.raw_png((3, 3), 8, 0, []).replace(b"IDAT", b"idAT")
    with pytest.raises(ImageRejectedError, match="it holds no pixels"):
        decode(data)


def test_a_preview_of_a_photograph_takes_little_memory() -> None:
    photograph = np.random.default_rng(0).random((3, 1100, 500), dtype=np.float32)
    tracemalloc.start()
    preview(photograph)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All of it at once would be three photographs in float32.
    assert peak < 2 * photograph.nbytes
