"""Records of the decisions over an image's cohort, as the store keeps them.

`orchestrator.pick.decide` makes the decisions and reads them back. The report reads them unchanged.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.names import Name
from workers.tiles import Tiling

DECISIONS: RecordFormat[dict[str, Any]] = RecordFormat("the decision", dict[str, Any], (same_fields,))
"""How an arm chose: the fields of `orchestrator.pick.decide.Decision`, ``cohort`` (a list of candidate and score) and
``ended_by_halving`` (names). Format 0: the same fields without a number.
"""


TILINGS = RecordFormat("the tiles of an image", Tiling, ())
"""The tiles of an image that is cut: decided once, since machines differ in memory."""


@dataclass(frozen=True)
class Rung:
    """The members of a cohort that went on from a rung, and the held-out errors that decided it."""

    held_out_errors: Mapping[Name, float]
    go_on: Sequence[Name]


RUNGS = RecordFormat("the decision at a rung", Rung, (same_fields,))
"""Format 0: the same fields without a number."""
