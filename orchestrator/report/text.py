"""Numbers, times and names as a reader sees them. Every function takes any value and never raises."""

import math
import unicodedata
from datetime import UTC, datetime
from numbers import Real

UNKNOWN = "–"
"""The mark for a value nobody measured."""

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_JOINER = "\u200d"


def number(value: object) -> float | None:
    """The value as a float (which may be infinite), or None where it is no number or not a number (nan)."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value)
    except (OverflowError, ValueError):
        return None
    return None if math.isnan(found) else found


def decimals(value: object, places: int) -> str:
    """A number with ``places`` decimals, a real minus sign and commas between thousands."""
    found = number(value)
    if found is None:
        return UNKNOWN
    if math.isinf(found):
        return "∞" if found > 0 else "−∞"
    shown = f"{found:,.{places}f}"
    # -0.00 would mean "a little worse" for a value that rounds to no difference at all.
    if float(shown.replace(",", "")) == 0:
        shown = shown.removeprefix("-")
    return shown.replace("-", "−")


def decibels(value: object) -> str:
    """A PSNR in dB, without its unit."""
    return decimals(value, 2)


def gain(value: object) -> str:
    """A difference of two PSNRs in dB, signed, without its unit."""
    shown = decimals(value, 2)
    found = number(value)
    return f"+{shown}" if found is not None and found > 0 and float(f"{found:.2f}") > 0 else shown


def similarity(value: object) -> str:
    """An SSIM, at most 1."""
    return decimals(value, 3)


def error(value: object) -> str:
    """A mean squared error on the [0, 1] scale: six decimals line up in a column; smaller ones need a power of ten."""
    found = number(value)
    if found is None or math.isinf(found) or found == 0 or 1e-4 <= abs(found) < 1e4:
        return decimals(value, 6)
    return powers_of_ten(found, 2)


def powers_of_ten(value: float, places: int) -> str:
    """A finite number as 2.13×10⁻⁵."""
    mantissa, exponent = f"{value:.{places}e}".split("e")
    return f"{mantissa.replace('-', '−')}×10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def operations(value: object) -> str:
    """A number of multiply-adds, as a power of ten."""
    found = number(value)
    return UNKNOWN if found is None else "0" if not found else powers_of_ten(found, 2)


def percent(value: object, places: int | None = None) -> str:
    """A share, from 0 to 1, in percent: with one decimal, from 99 % on with two."""
    found = number(value)
    if found is None:
        return UNKNOWN
    return f"{decimals(100 * found, (2 if found >= 0.99 else 1) if places is None else places)}\u00a0%"


def correlation(value: object) -> str:
    """A correlation, from -1 to 1."""
    return decimals(value, 2)


def interval(value: object) -> str:
    """A pair of PSNRs in dB as "28.1 to 28.9", without the unit."""
    low, high = _pair(value)
    return UNKNOWN if low is None or high is None else f"{decimals(low, 1)} to {decimals(high, 1)}"


def gain_interval(value: object) -> str:
    """A pair of differences in dB as "−0.10 to +0.43", without the unit."""
    low, high = _pair(value)
    return UNKNOWN if low is None or high is None else f"{gain(low)} to {gain(high)}"


def method(arm: str, *, blind: bool) -> str:
    """The name of an arm, with a mark where its masks were found on the clean reference."""
    return arm if blind else f"{arm} (not blind)"


def share(value: object) -> str:
    """A pair of counts as "3 of 5"."""
    part, whole = _pair(value)
    return UNKNOWN if part is None or whole is None else f"{count(part)} of {count(whole)}"


def lower_end(value: object) -> float | None:
    """The first of a pair, by which pairs are sorted; None where the pair is not known."""
    first, second = _pair(value)
    return None if second is None else first


def _pair(value: object) -> tuple[float | None, float | None]:
    return (number(value[0]), number(value[1])) if isinstance(value, tuple) and len(value) == 2 else (None, None)


def count(value: object) -> str:
    """A whole number of things or iterations."""
    return decimals(value, 0)


def duration(value: object) -> str:
    """Seconds as the largest two units worth reading."""
    found = number(value)
    if found is None or math.isinf(found) or found < 0:
        return UNKNOWN
    if found < 9.95:
        return f"{found:.1f} s"
    whole = round(found)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(found / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def when(created: str) -> str:
    """An ISO time as "9 May 2026, 14:03 UTC"; any other text unchanged."""
    try:
        moment = datetime.fromisoformat(created)
    except ValueError:
        return created
    # A time without a zone is UTC, as the run record promises.
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def visible(text: str, kept: str = "\n\t") -> str:
    """The text with every character spelled out that is invisible, turns the line around or cannot be encoded.

    Args:
        text: Any text, also file names whose bytes were not UTF-8 (lone surrogates, which no page can hold).
        kept: The control characters that stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter in kept or not _hidden(letter) else _spelled(letter) for letter in text)


def name(text: str) -> str:
    """A file name on one line: a line break in it is written out."""
    return visible(text, kept="")


def _hidden(letter: str) -> bool:
    # The joiner holds emoji and several scripts together, and by itself shows nothing that could mislead.
    return letter != _JOINER and unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def _spelled(letter: str) -> str:
    # os.fsdecode keeps a byte 0x80-0xff that is no UTF-8 as the surrogate 0xdc80-0xdcff.
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode("ascii")
