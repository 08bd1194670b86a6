"""Effort and task options: few words that stand for many settings.

An effort is a set of sizes: how many candidates are scored, how many networks are fitted, how wide they are and how
long they are fitted. The sizes of ``quick`` are those of configs/quickstart.yaml; the sizes of ``standard`` are the
papers', those of configs/TASK.yaml where there is one and else of configs/denoise.yaml; ``thorough`` has what
`_THOROUGH` adds to them. Where nothing else says which arms, ``quick`` fits a portfolio: at its sizes that restores as
well as a search, for less (docs/results.md). Who sets what only a search has, such as ``score.candidates``, gets one.

Settings come from four places. A later one overrides an earlier one: the file of ``--config``, ``--effort``, the
options of the task, ``--set``.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, Literal, get_args

from pydantic import ValidationError

from orchestrator.errors import ConfigError, UserMistakeError
from orchestrator.settings.config import Config
from orchestrator.settings.files import find_config, read_yaml, shipped_configs
from orchestrator.settings.reading import apply_assignment, change, resolve

Effort = Literal["quick", "standard", "thorough"]
EFFORTS: tuple[Effort, ...] = get_args(Effort)

TASK_OPTIONS = ("sigma", "factor", "kernel", "quality", "measurements", "matrix")
"""The settings of tasks that have an option of their own."""

_SIZES = (
    *("network.width", "score.candidates", "score.draws", "cohort.size", "cohort.crop_px", "cohort.iterations"),
    *("fit.iterations", "fit.patience", "fit.average", "fit.block", "pick.full_fits"),
)
"""The settings that an effort decides."""

_SEARCH = ("score", "cohort")
"""The sections of settings that are a search's, but for `_ANY_ARM`."""
_ANY_ARM = "cohort.budget"

_THOROUGH: Mapping[str, int] = {"score.candidates": 2000, "cohort.size": 30, "pick.full_fits": 5}


@dataclass(frozen=True)
class Sizing:
    """The effort of a run, and the reason for it; None where a file of settings or another run decides the sizes."""

    effort: Effort | None
    why: str
    settings: str


@dataclass(frozen=True)
class Wanted:
    """The settings that a user asks for.

    Attributes:
        base: a file of settings or the name of one that ships, or the settings of another run; None leaves the sizes to
            the effort.
        effort: the sizes by name; None leaves them to ``base``.
        task: the task's ``name`` and options by name (`TASK_OPTIONS`), those that are given.
        assignments: settings of the form ``a.b=value``.
        arms: names with commas between them; None leaves the arms to the settings.
        trust: whether ``base``, if it is another run's, may name code to be imported.
        typed: options by the settings that they stand for, beside those of the task; these override ``assignments``.
    """

    base: str | Config | None = None
    effort: Effort | None = None
    task: Mapping[str, object] = field(default_factory=dict)
    assignments: Sequence[str] = ()
    arms: str | None = None
    trust: bool = False
    typed: Mapping[str, str] = field(default_factory=dict)

    def resolve(self, effort: Effort | None) -> Config:
        """Resolve the settings with the sizes of an effort; None takes those of ``base``.

        Raises:
            ConfigError: the settings hold mistakes; the message lists them all.
            UserMistakeError: an option does not belong to the task.
        """
        task = self._task_name()
        base: str | Config = self.base if self.base is not None else file_of(effort or "quick", task)
        sizes = [] if effort is None else _sizes(effort, task)
        assignments = [*self._portfolio(effort), *sizes, *self._task_assignments(), *self.assignments]
        if isinstance(base, Config):
            config = change(base, assignments, trust=self.trust, typed=self._typed())
        else:
            config = resolve(base, assignments, arms=self.arms, typed=self._typed())
        self._check_options(config)
        return config

    def resources(self) -> Config:
        """Resolve only the settings for the machines, all others at their defaults, to choose an effort by.

        Where these hold a mistake, they are at their defaults too; `resolve` reports it.
        """
        try:
            return Config.model_validate({"resources": self._raw().get("resources", {})})
        except ValidationError:
            return Config()

    def _raw(self) -> dict[str, Any]:
        """The settings as they are given, before any check and without sizes."""
        if isinstance(self.base, Config):
            settings = self.base.model_dump(mode="json")
        else:
            settings = {} if self.base is None else read_yaml(find_config(self.base))
        for assignment in (*self._task_assignments(), *self.assignments):
            apply_assignment(settings, assignment)
        return settings

    def _task_name(self) -> str:
        task = self._raw().get("task")
        name = task.get("name") if isinstance(task, dict) else None
        return name if isinstance(name, str) else "denoise"

    def _task_assignments(self) -> list[str]:
        return [f"task.{name}={json.dumps(value)}" for name, value in self.task.items()]

    def _typed(self) -> dict[str, str]:
        """Options by the settings that they decide: what ``--set`` overrides is not theirs."""
        overridden = {assignment.partition("=")[0].strip() for assignment in self.assignments}
        options = {} if "task" in overridden else {f"task.{name}": name for name in self.task}
        named = {setting: f"--{'task' if name == 'name' else name}" for setting, name in options.items()}
        return {setting: option for setting, option in named.items() if setting not in overridden} | dict(self.typed)

    def _portfolio(self, effort: Effort | None) -> list[str]:
        """The arm of an effort, where it has one and neither arms nor anything of a search were asked for."""
        names = [assignment.partition("=")[0].strip() for assignment in self.assignments]
        searches = any(name.partition(".")[0] in _SEARCH and name != _ANY_ARM for name in names)
        asked = self.base is not None or self.arms is not None or searches
        return ['arms=["portfolio"]'] if effort == "quick" and not asked else []

    def _check_options(self, config: Config) -> None:
        # Imported here: --help needs no arrays.
        from workers.tasks import TASKS  # noqa: PLC0415

        for option in self.task:
            tasks = [name for name, task in TASKS.items() if option in signature(task).parameters]
            if option in TASK_OPTIONS and config.task.name not in tasks:
                theirs = " or ".join(f"--task {task}" for task in tasks)
                raise UserMistakeError(f"--{option}: the task is {config.task.name}; this option goes with {theirs}")


def wanted_of(what: Mapping[str, Any], assignments: Sequence[str], *, arms: str | None = None) -> Wanted:
    """The settings that a user asks for by the options of `orchestrator.api.What`, and by further assignments."""
    options = {"name": what.get("task"), **{name: what.get(name) for name in TASK_OPTIONS}}
    config = what.get("config")
    return Wanted(
        None if config is None else str(config),
        check_effort(what.get("effort")),
        {name: value for name, value in options.items() if value is not None},
        assignments,
        arms,
    )


def file_of(effort: Effort, task: str) -> str:
    """The name of the shipped settings that an effort takes its sizes from."""
    if effort == "quick":
        return "quickstart"
    return task if (shipped_configs() / f"{task}.yaml").is_file() else "denoise"


def check_effort(name: str | None) -> Effort | None:
    """The effort of this name.

    Raises:
        ConfigError: there is none.
    """
    for effort in EFFORTS:
        if name == effort:
            return effort
    if name is not None:
        raise ConfigError(f"effort: there is no {name!r}; there are: {', '.join(EFFORTS)}")
    return None


def _sizes(effort: Effort, task: str) -> list[str]:
    """The sizes of an effort, as assignments."""
    settings = resolve(file_of(effort, task)).model_dump(mode="json")
    values = {name: settings[name.partition(".")[0]][name.partition(".")[2]] for name in _SIZES}
    if effort == "thorough":
        values |= _THOROUGH
    return [f"{name}={json.dumps(value)}" for name, value in values.items()]
