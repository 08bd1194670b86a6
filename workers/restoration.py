"""Restore one image in this process: one network, fitted once and stopped blind. No Ray, no store, no search.

    from workers import restore

    restored = restore(noisy)                              # (C, H, W) or (H, W), floats in [0, 1]
    restored.image, restored.held_out_error, restored.stop_iteration

`orchestrator.submit` searches for the network that suits an image; `restore` fits one that is named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workers.fitting import Fit, FitSettings
from workers.networks.priors import prior_of
from workers.objective import Measurement
from workers.seeds import generator_of, seed_of
from workers.stopping import rule_of
from workers.tasks import TASKS, Task, make_task, observe

_BLOCK = 50


@dataclass(frozen=True, eq=False)
class Restoration:
    """A restored image, and its measures that need no clean one.

    Attributes:
        image: the restored image, float32, with as many axes as the given one. It is about in [0, 1] and not clipped.
            For super-resolution its sides are the factor times as long.
        held_out_error: mean squared error, at the stop, on the observed pixels that were hidden from the fit until
            then. Where noise is independent from pixel to pixel, it is the true error plus the variance of the noise.
            None where no pixel could be hidden.
        stop_iteration: the iteration where the fit was stopped, counted from 1.
        iterations: how many iterations the fit has had, without the revealed ones.
        revealed: the iterations with all pixels that followed from the stop (`workers.reveal`); 0 where there were
            none.
        residual_correlation: how strongly the residual of the fit is correlated between neighbouring pixels; above 0.15
            the noise is probably not independent, and held-out pixels mislead. None where there are too few pixels.
        network: the name of the network.
    """

    image: NDArray[np.float32]
    held_out_error: float | None
    stop_iteration: int
    iterations: int
    revealed: int
    residual_correlation: float | None
    network: str


def restore(
    image: NDArray[np.floating[Any]],
    *,
    task: Task | str = "denoise",
    network: str | None = None,
    known: NDArray[np.bool_] | None = None,
    seed: int = 0,
    width: int = 128,
    settings: FitSettings | None = None,
    device: torch.device | str | None = None,
    on_progress: Callable[[int, float], None] = lambda iteration, error: None,
) -> Restoration:
    """Fit an untrained network to a degraded image, stop it blind, and let it go on a little with all pixels.

    Equal arguments give equal images on a CPU with the same number of threads. On a CPU the default width and
    iterations take hours for a large image: ``width=32, settings=FitSettings(iterations=1000, patience=150,
    average=0.98)`` takes minutes.

    Args:
        image: the degraded image, floats in [0, 1] with shape (channels, height, width), or (height, width) if it is
            grey.
        task: the degradation: a task of `workers.tasks`, or the name of one that needs no argument (``denoise``,
            ``inpaint``, ``super-resolve`` by 4, ``jpeg``).
        network: a name that `workers.networks.prior_of` knows; None takes the deep image prior's network for the task.
        known: inpainting: booleans (height, width), true where a pixel is known. Known pixels come back unchanged; the
            values of the others, even NaN, do not matter.
        seed: decides weights, noise and hidden pixels.
        width: channels of every scale of the network.
        settings: how the network is fitted; None takes the papers' 3,000 iterations with a patience of 300, and the
            stopping rule that suits the task.
        device: where it is fitted; None takes a GPU where there is one, else the CPU.
        on_progress: is called about every 50 iterations with their number and the held-out error at the best so far.

    Raises:
        TypeError: the image holds no floats, or the mask no booleans.
        ValueError: a shape or a value cannot be used, a mask is missing, or a task or a network is not known.
        FitDivergedError: the loss is no longer a finite number.
    """
    task = _task_of(task)
    pixels = _checked(image, known, task)
    observation = None if known is None else observe(pixels, known)
    observed = pixels if observation is None else observation.pixels
    name = task.prior if network is None else network
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    channels = len(pixels)
    built = prior_of(name).build(
        channels, width, input_channels=channels, generator=generator_of("restore weights", seed, name)
    )
    random = np.random.default_rng(seed_of("restore held-out", seed))
    rule = rule_of("auto", correlated=task.correlated_noise)
    fit = Fit(
        built,
        Measurement.hiding(observed, known, random, shaped=True),
        task.operator,
        settings or FitSettings(stopping=rule.name),
        seed=seed_of("restore fit", seed, name),
        device=device,
    )
    while not fit.finished:
        error = fit.advance(_BLOCK)
        on_progress(fit.iteration, error)
    result = fit.result()
    reveal = fit.reveal()
    while reveal is not None and not reveal.finished:
        reveal.advance(_BLOCK)
        on_progress(fit.iteration + reveal.iteration, result.held_out_error or 0.0)
    shown = None if reveal is None else reveal.output()
    output = result.output if shown is None else shown
    output = output if known is None else np.where(known, observed, output)
    return Restoration(
        output if image.ndim == 3 else output[0],
        result.held_out_error,
        result.stop_iteration,
        result.iterations,
        0 if reveal is None or shown is None else reveal.iterations,
        result.residual_correlation,
        name,
    )


def _task_of(task: Task | str) -> Task:
    if not isinstance(task, str):
        return task
    try:
        return make_task(task, {})
    except KeyError:
        raise ValueError(f"there is no task {task!r}; there are: {', '.join(TASKS)}") from None
    except TypeError:
        raise ValueError(f"the task {task!r} needs arguments; give the task itself, from workers.tasks") from None


def _checked(image: NDArray[np.floating[Any]], known: NDArray[np.bool_] | None, task: Task) -> NDArray[np.float32]:
    """The image as (C, H, W) float32."""
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"the image holds {image.dtype}; give floats in [0, 1] (8-bit values / 255)")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"the image has the shape {image.shape}; give (channels, height, width), or (height, width)")
    if image.ndim == 3 and image.shape[2] <= 4 < image.shape[0]:
        raise ValueError(f"the image has the shape {image.shape}, with channels last; give (channels, height, width)")
    pixels = np.asarray(image if image.ndim == 3 else image[None], dtype=np.float32)
    if known is None:
        if task.needs_masks:
            raise ValueError(f"the task {task.name} needs to know which pixels are known; give known")
        seen = pixels
    else:
        if known.dtype != np.bool_:
            raise TypeError(f"known holds {known.dtype}; give booleans, true where a pixel is known")
        if not task.needs_masks:
            raise ValueError(f"the task {task.name} has no missing pixels; known goes with task='inpaint'")
        if known.shape != pixels.shape[1:] or not known.any():
            raise ValueError(f"known has the shape {known.shape}; give {pixels.shape[1:]}, with a known pixel at least")
        seen = pixels[:, known]
    # Written so that NaN is refused too.
    if not (seen.min() >= 0 and seen.max() <= 1):
        raise ValueError("the image holds values that are not in [0, 1]")
    return pixels
