"""The effort of a run: as asked, or chosen to suit the machines."""

from orchestrator.plan.make import Resolve
from orchestrator.resources.share import Resources
from orchestrator.settings import Config
from orchestrator.settings.effort import Effort, Sizing, Wanted, file_of

_STANDARD_GPU_BYTES = 8e9
"""Standard sizes are chosen for GPUs with at least this memory: networks of 128 channels take about 20 kB per pixel."""


def choose_effort(wanted: Wanted, resolve: Resolve | None) -> tuple[Sizing, Config]:
    """Choose the sizes of a run and resolve its settings with them.

    If the user names an effort or a file of settings, that counts. Otherwise a run gets ``standard`` sizes if its fits
    use GPUs with 8 GB of memory or more. It gets ``quick`` sizes elsewhere: on a CPU, on smaller GPUs, and if the
    machines are unknown (``resolve`` is None). ``thorough`` is never chosen.

    Raises:
        UserMistakeError: the settings hold mistakes, or ask for more than the machines have.
    """
    if wanted.effort is not None or wanted.base is not None:
        effort, why = wanted.effort, "as asked"
    elif resolve is None:
        effort, why = "quick", "the cluster's machines are not known from here; --effort standard is for GPUs"
    else:
        effort, why = _suited(resolve(wanted.resources()))
    config = wanted.resolve(effort)
    if isinstance(wanted.base, str):
        name = wanted.base
    else:
        name = "those of the other run" if effort is None else file_of(effort, config.task.name)
    return Sizing(effort, why, name), config


def _suited(resources: Resources) -> tuple[Effort, str]:
    """Return the effort that suits the machines, and why. A GPU of unknown memory belongs to a cluster and counts as
    large."""
    if resources.device == "cpu":
        return "quick", "fits run on the CPU here; --effort standard is for GPUs"
    if 0 < resources.gpu_memory < _STANDARD_GPU_BYTES:
        memory = f"{resources.gpu_memory / 1e9:.0f} GB"
        return (
            "quick",
            f"the GPU has {memory} of memory; --effort standard is for {_STANDARD_GPU_BYTES / 1e9:.0f} GB or more",
        )
    return "standard", "fits run on GPUs here; --effort quick tries it out in minutes"
