"""Helpers of several of these tests."""

from pathlib import Path

import pytest

from orchestrator.errors import ConfigError
from orchestrator.settings import described_settings, resolve
from workers.space import upsamplers

GOOD = "158-1111101111001110001100001"


NAMES = [name for name, _, _ in described_settings()]


WIDE = f"{next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16).index}-{'0' * 25}"
"""A network that needs a width that is a multiple of 16."""


def mistakes(*assignments: str, file: str = "quickstart") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(file, assignments)
    return str(caught.value).split("\n")


def written(folder: Path, text: str, name: str = "settings.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def arm_mistakes(names: str, *assignments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve("quickstart", assignments, arms=names)
    return str(caught.value).split("\n")


MOVED = "{name: moved, like: lottery-imp, source: f16-5fb2ac1e}"
