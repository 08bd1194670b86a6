"""Restoration tasks, one a file: the forward model, how an observation is simulated, and the traits of the task.

A new task is a file here with a subclass of `Task`, a line in `TASKS`, and its settings in
``orchestrator/settings/task.py``, which have the names of the arguments of the class.
"""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from workers.tasks.compressed_sensing import CompressedSensing
from workers.tasks.deblur import Deblur
from workers.tasks.degrading import enlarge, measure, observe
from workers.tasks.denoise import Denoise
from workers.tasks.inpaint import Inpaint
from workers.tasks.jpeg import Jpeg
from workers.tasks.super_resolve import SuperResolve
from workers.tasks.task import Observation, PickRule, Task

__all__ = [
    "TASKS",
    "CompressedSensing",
    "Deblur",
    "Denoise",
    "Inpaint",
    "Jpeg",
    "Observation",
    "PickRule",
    "SuperResolve",
    "Task",
    "enlarge",
    "make_task",
    "measure",
    "observe",
]

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (Denoise, Inpaint, SuperResolve, Deblur, Jpeg, CompressedSensing)
}
"""All tasks by name. A class carries the traits of its task."""


def make_task(name: str, settings: Mapping[str, Any]) -> Task:
    """The task of this name, made from those settings that belong to it.

    Args:
        name: one of `TASKS`.
        settings: values by the names of the arguments of the class. None leaves an argument at its default.

    Raises:
        KeyError: there is no such task.
        ValueError: a value cannot be used.
    """
    task = TASKS[name]
    own = {name: settings[name] for name in signature(task).parameters if settings.get(name) is not None}
    return task(**own)
