"""Settings: everything that the run was made with."""

import json
from collections.abc import Iterator, Mapping

from orchestrator.report.contents import Page
from orchestrator.report.sections import Section


def _fill(page: Page) -> list[tuple[str, list[tuple[str, str]]]]:
    return grouped(page.report.settings)


def grouped(settings: Mapping[str, object]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The settings by their first name, each with the dotted rest of its name and its value as in YAML."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for path, value in _flat(settings):
        top, rest = (path[0], ".".join(path[1:])) if len(path) > 1 else ("", path[0])
        groups.setdefault(top, []).append((rest, _written(value)))
    return sorted(groups.items(), key=lambda group: group[0] != "")


def _flat(settings: Mapping[str, object], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    for key, value in settings.items():
        path = (*before, str(key))
        if isinstance(value, Mapping) and value:
            yield from _flat(value, path)
        else:
            yield path, value


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


SECTION = Section("settings", 60, _fill)
