"""What the figures of a run depend on, beside its settings: the versions and the machine of a driver."""

import platform
from importlib.metadata import version
from typing import Any

import torch

from orchestrator.resources.cpus import cpu_count
from orchestrator.resources.share import Resources
from orchestrator.run.versions import project_version


def machine_facts(resources: Resources) -> dict[str, Any]:
    """Describe the machine and the versions that the figures of a run depend on."""
    return {
        "dip-orchestrator": project_version(),
        "python": platform.python_version(),
        **{package: version(package) for package in ("torch", "ray", "numpy", "scipy", "scikit-image")},
        "system": platform.platform(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "cpus": cpu_count(),
        "device": resources.device,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads_per_trial": resources.threads,
        "parallel_trials": resources.parallel,
        "gpus_per_trial": "by memory" if resources.gpus is None else resources.gpus,
    }
