"""Damaged image files without end, each made from a number: ``python -m tests.orchestrator.images.fuzz --seconds 300``.

Every file is decoded in a process of its own kind (`isolated_map`), so a decoder that crashes is a finding like any
other.
"""

import argparse
import itertools
import time
import zlib
from collections.abc import Sequence
from functools import cache

import numpy as np

from orchestrator.errors import ImageRejectedError
from orchestrator.images import Picture, decode, encode
from orchestrator.images.isolated import isolated_map
from tests.orchestrator.images import files

MAX_PIXELS = 100_000
_MEMORY = 1 << 29
_ROUND = 2_000
_TELLING = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Numbers that lengths, counts and offsets go wrong at."""


@cache
def originals() -> dict[str, bytes]:
    """Whole files of every kind, by name."""
    return {**files.small_files(), **files.unusual_files()}


def damaged(seed: int) -> tuple[str, bytes]:
    """One of the originals, by name, after one to four kinds of damage."""
    random = np.random.default_rng(seed)
    names = sorted(originals())
    name = names[random.integers(len(names))]
    data = bytearray(originals()[name])
    for _ in range(random.integers(1, 5)):
        data = _damage(data, originals()[names[random.integers(len(names))]], random)
    # Without its checksums put right, a damaged PNG never gets as far as its decoder.
    return name, _with_checksums(bytes(data)) if random.random() < 0.9 else bytes(data)


def _damage(data: bytearray, other: bytes, random: np.random.Generator) -> bytearray:
    if not data:
        return data
    start = int(random.integers(len(data)))
    # Headers are where the lengths are.
    start = start if random.random() < 0.5 else start % 200 % len(data)
    end = start + int(random.integers(1, 40))
    kind = random.integers(7)
    if kind == 0:
        data[start] ^= 1 << int(random.integers(8))
    elif kind == 1:
        data[start:end] = random.bytes(end - start)
    elif kind == 2:
        size = int(random.choice([1, 2, 4, 8]))
        number = _TELLING[random.integers(len(_TELLING))] % 256**size
        data[start : start + size] = number.to_bytes(size, "little" if random.random() < 0.5 else "big")
    elif kind == 3:
        del data[start:end]
    elif kind == 4:
        data[start:start] = data[start:end] * int(random.choice([1, 2, 50]))
    elif kind == 5:
        there = int(random.integers(len(other)))
        data[start:end] = other[there : there + end - start]
    else:
        del data[start:]
    return data


def _with_checksums(data: bytes) -> bytes:
    if not data.startswith(files.PNG_SIGNATURE):
        return data
    mended, start = bytearray(data), 8
    while start + 12 <= len(data):
        end = start + 12 + int.from_bytes(data[start : start + 4], "big")
        if end > len(data):
            break
        mended[end - 4 : end] = zlib.crc32(data[start + 4 : end - 4]).to_bytes(4, "big")
        start = end
    return bytes(mended)


def finding(seed: int) -> str:
    """The mistake in decoding the file of this number; empty if it is a picture or has a reason."""
    name, data = damaged(seed)
    try:
        wrong = _wrong_with(decode(data, max_pixels=MAX_PIXELS))
    except ImageRejectedError as error:
        wrong = "" if str(error).isprintable() else f"a reason that cannot be printed: {error!r}"
        if "memory" in str(error):
            wrong = f"its {len(data)} bytes take too much memory: {error.__cause__}"
    except Exception as error:  # any error is a finding
        wrong = f"{type(error).__name__}: {error}"
    return wrong and f"{name}: {wrong}"


def _wrong_with(picture: Picture) -> str:
    channels, height, width = picture.pixels.shape
    if channels not in (1, 3, 4) or not 0 < height * width <= MAX_PIXELS:
        return f"a picture of shape {picture.pixels.shape}"
    low, high = picture.pixels.min(), picture.pixels.max()
    if not (low >= 0 and high <= 1):  # true of NaN, too
        return f"pixels from {low} to {high}"
    again = decode(encode(picture.pixels, picture), max_pixels=MAX_PIXELS)
    return "" if np.array_equal(again.pixels, picture.pixels) else "it is written back as another picture"


def findings(seeds: Sequence[int]) -> list[str]:
    """The mistakes in decoding the files of these numbers, those included that take their process down."""
    found = isolated_map(finding, seeds, memory=_MEMORY, seconds=20)
    crashed = "crashed, or did not end"
    return [
        f"{seed}: {crashed if text is None else text}" for seed, text in zip(seeds, found, strict=True) if text != ""
    ]


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    options = parser.parse_args()
    deadline = time.monotonic() + options.seconds
    for first in itertools.count(options.first, _ROUND):
        if time.monotonic() > deadline:
            break
        for found in findings(range(first, first + _ROUND)):
            print(found)  # noqa: T201
    print(f"files {options.first} to {first - 1}")  # noqa: T201


if __name__ == "__main__":
    _main()
