"""Fits by words that say how they are run. One of these comes first:

- ``plain``: the loop of the research code, `benchmarks.fit.plain_loop`;
- ``ours``: `workers.fitting.Fit`, every operation started from Python;
- ``graph``: the same, recorded as a CUDA graph and replayed (`workers.recording`); on a CPU nothing is recorded;

and any of these follow:

- ``fp32``: convolutions without TF32, which PyTorch uses by default;
- ``bf16``: autocast to bfloat16 (not plain);
- ``tuned``: cuDNN tries its algorithms at the first step, and keeps the fastest (`torch.backends.cudnn.benchmark`);
- ``contiguous``: memory in PyTorch's own order instead of channels last (not plain);
- ``deterministic``: as with the setting `fit.deterministic` (not plain);
- ``unfilled``: PyTorch does not fill new memory with NaN, which it does while operations must be deterministic;
- ``compiled``: the network goes through `torch.compile` first (not plain).
"""

from collections.abc import Callable, Sequence

import torch

from benchmarks.fit import measurement, picture, plain_loop
from workers.fitting import Fit, FitSettings
from workers.networks import prior_of
from workers.networks.steps import Step
from workers.objective import Measurement
from workers.operators import Identity
from workers.precision import Precision
from workers.seeds import generator_of

NEVER = 10**9


def fit_of(
    prior: str,
    measured: Measurement,
    width: int,
    device: str,
    how: str,
    *,
    seeds: Sequence[object] = (),
    iterations: int = NEVER,
    patience: int = NEVER,
) -> Fit:
    """A fit by words other than ``plain``; PyTorch's switches stay as they want them."""
    kind, *rest = how.split()
    words = set(rest)
    set_switches(words)
    network = prior_of(prior).build(3, width, input_channels=3, generator=generator_of("benchmark", *seeds))
    settings = FitSettings(
        iterations=iterations,
        patience=patience,
        deterministic="deterministic" in words,
        step=Step.GRAPH if kind == "graph" else Step.TORCH,
        precision=Precision.FP32 if "fp32" in words else Precision.BF16 if "bf16" in words else Precision.TF32,
    )
    fit = Fit(network, measured, Identity(), settings, seed=0, device=device)
    if "contiguous" in words:
        fit.network.to(memory_format=torch.contiguous_format)
    if "compiled" in words:
        fit.network = torch.compile(fit.network, dynamic=False)
    return fit


def runner(prior: str, side: int, width: int, device: str, how: str) -> Callable[[int], object]:
    """A function that runs so many iterations in the way that ``how`` says."""
    kind, *words = how.split()
    if kind == "plain":
        set_switches(set(words))
        return plain_loop(prior, side, width, device)
    return fit_of(prior, measurement(picture(side)), width, device, how).advance


def set_switches(words: set[str]) -> None:
    """Set PyTorch's switches; what is recorded with them stays as it is."""
    torch.backends.cudnn.allow_tf32 = "fp32" not in words
    torch.backends.cudnn.benchmark = "tuned" in words
    torch.utils.deterministic.fill_uninitialized_memory = "unfilled" not in words
