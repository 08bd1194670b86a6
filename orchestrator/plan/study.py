"""The settings of a study: every candidate fitted at full size on every image, and every metric scored."""


def study_settings(candidates: str) -> list[str]:
    """The assignments that make a run a study: one arm that fits all candidates at full size, and every metric scored.

    ``candidates`` is a number of random ones, a CSV file of ids, or the name of a list that ships.
    """
    from workers.metrics import RANDOM, metric_names  # noqa: PLC0415 - what it imports, --help does not need

    also = [name for name in metric_names() if name != RANDOM]
    return [
        f"score.candidates={candidates}",
        "arms=[{name: all, like: all, view: full, rule: held-out, full_fits: 1, halving: none}]",
        # A consensus of hundreds would have to hold all their images.
        "pick.noise=independent",
        f"score.also={also}",
    ]
