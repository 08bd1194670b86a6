"""Files of settings: those that ship with the package, and the user's own, as plain values."""

import os
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ConfigError
from orchestrator.text import printable, shortened


def shipped_configs() -> Path:
    """The folder of the settings that come with the package: in a wheel inside it, in a checkout next to it."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "configs", package.parent / "configs") if folder.is_dir())


def find_config(name: str) -> Path:
    """A file of settings: a path, or the name of one that ships (``denoise``, ``configs/denoise.yaml``).

    Raises:
        ConfigError: there is no such file.
    """
    path = Path(name)
    if os.path.isfile(path):  # noqa: PTH113 - pathlib raises for a name that is too long
        return path
    shipped = {file.stem: file for file in shipped_configs().glob("*.yaml")}
    if path.parent in (Path(), Path("configs")) and path.suffix in ("", ".yaml") and path.stem in shipped:
        return shipped[path.stem]
    raise ConfigError(f"no settings file {name!r}; these ship: {', '.join(sorted(shipped))}")


def parse_yaml(text: str) -> Any:
    """Plain values from text in YAML.

    Raises:
        ConfigError: the text is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        # Its constructors raise errors of their own: for dates like 2020-13-45, numbers like 0x_, deep nesting.
        raise ConfigError(shortened(" ".join(str(error).split()), 200)) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The settings of a file, as plain values by name.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (ConfigError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(printable(f"{path} cannot be read as YAML: {' '.join(str(error).split())}")) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold settings by name, such as 'fit:' and below it '  iterations: 600'")
    return content
