"""The settings of a run: their names, units and ranges, and how they are read.

A section a file; `Config` holds them all, and `resolve` reads them.
"""

from orchestrator.settings.arms import ArmName, ArmSettings
from orchestrator.settings.cohort import Cohort, ViewName
from orchestrator.settings.config import Config, described_settings
from orchestrator.settings.files import find_config, shipped_configs
from orchestrator.settings.reading import DEFAULT, change, resolve
from orchestrator.settings.task import Task

__all__ = [
    "DEFAULT",
    "ArmName",
    "ArmSettings",
    "Cohort",
    "Config",
    "Task",
    "ViewName",
    "change",
    "described_settings",
    "find_config",
    "resolve",
    "shipped_configs",
]
