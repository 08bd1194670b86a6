"""The facts next to the pictures of an image: a headline and a list."""

from collections.abc import Callable

from orchestrator.report import text
from orchestrator.report.columns import Row


def headline_of(row: Row) -> tuple[str, str, str] | None:
    """The most important figure of a result: the figure, its unit, and its meaning; None where no figure is known."""
    before, after = text.decibels(row.get("psnr_degraded")), text.decibels(row.get("psnr"))
    if text.number(row.get("gain")) is not None:
        return text.gain(row["gain"]), "dB", f"PSNR gained: from {before} to {after} dB"
    if text.number(row.get("psnr")) is not None:
        return after, "dB", "PSNR of the restored picture"
    if text.lower_end(row.get("psnr_estimated")) is not None:
        return text.interval(row["psnr_estimated"]), "dB", "estimated PSNR, without a reference"
    if text.number(row.get("held_out_error")) is not None:
        return text.error(row["held_out_error"]), "", "held-out error; lower is better, within this image"
    return None


def facts_of(row: Row, *, many: bool) -> list[tuple[str, str, str]]:
    """Everything else that is known of a result: term, value, and the kind of value."""
    measured = text.number(row.get("psnr")) is not None
    estimated = text.lower_end(row.get("psnr_estimated")) is not None
    # Without a PSNR one of these is the headline already.
    headline = "" if measured else "psnr_estimated" if estimated else "held_out_error"
    known: list[tuple[str, str, Callable[[object], str], str]] = [
        ("SSIM", "ssim", text.similarity, ""),
        ("PSNR Y", "psnr_y", text.decibels, " dB"),
        ("PSNR at the ideal stop", "psnr_oracle_stop", text.decibels, " dB"),
        ("PSNR of the mean of the best few", "psnr_mean", text.decibels, " dB"),
        ("PSNR of the stack", "psnr_stack", text.decibels, " dB"),
        ("PSNR of what is delivered", "psnr_delivered", text.decibels, " dB"),
        ("PSNR of the classical filter", "psnr_classical", text.decibels, " dB"),
        ("Gain over the classical filter", "gain_over_classical", text.gain, " dB"),
        ("Estimated PSNR", "psnr_estimated", text.interval, " dB"),
        ("Held-out error", "held_out_error", text.error, ""),
        ("Held-out error of the stack", "held_out_stack", text.error, ""),
        ("Stopped at iteration", "stop_iteration", text.count, ""),
        ("Time", "seconds", text.duration, ""),
    ]
    facts = [
        (term, f"{show(row.get(key))}{unit}", "number")
        for term, key, show, unit in known
        if key != headline and show(row.get(key)) != text.UNKNOWN
    ]
    method = [("Method", "arm", "text")]
    words = [
        ("Chosen by", "rule", "text"),
        ("Stopped by", "stopping", "text"),
        ("Network", "candidate", "code"),
        ("Delivered", "delivered", "text"),
        ("Classical filter", "classical", "text"),
        ("Weights in the stack", "stack_weights", "code"),
    ]
    named = [(term, str(row[key]), kind) for term, key, kind in [*method, *words] if row.get(key) is not None]
    # With several methods the reader first needs to know whose figures these are.
    return [*named[:1], *facts, *named[1:]] if many else [*facts, *named]
