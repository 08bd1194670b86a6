"""Figures for people: clock times, sizes, decibels."""


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
