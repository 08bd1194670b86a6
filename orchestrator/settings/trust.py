"""Settings that reach beyond themselves: they name code that is imported, or a file that is read.

The settings of a user may do both. The settings that a run's record holds may not by themselves, because whoever may
write to the store may write the record. `Stored` is the context in which pydantic validates those.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.settings.config import Config


@dataclass(frozen=True)
class Stored:
    """The context of settings that come from a store.

    Attributes:
        own: the words that the user has given; they may name code and files.
        kept: whether the names of other code are kept without a look at the code; else they are refused.
    """

    own: frozenset[str] = frozenset()
    kept: bool = False


KEPT = Stored(kept=True)
"""Of a record that is only read."""


def may_import(name: str, context: object) -> bool:
    """Whether the code of this name may be imported now; False where the name is to be kept as it is.

    Raises:
        ValueError: the user has not given it; the message says what to do.
    """
    if not isinstance(context, Stored) or name in context.own:
        return True
    if context.kept:
        return False
    raise ValueError(
        f"the run's record names code, {name!r}, which would be imported and run; if you trust all who may write to the"
        " store, add --trust (in Python: trust=True), or give the setting yourself, by --set"
    )


def check_may_read(name: str, context: object) -> None:
    """Check that the file of this name may be read.

    Raises:
        ValueError: the settings come from a store, which holds what was read, and never a file's name.
    """
    if isinstance(context, Stored) and name not in context.own:
        raise ValueError(
            f"the run's record names {name!r}, which is no value of ours; a file of this machine is not read for it"
        )


def words_in(value: Any) -> Iterator[str]:
    """Every text in plain values."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from words_in(inner)
    elif isinstance(value, Iterable):
        for inner in value:
            yield from words_in(inner)


def code_settings(config: "Config") -> list[str]:
    """The settings that name code, as assignments: with them another driver imports what this user has allowed."""
    from workers.metrics import is_ours  # noqa: PLC0415 - what it imports, --help does not need

    score = config.score.model_dump(mode="json", include={"metric", "also"})
    settings: dict[str, Any] = {f"score.{name}": value for name, value in score.items()}
    named = {name for name, value in settings.items() if not all(map(is_ours, words_in(value)))}
    if not all(arm.metric is None or is_ours(arm.metric) for arm in config.arms):
        settings["arms"] = config.model_dump(mode="json", include={"arms"})["arms"]
        named.add("arms")
    if config.classical.also:
        settings["classical.also"] = config.classical.also
        named.add("classical.also")
    if config.generators:
        settings["generators"] = config.model_dump(mode="json", include={"generators"})["generators"]
        named.add("generators")
    return [f"{name}={json.dumps(settings[name])}" for name in sorted(named)]
