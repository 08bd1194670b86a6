"""What a run without any fault leaves of every image, to compare a history with."""

import json
from collections.abc import Mapping
from typing import Any

from orchestrator.run.inputs import InputImage
from tests.simulation.driving import LAYOUT
from tests.simulation.store import Held

_OF_TIME = ("seconds", "arrays", "finished", "at")
"""Fields that differ between equal runs: how long something took. Arrays are compared by what is made of them."""


def left_of(held: Mapping[str, Held], image: InputImage, *, gpu: bool) -> dict[str, Any]:
    """What there is of an image, by its key: rows, decisions, packed record, tickets, scores and restored files."""
    found: dict[str, Any] = {}
    for key, each in held.items():
        if not key.startswith(f"{LAYOUT.root}/"):
            continue
        kind, _, rest = key.removeprefix(f"{LAYOUT.root}/").partition("/")
        if kind == "restored" and rest.rpartition("/")[2].startswith(image.restored):
            found[key] = None if gpu else each.data
        elif kind == "tickets" and rest.startswith(f"{image.id}/"):
            found[key] = each.data
        elif kind in ("rows", "picks", "rungs", "cohorts", "scores") and rest.startswith(image.id):
            found[key] = each.data if kind == "scores" else _timeless(json.loads(each.data))
    return found


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(each) for name, each in value.items() if name not in _OF_TIME}
    return [_timeless(each) for each in value] if isinstance(value, list) else value


def differences(found: dict[str, Any], calm: dict[str, Any]) -> list[str]:
    """The keys whose content differs, or that only one of the two has."""
    return sorted(key for key in {**found, **calm} if key not in found or key not in calm or found[key] != calm[key])
