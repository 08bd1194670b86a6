"""Code of a user by its name: ``module:object``, or the entry point of an installed package."""

import difflib
import pkgutil
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any


def load(name: str, group: str, what: str, names: Sequence[str]) -> Callable[..., Any]:
    """The callable of this name. Importing a user's module runs the user's code.

    Args:
        name: The name.
        group: The group of the entry points.
        what: What it is, for the messages.
        names: The names that there are, for a name that is none.

    Raises:
        ValueError: there is none; its module cannot be imported; the object it names cannot be called.
    """
    entries = entry_points(group=group)
    if ":" not in name and name not in entries.names:
        near = "".join(f"; did you mean {match!r}?" for match in difflib.get_close_matches(name, names, 1))
        there = f"there are: {', '.join(names)}, or your own" if names else "give your own as"
        raise ValueError(f"no {what} is called {name!r}{near}; {there} module:object")
    try:
        found = pkgutil.resolve_name(name) if ":" in name else entries[name].load()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"the {what} {name!r} cannot be loaded: {reason}") from error
    if not callable(found):
        raise ValueError(f"the {what} {name!r} is {type(found).__name__}, which cannot be called")
    function: Callable[..., Any] = found
    return function
