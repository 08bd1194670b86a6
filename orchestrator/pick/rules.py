"""The rules that pick one network of a cohort without seeing the clean image: pure functions of `Member` values.

No field of a member depends on a clean reference.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.arms.arm import HEARS_HELD_OUT, Rule
from workers.names import FitName

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Member:
    """A fitted member of a cohort as the rules may see it; ``score`` is its metric at initialisation, lower is better.

    ``output`` is its restored view (C, H, W), for the rules that look at images.
    """

    name: FitName
    score: float
    held_out_error: float | None
    output: Array | None = None


def _outputs(members: Sequence[Member]) -> Array:
    return np.stack([member.output for member in members if member.output is not None])


def _distances(outputs: Array, centre_of: Callable[[Array], NDArray[Any]]) -> list[float]:
    """Return the mean squared distance of each output (K, C, H, W) to their common centre.

    It is computed row by row to save memory, because a cohort may have hundreds of members.
    """
    sums = np.zeros(len(outputs))
    for row in range(outputs.shape[2]):
        rows = outputs[:, :, row]
        sums += np.square(rows - centre_of(rows), dtype=np.float64).sum(axis=(1, 2))
    distances: list[float] = (sums / outputs[0].size).tolist()
    return distances


def _held_out(members: Sequence[Member]) -> list[float]:
    """Return the held-out errors. They estimate true error plus noise variance, which is the same for all members.

    An image that is too small to hold pixels out has no such errors; the scores replace them.
    """
    if any(member.held_out_error is None for member in members):
        return [member.score for member in members]
    return [member.held_out_error or 0.0 for member in members]


def _from_median(members: Sequence[Member]) -> list[float]:
    """Return the mean squared distance to the outputs' pixelwise median: an output far from the others is likely
    wrong."""
    return _distances(_outputs(members), partial(np.median, axis=0))


def _from_weighted_mean(members: Sequence[Member]) -> list[float]:
    """Return the distance to the weighted mean of the outputs, the rule of ISNAS-DIP (arXiv 2111.15362, section 4.3).

    The weights are (max - m) / (max - min) of the metric m; if all m are equal, so are the weights.
    """
    scores = np.array([member.score for member in members], dtype=np.float64)
    spread = scores.max() - scores.min()
    weights = (scores.max() - scores) / spread if spread > 0 else np.ones_like(scores)
    return _distances(_outputs(members), partial(np.average, axis=0, weights=weights))


def _both(members: Sequence[Member]) -> list[float]:
    """Return the sum of both ranks, for tasks whose held-out pixels see only part of the restored image
    (super-resolution)."""
    # Imported here: it takes longer than all else that a process needs which picks, and few images need it.
    from scipy.stats import rankdata  # noqa: PLC0415

    ranks: list[float] = (rankdata(_held_out(members)) + rankdata(_from_median(members))).tolist()
    return ranks


_RULES: dict[Rule, Callable[[Sequence[Member]], list[float]]] = {
    "held-out": _held_out,
    "consensus": _from_median,
    "held-out+consensus": _both,
    "weighted-mean": _from_weighted_mean,
}


def values_by(rule: Rule, members: Sequence[Member]) -> list[float]:
    """Return a rule's value of each member; lower is better.

    All rules but ``held-out`` need the members' outputs, of equal shape.
    """
    return _RULES[rule](members) if members else []


def order_by(rule: Rule, members: Sequence[Member]) -> list[FitName]:
    """Return the members' names, best first; equal ones keep their order. See `values_by`."""
    return [members[at].name for at in np.argsort(values_by(rule, members), kind="stable")]


def final_order(rule: Rule, fitted: Sequence[Member]) -> list[FitName]:
    """Return the final order of the best few, which are given in the cohort's order, after their fits at full size.

    Their held-out errors at full size decide: they cover more pixels, and these fits become the result. For
    super-resolution the consensus of the few counts too, because a fit may go wrong where no low-resolution pixel shows
    it. Rules that do not use held-out pixels keep the cohort's order.
    """
    return order_by(rule, fitted) if rule in HEARS_HELD_OUT else [member.name for member in fitted]
