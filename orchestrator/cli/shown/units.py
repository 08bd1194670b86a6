"""Figures for people: durations, clock times, sizes, decibels."""


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


def clock_time(seconds: float) -> str:
    """Seconds as a clock shows them: ``0:08``, ``3:20``, ``2:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def decibels(value: float | None) -> str:
    """Two decimals, or a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def size_of(count: int) -> str:
    """Bytes for people, in powers of 1000: ``0 B``, ``12.3 kB``, ``4.56 GB``."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{value:.3g} {units[0]}"
