"""Text for people, and tables for programs."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def printable(text: str) -> str:
    """The text on one line: line breaks, escapes and other control characters are spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, length: int = 80) -> str:
    """The text, cut off after ``length`` characters."""
    return text if len(text) <= length else f"{text[:length]}..."


def counted(number: int, noun: str) -> str:
    """A number of things: "1 image", "2 images", "1,000 images"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float) -> str:
    """Seconds for people: ``8 s``, ``3 min 20 s``, ``2 h 05 min``, ``4 d 3 h``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes_left = divmod(minutes, 60)
    days, hours_left = divmod(hours, 24)
    if whole < 60:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{hours} h {minutes_left:02} min" if hours < 48 else f"{days} d {hours_left} h"


def to_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """A table with a header; None is empty.

    A line ends with a line feed alone, as other programs on the same machine expect. Python (before 3.13) then does not
    see that a carriage return within a value must be quoted, so where there is one, all words are quoted.
    """
    table = [[row[column] for column in columns] for row in rows]
    odd = any(isinstance(value, str) and "\r" in value for row in table for value in row)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL)
    writer.writerows([columns, *table])
    return file.getvalue()
