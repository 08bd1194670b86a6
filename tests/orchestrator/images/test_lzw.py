import imagecodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ImageRejectedError
from orchestrator.images.lzw import check_lzw

CLEAR, END = 256, 257


def packed(codes: list[int], *, old: bool = False) -> bytes:
    """Pack codes as LZW data; tables are short here, so all codes have 9 bits."""
    bits = "".join(f"{code:09b}"[:: -1 if old else 1] for code in codes)
    octets = [bits[start : start + 8].ljust(8, "0") for start in range(0, len(bits), 8)]
    return bytes(int(octet[:: -1 if old else 1], 2) for octet in octets)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(size=st.integers(1, 60_000), levels=st.integers(1, 256), seed=st.integers(0, 99))
def test_sound_data_passes(size: int, levels: int, seed: int) -> None:
    # The data are long enough for many tables and codes of all widths.
    check_lzw(imagecodecs.lzw_encode(np.random.default_rng(seed).integers(0, levels, size, np.uint8).tobytes()))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "codes",
    [
        [CLEAR, END],
        [CLEAR, 65, END],
        [CLEAR, CLEAR, 65, 66, 258, END],
        [CLEAR, 65, 258, CLEAR, 66, END, 300],
        [CLEAR, 1, 2, 3, CLEAR],
        [CLEAR],
    ],
)
def test_short_sound_data_passes(codes: list[int], old: bool) -> None:
    check_lzw(packed(codes, old=old))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    "codes",
    [
        [CLEAR, 258, 65, END],
        [CLEAR, CLEAR, 300, END],
        [CLEAR, 65, 66, CLEAR, 258, END],
        [CLEAR, 1, CLEAR, 2, CLEAR, 511],
    ],
)
def test_a_string_after_a_clear_code_is_rejected(codes: list[int], old: bool) -> None:
    with pytest.raises(ImageRejectedError, match="an LZW code names a string that its table does not hold yet"):
        check_lzw(packed(codes, old=old))


def test_every_table_of_long_data_is_looked_at() -> None:
    noise = np.random.default_rng(0).bytes(20_000)
    data = imagecodecs.lzw_encode(noise)
    starts = _clear_codes(data)[:-1]  # only the end may follow the last clear code
    assert len(starts) > 3
    for start in starts:
        damaged = bytearray(data)
        damaged[(start + 9) // 8] |= 0x80 >> (start + 9) % 8  # the highest bit of the code after it
        with pytest.raises(ImageRejectedError):
            check_lzw(bytes(damaged))


def _clear_codes(data: bytes) -> list[int]:
    """Find where the clear codes' last 9 bits begin, by reading code after code."""
    bits = "".join(f"{octet:08b}" for octet in data)
    found, start, known, width = [], 0, 258, 9
    while start + width <= len(bits):
        code = int(bits[start : start + width], 2)
        start += width
        if code == CLEAR:
            found.append(start - 9)
            known, width = 257, 9
        else:
            known += 1
            width = 9 + (known >= 511) + (known >= 1023) + (known >= 2047)
    return found


@pytest.mark.parametrize("data", [b"", b"\0", b"\x80", b"\0\1", b"\x80\0", b"\xff" * 50])
def test_any_bytes_pass_or_are_rejected(data: bytes) -> None:
    try:
        check_lzw(data)
    except ImageRejectedError:
        assert len(data) > 2
