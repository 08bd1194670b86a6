"""Metrics at initialisation by name: those of ISNAS-DIP, the loss a fit would begin with, and a user's own.

A metric is called as ``metric(degraded, output)`` on two (C, H, W) float32 arrays of equal shape, the measurement in
[0, 1] and what an untrained network makes of it, and returns a number; lower is better.

==========================  ====================================================================================
name                        metric
==========================  ====================================================================================
as in `spectra.METRICS`     of the spectra (arXiv 2111.15362, section 4)
task loss                   mean squared difference: the loss that a fit would begin with
random                      none: candidates in an order that knows nothing (`fingerprints.random_scores`)
package.module:object       a callable of a module that can be imported
any other                   a callable that an installed package offers as an entry point in `ENTRY_POINTS`
==========================  ====================================================================================
"""

from collections.abc import Callable
from functools import cache
from importlib.metadata import entry_points

from workers import spectra
from workers.plugins import load
from workers.spectra import METRICS, Array, Metric

MetricFunction = Callable[[Array, Array], float]

TASK_LOSS = "task loss"
RANDOM = "random"
LEARNT = "learnt"
WITHOUT_OUTPUTS = (RANDOM, LEARNT)
"""Metrics that need no network's output: they know only which candidate it is."""
ENTRY_POINTS = "dip_orchestrator.metrics"


def metric_names() -> tuple[str, ...]:
    """The names there are: the project's, then the entry points of installed packages in alphabetical order."""
    return (*METRICS, TASK_LOSS, *WITHOUT_OUTPUTS, *sorted(entry_points(group=ENTRY_POINTS).names))


def is_ours(name: str) -> bool:
    """Whether a metric is the project's own; any other is code of somebody else."""
    return name in METRICS or name in (TASK_LOSS, *WITHOUT_OUTPUTS)


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
    if name in WITHOUT_OUTPUTS:
        raise ValueError(f"the metric {name!r} compares nothing, so there is nothing to call")
    function: MetricFunction = load(name, ENTRY_POINTS, "metric", metric_names())
    return function


def uses_image(name: str) -> bool:
    """Whether a metric looks at the degraded image: the low-pass metrics and ``random`` do not.

    Raises:
        ValueError: as `resolve_metric`.
    """
    if name in WITHOUT_OUTPUTS:
        return False
    metric = resolve_metric(name)
    return not isinstance(metric, Metric) or metric.uses_image
