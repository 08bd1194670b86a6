"""Which way the steps of a fit are computed (`workers.networks.steps`), settled once for each fit.

The ways differ by rounding, so all attempts at a fit must take the same one, whichever machine they are on. On a CPU
the fastest is found by the clock. So the answer goes to the store before it is used; the first one counts.
"""

import torch

from orchestrator.errors import NotFoundError
from orchestrator.fit.cost import fitted_sides
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import STEP_RECORDS, StepRecord, fit_keys
from orchestrator.run.context import RunContext
from workers.networks import Network, parameter_count
from workers.networks.steps import Step, usual_step
from workers.networks.trial import fastest_step, is_worth_a_trial

_RECORDED = 5
"""The first rules whose steps on a GPU are recorded and replayed."""

_QUICK = 4
"""The first rules (`InputImage.rules`) whose steps on a CPU are not all PyTorch's own operations."""

_LONG_FIT = 100
"""The iterations from which a trial pays. Shorter fits, and those of small steps, are computed in the usual way."""


_found: dict[tuple[object, ...], Step] = {}
"""What trials of this process have found."""


def step_of(context: RunContext, job: FitJob, network: Network, iterations: int) -> Step:
    """Return the way to compute the steps of a fit.

    Args:
        context: The run.
        job: The fit.
        network: Its network; it is left as it is.
        iterations: The largest number of iterations.
    """
    wanted = context.config.fit.step
    if context.device != "cpu":
        recorded = wanted in ("auto", Step.GRAPH) and job.image.rules >= _RECORDED
        return Step.GRAPH if recorded else Step.TORCH
    if job.image.rules < _QUICK:
        return Step.TORCH
    if wanted not in ("auto", Step.GRAPH):
        return Step(wanted)
    sides = fitted_sides(context.config, job.fitted, job.view)
    if iterations < _LONG_FIT or not is_worth_a_trial(network, *sides):
        return usual_step(context.device)
    store, key = context.store, fit_keys(context, job).step
    try:
        return Step(STEP_RECORDS.read(store, key).step)
    except NotFoundError:
        found = StepRecord(_fastest(network, job.name.network, sides).value)
        return Step(STEP_RECORDS.create_or_read(store, key, found).step)


def _fastest(network: Network, name: str, sides: tuple[int, int]) -> Step:
    # A fit of another image by an equal network is not tried again.
    alike = (name, parameter_count(network), sides, torch.get_num_threads())
    if alike not in _found:
        _found[alike] = fastest_step(network, *sides)
    return _found[alike]
