"""Messages about mistakes in settings: one mistake a line, each with the name of the setting."""

import difflib
import re
from collections.abc import Mapping

from pydantic import ValidationError

from orchestrator.settings.config import Config, described_settings
from orchestrator.settings.section import names_at, setting_at
from orchestrator.text import shortened


def _unknown(setting: tuple[int | str, ...]) -> str:
    *section, wrong = map(str, setting)
    names = names_at(Config, section)
    everywhere = [name for name, _, _ in described_settings() if "[]" not in name]
    suggestions = [name for name in everywhere if name.endswith(f".{wrong}")]
    suggestions += [".".join([*section, near]) for near in difflib.get_close_matches(wrong, names, n=1, cutoff=0.5)]
    if suggestions:
        return f"{'.'.join(map(str, setting))}: no such setting; did you mean {suggestions[0]}?"
    return f"{'.'.join(map(str, setting))}: no such setting; known here: {', '.join(names)}"


def describe(error: ValidationError) -> list[str]:
    """All mistakes that pydantic found, one a line, each with the setting's name."""
    details = [(setting_at(Config, detail["loc"]), detail) for detail in error.errors(include_url=False)]
    # Where a list was meant, the mistake within it is more useful than that it is no number.
    parents = {
        setting[:end]
        for setting, _ in details
        for end in range(1, len(setting))
        if all(isinstance(key, int) for key in setting[end:])
    }
    messages: dict[tuple[int | str, ...], list[str]] = {}
    for setting, detail in details:
        if detail["type"] == "extra_forbidden":
            messages[setting] = [_unknown(setting)]
        elif setting not in parents:
            message = detail["msg"].removeprefix("Value error, ")
            messages.setdefault(setting, []).append(message[0].lower() + message[1:])
    lines = []
    inputs = {setting: detail["input"] for setting, detail in details if detail["type"] != "value_error"}
    for setting, texts in messages.items():
        name = ".".join(map(str, setting))
        prefix = f"{name}: " if name and not texts[0].startswith(name) else ""
        given = (
            f", not {shortened(repr(inputs[setting]))}"
            if setting in inputs and "no such setting" not in texts[0]
            else ""
        )
        lines.append(prefix + " or ".join(dict.fromkeys(texts)) + given)
    return lines


def as_typed(mistake: str, typed: Mapping[str, str]) -> str:
    """A mistake by the option that the user typed; ``typed`` has options by the settings that they stand for."""
    for setting, option in typed.items():
        named = re.match(rf"(--set )?{re.escape(setting)}(\.\d+)*: ", mistake)
        if named is not None:
            return f"{option}: {mistake[named.end() :]}"
    return mistake
