"""Real encoded files for the image tests, made in memory, and headers that promise more than the file holds."""

import struct
import zlib
from io import BytesIO
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def samples(*shape: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    """Random samples over the whole range of an integer type, or in [0, 1] for floats; both ends of the range occur."""
    generator = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        values = generator.random(shape).astype(kind)
        values.flat[0], values.flat[-1] = 0, 1
        return values
    limits = np.iinfo(kind)
    values = generator.integers(limits.min, limits.max, shape, kind, endpoint=True)
    values.flat[0], values.flat[-1] = limits.min, limits.max
    return values


def pillow_file(array: NDArray[Any], kind: str, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(array)
    if mode is not None:
        image = image.convert(mode)
    return saved(image, kind, **options)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def cmyk_jpeg(array: NDArray[np.uint8]) -> bytes:
    height, width, _ = array.shape
    return saved(Image.frombytes("CMYK", (width, height), array.tobytes()), "JPEG", quality=95)


def png16(array: NDArray[Any]) -> bytes:
    return bytes(imagecodecs.png_encode(array))


def tiff_file(array: NDArray[Any], **options: Any) -> bytes:
    buffer = BytesIO()
    options.setdefault("metadata", None)
    tifffile.imwrite(buffer, array, **options)
    return buffer.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(size: tuple[int, int], bits: int, colour_type: int, rows: list[bytes], *extra: bytes) -> bytes:
    """A PNG of packed rows; `extra` chunks stand between the header and the data."""
    header = struct.pack(">IIBBBBB", *size, bits, colour_type, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", body), png_chunk(b"IEND", b"")]
    return PNG_SIGNATURE + b"".join(chunks)


def with_png_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    return png[:33] + png_chunk(kind, body) + png[33:]


def exif(orientation: int, order: str = "<") -> bytes:
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + mark + struct.pack(f"{order}IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)


def icc_profile(space: bytes) -> bytes:
    """A header that names its colour space, the only part of a profile that this project reads."""
    body = struct.pack(">I", 132) + bytes(12) + space + bytes(16) + b"acsp" + bytes(92)
    return body[:132]


def raw_tiff(tags: list[tuple[int, int, int, int]], tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one directory with the given (tag, type, count, value) entries, then `tail`."""
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tail


def huge_headers(side: int = 60_000) -> dict[str, bytes]:
    """Files of a few bytes whose headers declare side x side pixels."""
    png_header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    grey = [(256, 4, 1, side), (257, 4, 1, side), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    bmp_info = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)
    jpeg = bytearray(pillow_file(samples(8, 8), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", side, side)
    canvas = (min(side, 1 << 24) - 1).to_bytes(3, "little")
    return {
        "png": PNG_SIGNATURE + png_header + png_chunk(b"IEND", b""),
        "tiff": raw_tiff([*grey, (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, side), (279, 4, 1, 64)]),
        "bmp": b"BM" + struct.pack("<IHHI", 54, 0, 0, 54) + bmp_info,
        "jpeg": bytes(jpeg),
        "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + canvas + canvas,
    }


def small_files() -> dict[str, bytes]:
    """One small file of each kind, for the damage tests."""
    rgb, grey = samples(9, 7, 3), samples(9, 7)
    smooth = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    return {
        "png": pillow_file(rgb, "PNG"),
        "png16": png16(samples(6, 5, 4, dtype="uint16")),
        "palette": pillow_file(grey, "PNG", "P"),
        "jpeg": pillow_file(smooth, "JPEG"),
        "progressive": pillow_file(smooth, "JPEG", progressive=True),
        "cmyk jpeg": cmyk_jpeg(samples(9, 7, 4)),
        "webp": pillow_file(smooth, "WEBP"),
        "lossless webp": pillow_file(rgb, "WEBP", lossless=True, exif=exif(6)),
        "bmp": pillow_file(rgb, "BMP"),
        "palette bmp": pillow_file(grey, "BMP", "P"),
        "tiff": tiff_file(rgb, photometric="rgb"),
        "deflate tiff": tiff_file(rgb, photometric="rgb", compression="zlib", predictor=True, rowsperstrip=2),
        "lzw tiff": tiff_file(grey, photometric="minisblack", compression="lzw", rowsperstrip=3),
        "jpeg tiff": tiff_file(smooth, photometric="ycbcr", compression="jpeg"),
        "tiled tiff": tiff_file(samples(20, 20, dtype="uint16"), photometric="minisblack", tile=(16, 16)),
        "big tiff": tiff_file(samples(5, 5, dtype="float32"), photometric="minisblack", bigtiff=True),
        "bilevel tiff": saved(Image.fromarray(grey > 99), "TIFF"),
        "fax tiff": saved(Image.fromarray(grey > 99), "TIFF", compression="group4"),
    }


def unusual_files() -> dict[str, bytes]:
    """One small file of each of the rarer kinds: other codecs, several pictures in one file,
    and data around the pixels.
    """
    rgb, grey, deep = samples(9, 7, 3), samples(9, 7), samples(9, 7, dtype="uint16")
    smooth = np.linspace(0, 255, 24 * 20 * 3).reshape(24, 20, 3).astype(np.uint8)
    frames = [Image.fromarray(samples(9, 7, 3, seed=seed)) for seed in range(3)]
    codecs = {"zstd": rgb, "lzma": rgb, "packbits": grey, "jpeg2000": rgb, "webp": rgb, "jpegxl": rgb, "png": rgb}
    inside = {
        f"{codec} in tiff": tiff_file(array, photometric="rgb" if array.ndim == 3 else "minisblack", compression=codec)
        for codec, array in codecs.items()
    }
    return {
        **inside,
        "lerc in tiff": tiff_file(samples(9, 7, dtype="float32"), photometric="minisblack", compression="lerc"),
        "float tiff": tiff_file(
            samples(9, 7, dtype="float64"), photometric="minisblack", predictor=3, compression="lzw"
        ),
        "big-endian tiff": tiff_file(deep, photometric="minisblack", byteorder=">", compression="lzw", predictor=2),
        "planar tiff": tiff_file(samples(3, 9, 7), photometric="rgb", planarconfig="separate", rowsperstrip=2),
        "palette tiff": pillow_file(grey, "TIFF", "P"),
        "cmyk tiff": tiff_file(samples(9, 7, 4), photometric="separated"),
        "imagej stack": tiff_file(samples(3, 9, 7), imagej=True, metadata={"axes": "ZYX"}),
        "fax3 tiff": saved(Image.fromarray(grey > 99), "TIFF", compression="group3"),
        "turned tiff": tiff_file(
            rgb, photometric="rgb", extratags=[(274, 3, 1, 6, True)], iccprofile=icc_profile(b"RGB ")
        ),
        "profiled png": with_png_chunk(
            pillow_file(rgb, "PNG"), b"iCCP", b"name\0\0" + zlib.compress(icc_profile(b"RGB "))
        ),
        "turned png": with_png_chunk(pillow_file(grey, "PNG"), b"eXIf", exif(6)[6:]),
        "transparent palette": saved(frames[0].convert("P"), "PNG", transparency=bytes(range(20))),
        "animated png": saved(frames[0], "PNG", save_all=True, append_images=frames[1:]),
        "turned jpeg": pillow_file(smooth, "JPEG", exif=exif(6), icc_profile=icc_profile(b"RGB ")),
        "mpo": saved(frames[0], "MPO", save_all=True, append_images=frames[1:]),
        "animated webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "transparent webp": pillow_file(samples(9, 7, 4), "WEBP"),
        "bilevel bmp": saved(Image.fromarray(grey > 99), "BMP"),
    }
