"""Files that are wrong, or only seem to be: what each is, how it is made, and its expected outcome.

`write_corpus` leaves them in a folder. docs/bad_input.md is made from the same list: ``python -m docs.make_bad_input``.
"""

import io
import os
import pickle
import re
import socket
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.orchestrator.images import files

MAX_PIXELS = 20_000
"""The limit that the corpus is made for, so that a file just above it is small."""

HEIGHT, WIDTH = 20, 24
RGB, GREY = (3, HEIGHT, WIDTH), (1, HEIGHT, WIDTH)


@dataclass(frozen=True)
class Case:
    """One file.

    ``file`` is its path below the folder, ``make`` its bytes or the function that makes it there. ``shape`` (channels,
    height, width) is that of the restored image, ``reason`` a part of the reason for which it is rejected; a file with
    neither is left out.
    """

    about: str
    file: str
    make: bytes | Callable[[Path], object]
    shape: tuple[int, int, int] | None = None
    reason: str | None = None
    group: str = ""

    @property
    def outcome(self) -> Literal["restored", "rejected", "left out"]:
        """Its expected outcome."""
        if self.shape is not None:
            return "restored"
        return "left out" if self.reason is None else "rejected"

    @property
    def shown(self) -> str:
        """The image's name in rows: bytes that are no text are spelled out there."""
        return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", self.file)

    def write(self, folder: Path) -> None:
        """Make the file."""
        path = folder / self.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.make, bytes):
            path.write_bytes(self.make)
        else:
            self.make(path)


def write_corpus(folder: Path) -> list[Case]:
    """Make all the files in a folder; returns their cases."""
    for case in all_cases():
        case.write(folder)
    return all_cases()


@cache
def all_cases() -> list[Case]:
    """Every case, in groups."""
    groups = {
        "Damaged": (*_damaged_pngs(), *_damaged()),
        "No image, or under a wrong name": _disguised(),
        "More than it seems": _bombs(),
        "Sizes": _sizes(),
        "Values": _values(),
        "Layouts": (*_tiff_layouts(), *_layouts()),
        "Beside the pixels": _metadata(),
        "Names": _names(),
        "No plain files": _special(),
    }
    return [replace(case, group=group) for group, cases in groups.items() for case in cases]


def restored(about: str, file: str, make: bytes | Callable[[Path], object], shape: tuple[int, int, int] = RGB) -> Case:
    return Case(about, file, make, shape=shape)


def rejected(about: str, file: str, make: bytes | Callable[[Path], object], reason: str) -> Case:
    return Case(about, file, make, reason=reason)


def left_out(about: str, file: str, make: bytes | Callable[[Path], object]) -> Case:
    return Case(about, file, make)


def photo(height: int = HEIGHT, width: int = WIDTH, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """Something like a photograph (H, W, C), or (H, W) of one channel: smooth waves under noise."""
    rows, columns = np.mgrid[0:height, 0:width] / 6
    waves = np.stack([np.sin(rows + columns + seed + channel) for channel in range(channels)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 15, waves.shape)
    samples = np.clip(128 + 90 * waves + noise, 0, 255).astype(np.uint8)
    return samples[..., 0] if channels == 1 else samples


def png(array: NDArray[Any] | None = None, **options: Any) -> bytes:
    return files.pillow_file(photo() if array is None else array, "PNG", **options)


def jpeg(array: NDArray[Any] | None = None, **options: Any) -> bytes:
    return files.pillow_file(photo() if array is None else array, "JPEG", quality=90, **options)


def tiff(array: NDArray[Any] | None = None, **options: Any) -> bytes:
    array = photo() if array is None else array
    options.setdefault("photometric", "minisblack" if array.ndim == 2 else "rgb")
    return files.tiff_file(array, **options)


def grey_tiff(array: NDArray[Any], dtype: str) -> bytes:
    return tiff(array.astype(dtype))


def png_of(*chunks: tuple[bytes, bytes]) -> bytes:
    return files.PNG_SIGNATURE + b"".join(files.png_chunk(kind, body) for kind, body in chunks)


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def raw_tiff(width: int, height: int, strips: bytes, *more: tuple[int, int, int, int]) -> bytes:
    """A grey 8-bit TIFF of one strip, some tags of which are replaced."""
    start = 8 + 2 + 12 * (10 + sum(tag[0] > 279 for tag in more)) + 4
    plain = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, start),
    ]
    plain += [(274, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, len(strips))]
    tags = {tag[0]: tag for tag in (*plain, *more)}
    return files.raw_tiff(list(tags.values()), strips)


def _damaged_pngs() -> Iterator[Case]:
    yield rejected("a PNG without its last byte", "nearly.png", png()[:-1], "truncated")
    yield rejected("a PNG's signature and nothing else", "signature.png", files.PNG_SIGNATURE, "no complete header")
    data = bytearray(png())
    data[-20] ^= 1
    yield rejected("a PNG in which a bit has flipped", "flipped.png", bytes(data), "a checksum does not match")
    ended = (b"IEND", b"")
    yield rejected("a PNG without pixels", "hollow.png", png_of(png_header(8, 8), ended), "it holds no pixels")
    rows = zlib.compress(bytes(25 * 4))
    yield rejected(
        "a PNG with too few rows",
        "short.png",
        png_of(png_header(8, 8), (b"IDAT", rows), ended),
        "the PNG data is truncated, corrupt",
    )
    noise = np.random.default_rng(1).bytes(200)
    garbled = png_of(png_header(8, 8), (b"IDAT", noise), ended)
    yield rejected("a PNG whose pixels do not unpack", "garbled.png", garbled, "the PNG data is truncated, corrupt")
    flat = png_of(png_header(8, 0), (b"IDAT", rows), ended)
    yield rejected("a PNG of no height", "flat.png", flat, "an empty image of 8 x 0")
    kind = png_of(png_header(8, 8, 3), (b"IDAT", rows), ended)
    yield rejected("a PNG of 3 bits a sample", "3-bit.png", kind, "the PNG data is truncated, corrupt")
    yield restored("a PNG with garbage at its end", "tail.png", png() + noise)
    yield rejected("a PNG with garbage at its beginning", "head.png", noise + png(), "not a PNG")


def _damaged() -> Iterator[Case]:
    truncated, noise = "truncated", np.random.default_rng(1).bytes(200)
    whole = {"png": png(), "jpg": jpeg(), "tif": tiff(), "bmp": files.pillow_file(photo(), "BMP")}
    whole |= {"webp": files.pillow_file(photo(), "WEBP"), "deflate.tif": tiff(compression="zlib")}
    for suffix, data in whole.items():
        yield rejected(f"half of a .{suffix}", f"half.{suffix}", data[: len(data) // 2], truncated)
    yield rejected("an empty file", "empty.png", b"", "the file is empty")
    yield rejected("a single byte", "byte.png", b"\x89", "not a PNG")
    yield restored("a JPEG with garbage at its end", "tail.jpg", jpeg() + noise)
    yield rejected("a JPEG without its end mark", "open.jpg", jpeg()[:-40], truncated)
    data = bytearray(jpeg())
    middle = data.index(b"\xff\xda") + 60
    data[middle : middle + 30] = noise[:30]
    yield restored(
        "a JPEG with garbage in its middle, which no decoder can tell from a picture", "middle.jpg", bytes(data), GREY
    )
    yield rejected(
        "a JPEG's marks without a picture",
        "marks.jpg",
        b"\xff\xd8\xff\xe0\0\4ab\xff\xd9",
        "the JPEG data is truncated, corrupt",
    )
    yield rejected("a JPEG of no height", "flat.jpg", _resized_jpeg(0, 8), "the JPEG data is truncated, corrupt")
    outside = (273, 4, 1, 1 << 30)
    yield rejected(
        "a TIFF whose pixels lie elsewhere", "outside.tif", raw_tiff(8, 8, bytes(64), outside), "outside the file"
    )
    yield rejected("a TIFF without a page", "pageless.tif", b"II*\0" + bytes(12), "holds no full-size picture")
    two = tiff(np.stack([photo(), photo()]))
    circle = _looped(two)
    yield rejected("a TIFF whose pages form a circle", "circle.tif", circle, "its pages form a circle")
    few = raw_tiff(8, 8, bytes(64), (278, 4, 1, 1), (259, 3, 1, 5))
    yield rejected(
        "a TIFF whose list of strips is too short", "strips.tif", few, "its list of strips or tiles is incomplete"
    )
    colourless = raw_tiff(8, 8, bytes(64), (262, 3, 1, 9999))
    yield rejected("a TIFF of unknown colours", "colours.tif", colourless, "colours (9999) are not supported")
    packed = raw_tiff(8, 8, bytes(64), (259, 3, 1, 9999))
    yield rejected("a TIFF of an unknown compression", "packed.tif", packed, "its compression (9999) is not supported")
    data = bytearray(files.pillow_file(photo(), "WEBP"))
    data[40:90] = noise[:50]
    yield rejected(
        "a WebP with garbage in its middle", "middle.webp", bytes(data), "the WebP data is truncated, corrupt"
    )
    data = bytearray(files.pillow_file(photo(), "BMP"))
    data[10:14] = b"\xff\xff\xff\x7f"
    yield rejected("a BMP whose pixels lie elsewhere", "outside.bmp", bytes(data), truncated)


def _resized_jpeg(height: int, width: int) -> bytes:
    """A JPEG of 20 x 24 pixels whose header says otherwise."""
    data = bytearray(jpeg())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def _looped(data: bytes) -> bytes:
    """A little-endian TIFF of two pages, the second of which names the first as its next."""
    first = struct.unpack_from("<I", data, 4)[0]
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    (count,) = struct.unpack_from("<H", data, second)
    end = second + 2 + 12 * count
    return data[:end] + struct.pack("<I", first) + data[end + 4 :]


def _disguised() -> Iterator[Case]:
    nothing = "not a PNG, JPEG, WebP, TIFF or BMP image"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(zipfile.ZipInfo("a.png"), png())
    frames = [Image.fromarray(photo(seed=seed)) for seed in range(3)]
    others: list[tuple[str, str, bytes]] = [
        ("text", "text.png", b"Not an image.\n"),
        ("a web page", "page.jpg", b"<!doctype html><html><body>404</body></html>"),
        ("an SVG", "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("an archive of images", "archive.zip", archive.getvalue()),
        ("a PDF", "paper.pdf", b"%PDF-1.7\n1 0 obj\n"),
        ("a script", "script.sh", b"#!/bin/sh\nexit 1\n"),
        ("a Python pickle", "pickle.png", pickle.dumps({"pixels": [1, 2, 3]})),
        ("a NumPy array", "array.npy", b"\x93NUMPY\x01\0" + bytes(64)),
        ("a GIF", "still.gif", files.pillow_file(photo(), "GIF")),
        ("an animated GIF", "moving.gif", files.saved(frames[0], "GIF", save_all=True, append_images=frames[1:])),
        ("a JPEG 2000", "scan.jp2", files.pillow_file(photo(), "JPEG2000")),
        ("an AVIF", "photo.avif", files.pillow_file(photo(), "AVIF")),
        ("an HEIC's first bytes", "photo.heic", b"\0\0\0\x18ftypheic" + bytes(32)),
        ("an icon", "site.ico", b"\0\0\1\0\1\0\x10\x10" + bytes(64)),
        ("a DICOM's first bytes", "slice.dcm", bytes(128) + b"DICM" + bytes(32)),
        ("a film's first bytes", "film.mp4", b"\0\0\0\x20ftypisom" + bytes(32)),
        ("zeros", "zeros.tif", bytes(1000)),
    ]
    for about, name, data in others:
        yield rejected(about, name, data, nothing)
    yield restored("a PNG named .jpg", "png.jpg", png())
    yield restored("a JPEG named .png", "jpeg.png", jpeg())
    yield restored("a TIFF named .webp", "tiff.webp", tiff())
    yield restored("a PNG without an extension", "noextension", png())
    yield restored("a PNG named .PNG", "LOUD.PNG", png())


def _bombs() -> Iterator[Case]:
    limit = f"more than the limit of {MAX_PIXELS:,}"
    for kind, data in files.huge_headers(50_000).items():
        yield rejected(f"a {kind.upper()} header of 50,000 x 50,000 pixels", f"huge-{kind}.{kind}", data, limit)
    side = 142
    assert side**2 > MAX_PIXELS
    zeros = np.zeros((side, side), np.uint8)
    yield rejected("a PNG just above the limit, in a hundred bytes", "above.png", png(zeros), limit)
    yield rejected("a TIFF just above the limit", "above.tif", tiff(zeros, compression="zlib"), limit)
    ended = (b"IEND", b"")
    much = zlib.compress(bytes(20_000_000), 9)
    more = png_of(png_header(8, 8, colour=0), (b"IDAT", much), ended)
    yield restored("a PNG of 8 x 8 pixels whose data unpacks to 20 MB", "unpacks.png", more, (1, 8, 8))
    text = files.with_png_chunk(png(), b"zTXt", b"note\0\0" + much)
    yield restored("a PNG with a note that unpacks to 20 MB", "note.png", text)
    profile = files.with_png_chunk(png(), b"iCCP", b"name\0\0" + much)
    yield restored("a PNG with a colour profile that unpacks to 20 MB", "profile.png", profile)
    deflate = raw_tiff(8, 8, much, (259, 3, 1, 8))
    yield rejected(
        "a TIFF of 8 x 8 pixels whose strip unpacks to 20 MB",
        "unpacks.tif",
        deflate,
        "the TIFF data is truncated, corrupt",
    )
    for codec in ("jpeg", "jpegxl", "png", "webp", "jpeg2000"):
        code = {"jpeg": 7, "jpegxl": 50002, "png": 34933, "webp": 50001, "jpeg2000": 34712}[codec]
        encode = getattr(imagecodecs, f"{'jpeg2k' if codec == 'jpeg2000' else codec}_encode")
        inner = bytes(encode(np.zeros((2000, 2000, 3) if codec == "webp" else (2000, 2000), np.uint8)))
        inside = raw_tiff(8, 8, inner, (259, 3, 1, code))
        reason = "a picture of 2000 x 2000" if codec.startswith("jpeg") and codec != "jpegxl" else "is not supported"
        yield rejected(
            f"a TIFF of 8 x 8 pixels with a {codec} strip of 2000 x 2000", f"inner-{codec}.tif", inside, reason
        )
    wide = raw_tiff(2**31 - 1, 2**31 - 1, bytes(64))
    yield rejected("a TIFF of 2 billion pixels a side", "wide.tif", wide, limit)
    samples = raw_tiff(8, 8, bytes(64), (277, 3, 1, 65535))
    yield rejected("a TIFF of 65,535 samples a pixel", "deep.tif", samples, "it has 65,535 channels")
    depth = raw_tiff(8, 8, bytes(64), (32997, 4, 1, 1 << 30))
    yield rejected("a TIFF of a billion planes", "planes.tif", depth, "has 1073741824 pages")
    counts = raw_tiff(8, 8, bytes(64), (273, 4, 1 << 28, 8), (279, 4, 1 << 28, 8))
    yield rejected(
        "a TIFF that promises 268 million strips", "promises.tif", counts, "its list of strips or tiles is incomplete"
    )
    tiles = raw_tiff(8, 8, bytes(64), (322, 4, 1, 1 << 20), (323, 4, 1, 1 << 20), (324, 4, 1, 8), (325, 4, 1, 64))
    yield rejected("a TIFF of one tile of 1,048,576 pixels a side", "tile.tif", tiles, "tiles of 1048576 x 1048576")

    def sparse(path: Path) -> None:
        path.write_bytes(png()[:40])
        os.truncate(path, 1 << 40)

    yield rejected("a PNG of a terabyte, all of it a hole", "hole.png", sparse, "more memory than it may have")


def _sizes() -> Iterator[Case]:
    for height, width in ((1, 1), (1, 30), (30, 1), (2, 2), (1, 5000)):
        yield restored(f"{width} x {height}", f"{width}x{height}.png", png(photo(height, width)), (3, height, width))
    yield restored("1 x 1, grey", "1x1.bmp", files.pillow_file(photo(1, 1, 1), "BMP"), (1, 1, 1))
    for name, level in (("black", 0), ("white", 255), ("grey", 128)):
        yield restored(f"all {name}", f"all-{name}.png", png(np.full((HEIGHT, WIDTH, 3), level, np.uint8)), GREY)
    constant = np.full((HEIGHT, WIDTH), -7.5)
    yield restored("a constant float TIFF", "constant.tif", grey_tiff(constant, "float32"), GREY)


def _values() -> Iterator[Case]:
    smooth = photo(channels=1) / 255
    spoilt = {"NaN": np.nan, "inf": np.inf, "-inf": -np.inf}
    for name, value in spoilt.items():
        one = smooth.copy()
        one[3, 4] = value
        reason = "1 of its 480 values are NaN or infinite"
        yield rejected(f"a float TIFF with one {name}", f"{name}.tif", grey_tiff(one, "float32"), reason)
    nothing = grey_tiff(np.full((HEIGHT, WIDTH), np.nan), "float32")
    yield rejected("a float TIFF of NaN only", "nan-only.tif", nothing, "480 of its 480 values")
    scaled: list[tuple[str, str, NDArray[np.float64], str]] = [
        ("subnormal 32-bit floats", "subnormal32.tif", smooth * 1e-40, "float32"),
        ("subnormal 64-bit floats", "subnormal64.tif", smooth * 1e-310, "float64"),
        ("32-bit floats up to 3e38", "large32.tif", smooth * 3e38, "float32"),
        ("64-bit floats up to 1e300", "large64.tif", smooth * 1e300, "float64"),
        ("negative floats", "negative.tif", smooth - 5, "float32"),
        ("16-bit floats", "float16.tif", smooth, "float16"),
        ("8-bit integers with a sign", "int8.tif", smooth * 255 - 128, "int8"),
        ("16-bit integers with a sign", "int16.tif", smooth * 60_000 - 30_000, "int16"),
        ("32-bit integers", "uint32.tif", smooth * 4e9, "uint32"),
        ("32-bit integers with a sign", "int32.tif", smooth * 4e9 - 2e9, "int32"),
        ("64-bit integers", "uint64.tif", smooth * 1.8e19, "uint64"),
        ("12-bit samples in 16 bits", "12in16.tif", smooth * 4095, "uint16"),
        ("0 and 1 in 16 bits", "01in16.tif", smooth > 0.5, "uint16"),
    ]
    for about, name, array, dtype in scaled:
        yield restored(f"{about} (TIFF)", name, grey_tiff(array, dtype), GREY)
    wide = np.where(smooth > 0.5, 1.7e308, -1.7e308)
    yield rejected("64-bit floats that spread over more than 64 bits hold", "spread.tif", tiff(wide), "spread too far")
    yield restored("true and false (TIFF)", "bool.tif", tiff(smooth > 0.5), GREY)
    yield rejected("complex numbers (TIFF)", "complex.tif", grey_tiff(smooth, "complex64"), "are not supported")


def _tiff_layouts() -> Iterator[Case]:
    several, grey = "split it into single images", photo(channels=1)
    pages = tiff(np.stack([photo(seed=seed) for seed in range(3)]))
    yield rejected("a TIFF of three pages", "pages.tif", pages, several)
    stack = tiff(np.stack([grey, grey]), imagej=True, metadata={"axes": "ZYX"}, photometric="minisblack")
    yield rejected("an ImageJ stack", "stack.tif", stack, several)
    volume = tiff(np.zeros((16, 16, 16), np.uint8), volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    yield rejected("a volume (TIFF)", "volume.tif", volume, several)
    many = tiff(photo(channels=5), photometric="minisblack", planarconfig="contig")
    yield rejected("a TIFF of five channels", "five.tif", many, "it has 5 channels")
    yield restored(
        "a TIFF of separate planes", "planar.tif", tiff(np.moveaxis(photo(), -1, 0), planarconfig="separate")
    )
    yield restored("a tiled TIFF", "tiled.tif", tiff(tile=(16, 16), compression="lzw"))
    yield restored("a BigTIFF", "big.tif", tiff(bigtiff=True))
    yield restored("a big-endian TIFF", "endian.tif", tiff(photo().astype(np.uint16) * 257, byteorder=">"))
    yield restored("a TIFF in which white is 0", "white-is-0.tif", tiff(grey, photometric="miniswhite"), GREY)
    for codec in ("packbits", "zstd", "lzma", "jpeg", "jpeg2000"):
        yield restored(f"a TIFF compressed by {codec}", f"{codec}.tif", tiff(compression=codec))
    for codec in ("jpegxl", "webp", "png", "lerc"):
        reason = f"its compression ({codec.upper()}) is not supported"
        yield rejected(f"a TIFF compressed by {codec}", f"{codec}.tif", tiff(compression=codec), reason)
    fax = files.saved(Image.fromarray(grey > 99), "TIFF", compression="group4")
    yield restored("a fax (bilevel TIFF, group 4)", "fax.tif", fax, GREY)
    for colours in ("cielab", "ycbcr"):
        reason = f"its colours ({colours.upper()}) are not supported"
        yield rejected(f"a TIFF in {colours.upper()}", f"{colours}.tif", tiff(photometric=colours), reason)
    yield rejected("a camera's raw pixels (TIFF)", "raw.tif", tiff(grey, photometric="cfa"), "its colours (CFA)")
    yield restored("a TIFF of RGB and alpha", "alpha.tif", tiff(photo(channels=4), extrasamples=["unassalpha"]))
    for channels, about in ((2, "two channels"), (4, "RGB and infrared")):
        colours = "minisblack" if channels == 2 else "rgb"
        data = tiff(photo(channels=channels), photometric=colours, planarconfig="contig", extrasamples=["unspecified"])
        reason = f"it has {channels} channels, and the file does not say whether the last is alpha"
        yield rejected(f"a TIFF of {about}, the last unspecified", f"extra-{channels}.tif", data, reason)
    inks = (4, HEIGHT, WIDTH)
    yield restored("a CMYK TIFF", "cmyk.tif", tiff(photo(channels=4), photometric="separated"), inks)
    transparent = tiff(photo(channels=5), photometric="separated", extrasamples=["unassalpha"])
    yield restored("a CMYK TIFF with alpha", "cmyka.tif", transparent, inks)
    yield restored("a palette TIFF", "palette.tif", files.pillow_file(photo(), "TIFF", "P"))


def _layouts() -> Iterator[Case]:
    frames = [Image.fromarray(photo(seed=seed)) for seed in range(3)]
    for kind in ("PNG", "WEBP"):
        moving = files.saved(frames[0], kind, save_all=True, append_images=frames[1:])
        yield rejected(f"an animated {kind}", f"animated.{kind.lower()}", moving, "has 3 frames; split it")
    mpo = files.saved(frames[0], "MPO", save_all=True, append_images=frames[1:])
    yield restored("a phone's JPEG with further pictures behind the first", "phone.jpg", mpo)
    yield restored("a CMYK JPEG", "cmyk.jpg", files.cmyk_jpeg(photo(channels=4)))
    yield restored("a progressive JPEG", "progressive.jpg", jpeg(progressive=True))
    for about, name, frame, bits in (
        ("a JPEG of 12 bits a sample", "12-bit.jpg", b"\xff\xc0", 12),
        ("a lossless JPEG", "lossless.jpg", b"\xff\xc3", 8),
    ):
        data = bytearray(jpeg())
        start = data.index(b"\xff\xc0")
        data[start : start + 2], data[start + 4] = frame, bits
        yield rejected(about, name, bytes(data), "the JPEG data is truncated, corrupt")
    transparent = files.pillow_file(photo(), "PNG", "P", transparency=bytes(range(20)))
    yield restored("a palette PNG with transparency", "palette.png", transparent)
    yield restored("a bilevel PNG", "bilevel.png", png(photo(channels=1) > 99), GREY)
    rows = [bytes([27] * 6)] * HEIGHT
    yield restored("a PNG of 2 bits a sample", "2-bit.png", files.raw_png((WIDTH, HEIGHT), 2, 0, rows), GREY)
    yield restored("a PNG of grey and alpha", "grey-alpha.png", png(photo(channels=2)), GREY)
    yield restored("a 16-bit PNG", "16-bit.png", files.png16(photo().astype(np.uint16) * 257))
    yield restored("an interlaced PNG", "interlaced.png", _interlaced())
    yield restored(
        "a lossless WebP with alpha", "alpha.webp", files.pillow_file(photo(channels=4), "WEBP", lossless=True)
    )
    data = bytearray(files.pillow_file(photo(), "BMP"))
    data[22:26] = struct.pack("<i", -HEIGHT)
    yield restored("a BMP stored from the top", "top-down.bmp", bytes(data))


def _interlaced() -> bytes:
    """The photograph as an Adam7 PNG."""
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    parts = [photo()[top::down, left::right] for top, left, down, right in passes]
    rows = b"".join(b"\0" + row.tobytes() for part in parts for row in part)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, 1)
    return png_of((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))


def _metadata() -> Iterator[Case]:
    turned = (3, WIDTH, HEIGHT)
    yield restored("a JPEG that its camera held upright", "turned.jpg", jpeg(exif=files.exif(6)), turned)
    tag = [(274, 3, 1, 8, True)]
    yield restored("a TIFF to be turned", "turned.tif", tiff(extratags=tag), turned)
    yield restored("a JPEG of orientation 99", "99.jpg", jpeg(exif=files.exif(99)))
    yield restored("a JPEG with broken EXIF", "exif.jpg", jpeg(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff"))
    yield restored(
        "a PNG with a broken colour profile", "icc.png", files.with_png_chunk(png(), b"iCCP", b"name\0\0junk")
    )
    yield restored("a JPEG with a broken colour profile", "icc.jpg", jpeg(icc_profile=b"junk" * 9))
    yield restored("a JPEG with a CMYK profile", "profile.jpg", jpeg(icc_profile=files.icc_profile(b"CMYK")))
    yield restored("a TIFF with a broken colour profile", "icc.tif", tiff(iccprofile=b"junk" * 9))
    wrong = bytearray(files.with_png_chunk(png(), b"tEXt", b"note\0text"))
    wrong[33 + 8] ^= 1
    yield restored("a PNG in which a bit of a note has flipped", "note-flipped.png", bytes(wrong))
    yield restored("a PNG with a chunk that nobody knows", "chunk.png", files.with_png_chunk(png(), b"quUx", b"?" * 99))


def _names() -> Iterator[Case]:
    odd: list[tuple[str, str]] = [
        ("spaces", "two  spaces .png"),
        ("a line break", "line\nbreak.png"),
        ("a carriage return", "carriage\rreturn.png"),
        ("a tab", "tab\tulator.png"),
        ("a terminal's escape codes", "\x1b[31mred\x1b[0m.png"),
        ("a dash in front", "-rf.png"),
        ("dots within", "a..b.png"),
        ("a dot at the end", "end.png."),
        ("a space at the end", "end.png "),
        ("emoji", "🙂🏳️‍🌈.png"),
        ("right-to-left override", "gnp.\u202egpj.png"),
        ("HTML", "<script>alert(1)<%2fscript>.png"),
        ("quotes", "\"'`.png"),
        ("percent signs", "100%25%s%00.png"),
        ("a spreadsheet's formula", "=1+1.png"),
        ("a comma and a semicolon", "a,b;c.png"),
        ("backslashes", "back\\..\\slash.png"),
        ("shell characters", "$(touch x);&|*?[a]~.png"),
        ("only an extension's letters", "png"),
        ("255 bytes", "n" * 251 + ".png"),
        ("255 bytes and no extension", "m" * 255),
        ("255 bytes of 3 each", "長" * 83 + "ab.png"),
        ("bytes that are no text", os.fsdecode(b"caf\xe9.png")),
        ("other bytes that are no text", os.fsdecode(b"caf\xe8.png")),
        ("composed accents", unicodedata.normalize("NFC", "é.png")),
        ("the same accents, decomposed", unicodedata.normalize("NFD", "é.png")),
        ("small letters", "case.png"),
        ("the same in capitals", "CASE.png"),
        ("a number that rejected rows have, too", "rejected-000000.png"),
        ("what a partial file is called", "x.partial-0.png"),
        ("a device's name elsewhere", "CON.png"),
        ("a folder in it", "sub/inner.png"),
        ("a folder of the same name", "sub/sub/inner.png"),
        ("a folder that looks like an image", "folder.png/inner.png"),
        ("a folder that looks like the map beside a restored image", "mapped.png.tif/inner.png"),
        ("the image beside that folder", "mapped.png"),
    ]
    for seed, (about, name) in enumerate(odd):
        yield restored(
            f"a name with {about}" if about.startswith("a ") else about, f"names/{name}", png(photo(seed=seed))
        )
    yield restored("two that differ in their extension only", "names/twins.png", png())
    yield restored("the other of the two", "names/twins.jpg", jpeg())
    yield restored("one named as another's restored file", "names/twins.jpg.png", png(photo(seed=1)))
    yield restored("an image that would be restored where a folder is", "names/folder.jpg", jpeg())
    yield restored("the same bytes once", "names/same.png", png(photo(seed=9)))
    yield restored("the same bytes again", "names/again/same.png", png(photo(seed=9)))
    long = "/".join(["d" * 200] * 5)
    yield rejected("a path of more than 800 bytes", f"names/{long}/a.png", png(), "its path has 1016 bytes")


def _special() -> Iterator[Case]:
    yield left_out("a hidden file", "special/.hidden.png", png())
    yield left_out("a hidden file of two dots", "special/..hidden.png", png())
    yield left_out("a file in a hidden folder", "special/.thumbnails/a.png", png())
    yield left_out("an empty folder in an empty folder", "special/empty/inner", Path.mkdir)
    yield left_out("a link to a folder", "special/link", lambda path: path.symlink_to("../names/sub"))
    yield left_out("a link to the folder that it is in", "special/loop", lambda path: path.symlink_to("."))
    yield restored("a link to a file", "special/link.png", lambda path: path.symlink_to("../2x2.png"), (3, 2, 2))
    opened = "the file cannot be opened"
    yield rejected("a link that leads nowhere", "special/dangling.png", lambda path: path.symlink_to("none"), opened)
    yield rejected("a link to itself", "special/round.png", lambda path: path.symlink_to("round.png"), opened)
    yield rejected("a pipe", "special/pipe.png", os.mkfifo, "not a regular file")
    yield rejected("a socket", "special/socket.png", _bind, "not a regular file")
    yield rejected(
        "a link to a device", "special/zero.png", lambda path: path.symlink_to("/dev/zero"), "not a regular file"
    )


def _bind(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(path.parent)  # a socket's path has some hundred bytes at most
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    finally:
        os.chdir(here)
        os.close(here)
