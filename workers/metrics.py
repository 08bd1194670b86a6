"""Metrics at initialisation by name: those of ISNAS-DIP, the loss a fit would begin with, and a user's own.

A metric is called as ``metric(degraded, output)`` on two (C, H, W) float32 arrays of equal shape, the measurement in
[0, 1] and what an untrained network makes of it, and returns a number; lower is better.

==========================  ==================================================================================== name
metric ==========================  ====================================================================================
as in `spectra.METRICS`     of the spectra (arXiv 2111.15362, section 4) task loss                   mean squared
difference: the loss that a fit would begin with random                      none: candidates in an order that knows
nothing (`fingerprints.random_scores`) package.module:object       a callable of a module that can be imported any other
a callable that an installed package offers as an entry point in `ENTRY_POINTS` ==========================
====================================================================================
"""

import difflib
import pkgutil
from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from workers import spectra
from workers.spectra import METRICS, Array, Metric

MetricFunction = Callable[[Array, Array], float]

TASK_LOSS = "task loss"
RANDOM = "random"
ENTRY_POINTS = "dip_orchestrator.metrics"


def metric_names() -> tuple[str, ...]:
    """The names there are: the project's, then the entry points of installed packages in alphabetical order."""
    return (*METRICS, TASK_LOSS, RANDOM, *sorted(entry_points(group=ENTRY_POINTS).names))


def is_ours(name: str) -> bool:
    """Whether a metric is the project's own; any other is code of somebody else."""
    return name in METRICS or name in (TASK_LOSS, RANDOM)


@cache
def resolve_metric(name: str) -> MetricFunction:
    """The metric of this name.

    A name that the project uses itself is never looked up elsewhere. Importing a user's module runs the user's code.

    Raises:
        ValueError: there is none; its module cannot be imported; the object it names cannot be called. ``random`` has
            no function either: it does not compare.
    """
    if name in METRICS:
        return spectra.metric(name)
    if name == TASK_LOSS:
        return Metric(name, quantity="", distance=spectra.mse, bandwidth=None)
    if name == RANDOM:
        raise ValueError(f"the metric {name!r} compares nothing, so there is nothing to call")
    entries = entry_points(group=ENTRY_POINTS)
    if ":" not in name and name not in entries.names:
        names = metric_names()
        near = "".join(f"; did you mean {match!r}?" for match in difflib.get_close_matches(name, names, 1))
        raise ValueError(
            f"no metric is called {name!r}{near}; there are: {', '.join(names)}, or your own module:object"
        )
    try:
        found = pkgutil.resolve_name(name) if ":" in name else entries[name].load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"the metric {name!r} cannot be loaded: {reason}") from error
    if not callable(found):
        raise ValueError(f"the metric {name!r} is {type(found).__name__}, which cannot be called")
    function: MetricFunction = found
    return function


def uses_image(name: str) -> bool:
    """Whether a metric looks at the degraded image: the low-pass metrics and ``random`` do not.

    Raises:
        ValueError: as `resolve_metric`.
    """
    if name == RANDOM:
        return False
    metric = resolve_metric(name)
    return not isinstance(metric, Metric) or metric.uses_image
