"""The settings of a study: every candidate fitted at full size on every image, and every metric scored."""


def study_settings(candidates: str) -> list[str]:
    """Return the assignments that make a run a study: one arm fits all candidates at full size, and every metric is
    scored.

    ``candidates`` is a number of random candidates, a CSV file of ids, or the name of a list that ships.
    """
    from workers.metrics import WITHOUT_OUTPUTS, metric_names  # noqa: PLC0415 - --help does not need its imports

    also = [name for name in metric_names() if name not in WITHOUT_OUTPUTS]
    return [
        f"score.candidates={candidates}",
        "arms=[{name: all, like: all, view: full, rule: held-out, full_fits: 1, halving: none}]",
        # A consensus of hundreds of fits would need all their images in memory.
        "pick.noise=independent",
        f"score.also={also}",
    ]
