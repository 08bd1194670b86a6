"""The summary: how many images ended in each state, and the gain of the restoration."""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report.columns import tone_of
from orchestrator.report.contents import Page
from orchestrator.report.quality import Gain, by_arm, gain_of
from orchestrator.report.sections import Section


@dataclass(frozen=True)
class _Summary:
    counts: Sequence[tuple[str, int, str]]  # (state, how many images, tone)
    partly: int  # images that some arms restored and others did not
    arms: int
    gain: Gain | None  # of the only arm
    restored: int


def _summary(page: Page) -> _Summary:
    rows = page.report.rows
    by_image: dict[str, set[str]] = {}
    for row in rows:
        by_image.setdefault(str(row.get("image")), set()).add(str(row.get("state")))
    # An image that one arm restored is a restored image; one that none did counts as the worst of its states.
    order = ["restored", "failed", "rejected"]
    states = [next((state for state in order if state in found), min(found)) for found in by_image.values()]
    arms = by_arm(rows)
    return _Summary(
        # The three states of results are always shown; any other only if it occurs.
        counts=[
            (state, states.count(state), tone_of(state))
            for state in dict.fromkeys(["restored", "rejected", "failed", *states])
        ],
        partly=sum("restored" in found and len(found) > 1 for found in by_image.values()),
        arms=len(arms),
        gain=gain_of(rows) if len(arms) == 1 else None,
        restored=states.count("restored"),
    )


SECTION = Section("summary", 10, _summary)
