"""Memory limits for a fit, and advice if memory runs out."""

import contextlib
import os
from collections.abc import Iterator

import torch

from orchestrator.errors import FitOutOfMemoryError
from orchestrator.fit.job import FitJob
from orchestrator.resources.share import fit_bytes
from orchestrator.run.context import RunContext
from workers.views import view_size


@contextlib.contextmanager
def share_of_memory(context: RunContext, job: FitJob) -> Iterator[None]:
    """Limit the job, and what runs beside it, to their share of GPU memory; turn out-of-memory into an error that says
    which size would fit.

    Raises:
        FitOutOfMemoryError: there is too little memory.
    """
    if context.device != "cpu" and job.gpus:
        # Ray does not enforce shares of a GPU. This limit keeps a fit from taking the memory of another.
        torch.cuda.set_per_process_memory_fraction(1.0 if job.alone else min(1.0, job.gpus + job.beside))
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise FitOutOfMemoryError(_what_would_fit(context, job)) from None


def _is_out_of_memory(error: Exception) -> bool:
    # On a CPU only the text of torch's error shows it.
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)


def _what_would_fit(context: RunContext, job: FitJob) -> str:
    """Write the message, which says how large an image would fit into the memory that is free now."""
    config, scale = context.config, context.config.task.scale
    needed = fit_bytes(config, job.fitted, job.view, job.name)
    if context.device == "cpu":
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        torch.cuda.empty_cache()
        free, _ = torch.cuda.mem_get_info()
    crop, downscale = config.cohort.crop_px, config.cohort.downscale_px
    sides = view_size(job.view, job.fitted.height, job.fitted.width, crop_px=crop, downscale_px=downscale, scale=scale)
    height, length = (scale * side for side in sides)
    # More memory may be free now than a moment ago, but the advice must be smaller than the size that did not fit.
    side = min((0.8 * free / needed) ** 0.5, 0.7) * (height * length) ** 0.5
    return (
        f"out of memory: fitting {length}x{height} pixels takes about {needed / 1e9:.1f} GB, and"
        f" {free / 1e9:.1f} GB are free; {side:.0f}x{side:.0f} pixels would fit, or a lower network.width"
    )
