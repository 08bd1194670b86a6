"""The settings of a run from a file, from ``--set a.b=value`` and from ``--arms``.

Every mistake is reported at once, and an unknown key with the nearest name that exists. The resolved settings are
stored with the run.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.settings.arms import ARM_NAMES
from orchestrator.settings.config import Config
from orchestrator.settings.files import find_config, parse_yaml, read_yaml
from orchestrator.settings.mistakes import as_typed, describe
from orchestrator.settings.trust import Stored, words_in
from orchestrator.text import printable, shortened

DEFAULT = "quickstart"
NOT_TYPED: Mapping[str, str] = {}
"""No setting was given by an option of its own."""
Assigned = Mapping[str, object] | Iterable[str]
"""Settings by dotted name, ``{"fit.iterations": 600}``, or as the command line has them, ``["fit.iterations=600"]``."""


def assignments_of(settings: Assigned) -> list[str]:
    """The settings as the command line has them.

    Raises:
        ConfigError: they are one text.
    """
    if isinstance(settings, str):
        raise ConfigError(f"settings: give a dictionary or a list, such as [{settings!r}]")
    if isinstance(settings, Mapping):
        return [f"{name}={json.dumps(value)}" for name, value in settings.items()]
    return list(settings)


def apply_assignment(settings: dict[str, Any], assignment: str) -> str | None:
    """Put ``a.b=value`` into nested settings; returns what is wrong with the assignment, if anything."""
    path, equals, text = assignment.partition("=")
    keys = path.strip().split(".")
    if not equals or not all(keys):
        return f"--set {shortened(assignment)}: write it as name.name=value, such as fit.iterations=600"
    try:
        value = parse_yaml(text)
    except ConfigError:
        return f"--set {path}: {shortened(text)!r} is not a value"
    place = settings
    for key in keys[:-1]:
        inner = place.get(key)
        if not isinstance(inner, dict):
            inner = place[key] = {}
        place = inner
    place[keys[-1]] = value
    return None


def _choose_arms(settings: dict[str, Any], names: list[str]) -> list[str]:
    """Put the arms of these names into the settings; returns what is wrong with the names."""
    given = settings.get("arms")
    described = (
        {arm["name"]: arm for arm in given if isinstance(arm, dict) and isinstance(arm.get("name"), str)}
        if isinstance(given, list)
        else {}
    )
    known = list(dict.fromkeys([*described, *ARM_NAMES]))
    if not names:
        return [f"--arms: name one at least; there are: {', '.join(known)}"]
    mistakes = [
        f"--arms: no arm is called {shortened(name)!r}; there are: {', '.join(known)}"
        for name in names
        if name not in known
    ]
    if not mistakes:
        settings["arms"] = [described.get(name, name) for name in names]
    return mistakes


def resolve(
    config_file: str = DEFAULT,
    assignments: Iterable[str] = (),
    *,
    arms: str | None = None,
    typed: Mapping[str, str] = NOT_TYPED,
) -> Config:
    """The settings of a file with ``--set`` assignments applied, and with these arms if there are any.

    ``arms`` has names with commas between them: of ours, or of those that the settings describe. ``typed`` are options,
    by the settings that were given by them: a mistake is told by the name that the user knows.

    Raises:
        ConfigError: with all mistakes, one a line.
    """
    settings = read_yaml(find_config(config_file))
    mistakes = [mistake for assignment in assignments if (mistake := apply_assignment(settings, assignment))]
    if arms is not None:
        mistakes += _choose_arms(settings, [name.strip() for name in arms.split(",") if name.strip()])
    return _validated(settings, mistakes, typed)


def change(config: Config, assignments: Sequence[str], *, trust: bool, typed: Mapping[str, str] = NOT_TYPED) -> Config:
    """The settings of a run in a store, with ``--set`` assignments applied; ``typed`` as in `resolve`.

    Without ``trust`` they may name code only where the assignments do (`orchestrator.settings.trust`).

    Raises:
        ConfigError: with all mistakes, one a line.
    """
    settings = config.model_dump(mode="json")
    given: dict[str, Any] = {}
    mistakes = [mistake for assignment in assignments if (mistake := apply_assignment(settings, assignment))]
    for assignment in assignments:
        apply_assignment(given, assignment)
    return _validated(settings, mistakes, typed, None if trust else Stored(frozenset(words_in(given))))


def _validated(
    settings: dict[str, Any], mistakes: list[str], typed: Mapping[str, str], context: Stored | None = None
) -> Config:
    try:
        config = Config.model_validate(settings, context=context)
    except ValidationError as error:
        mistakes = [*mistakes, *describe(error)]
    if mistakes:
        raise ConfigError("\n".join(printable(as_typed(mistake, typed)) for mistake in mistakes))
    return config
