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


_LONGEST = 4 * 2**20
_MOST_VALUES = 100_000
"""Of a file of settings, with all that its aliases repeat. A list of all candidates has some ten thousand."""
_DEEPEST = 30


def parse_yaml(text: str) -> Any:
    """Plain values from text in YAML, of a size that settings have.

    Raises:
        ConfigError: the text is no YAML, gives a name twice, or unpacks to far more than settings hold: a few lines
            with aliases of aliases would fill all memory.
    """
    if len(text) > _LONGEST:
        raise ConfigError(f"it is longer than settings are: {len(text)} characters, and {_LONGEST} are allowed")
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        if tree is not None:
            _count(tree, {}, 0)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        # Its constructors raise errors of their own: for dates like 2020-13-45, numbers like 0x_, deep nesting.
        raise ConfigError(shortened(" ".join(str(error).split()), 200)) from None


def _count(node: yaml.Node, counted: dict[int, int], depth: int) -> int:
    """How many values a node unpacks to; ``counted`` has those that were seen, and 0 for those that hold this one.

    Raises:
        ConfigError: see `parse_yaml`.
    """
    if id(node) not in counted:
        counted[id(node)] = 0
        inner: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            _check_names(node)
            inner = [part for pair in node.value for part in pair]
        elif isinstance(node, yaml.SequenceNode):
            inner = node.value
        if depth > _DEEPEST:
            raise ConfigError(f"it is nested more than {_DEEPEST} deep, in line {node.start_mark.line + 1}")
        counted[id(node)] = 1 + sum(_count(part, counted, depth + 1) for part in inner)
    size = counted[id(node)]
    if not 0 < size <= _MOST_VALUES:
        wrong = "contains itself" if size == 0 else f"unpacks to more than {_MOST_VALUES} values"
        raise ConfigError(f"what begins in line {node.start_mark.line + 1} {wrong}")
    return size


def _check_names(node: yaml.MappingNode) -> None:
    """Check that a mapping gives each name once; YAML says so, and PyYAML would take the last one silently.

    Raises:
        ConfigError: a name is given twice.
    """
    lines: dict[str, int] = {}
    for name, _ in node.value:
        if isinstance(name, yaml.ScalarNode) and name.tag != "tag:yaml.org,2002:merge":
            line = name.start_mark.line + 1
            if name.value in lines:
                raise ConfigError(f"{shortened(name.value)!r} is given twice, in lines {lines[name.value]} and {line}")
            lines[name.value] = line


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
