"""Records in the store: JSON objects that carry the number of their format.

A record is a frozen dataclass in Python and a JSON object in the store, which has ``format`` besides its fields. The
number counts the changes that an older reader would misunderstand. One version reads the records of another as follows:

- A record of the present format is read by its fields' names. Unknown fields are ignored.
- An older one is brought up to date by a named function for each step. The first records carry no number: that is
  format 0.
- A newer one is refused with its name, its number and what to do. It is never taken for damage.

The model is the version number of Metaflow's stored artefacts.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from orchestrator.errors import DamagedError, NewerFormatError
from orchestrator.store import Store, create_or_read
from orchestrator.version import __version__
from workers.names import FitName

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")
Upgrade = Callable[[Any], Any]
"""Takes the JSON value of one format and returns that of the next."""


def same_fields(value: Any) -> Any:
    """An upgrade from format 0, where only the number was missing."""
    return value


def check_format(number: object, known: int, what: str) -> int:
    """The number itself, if it is a format that this version can read.

    Args:
        number: The number that was found.
        known: The highest number that this version knows.
        what: The kind of record and its place, for the message.

    Raises:
        NewerFormatError: the number is higher.
        ValueError: it is no number of a format.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        raise ValueError(f"{number!r} is no number of a format")
    if number > known:
        raise NewerFormatError(
            f"{what} has format {number}, and this version of dip-orchestrator ({__version__}) knows formats up to"
            f" {known}: a newer version has written it; install that version"
        )
    return number


class RecordFormat(Generic[T]):
    """How records of one kind are written and read.

    Args:
        kind: The kind of record, with its article, as it begins a message.
        shape: The type of the records: a dataclass, or a mapping.
        upgrades: A function for each older format, from format 0 on; the present format is their number.
        leave_out: Fields of the type that are no part of the record.
    """

    def __init__(
        self, kind: str, shape: type[T], upgrades: tuple[Upgrade, ...], *, leave_out: frozenset[str] = frozenset()
    ) -> None:
        self._kind, self._shape, self._upgrades, self._leave_out = kind, shape, upgrades, leave_out

    @property
    def number(self) -> int:
        """The present format."""
        return len(self._upgrades)

    @cached_property
    def _adapter(self) -> "TypeAdapter[T]":
        # Imported here, because a command that reads no record answers sooner without pydantic.
        from pydantic import TypeAdapter  # noqa: PLC0415

        return TypeAdapter(self._shape)

    def to_json(self, record: T, *, indent: int | None = None) -> bytes:
        """A record as JSON, its format first.

        Raises:
            ValueError: a figure is not finite.
        """
        kept = {name: _text_keys(value) for name, value in _plain(record).items() if name not in self._leave_out}
        return json.dumps({"format": self.number, **kept}, default=_shown, indent=indent, allow_nan=False).encode()

    def from_json(self, data: bytes | str, place: str = "") -> T:
        """A record back from JSON of the present format, or an older one.

        Args:
            data: The JSON.
            place: Where it was found, for the message.

        Raises:
            NewerFormatError: a newer version has written it.
            ValueError: this is no record of the kind; the message is one line.
        """
        from pydantic import ValidationError  # noqa: PLC0415 - see above

        try:
            value = json.loads(data)
        except RecursionError:
            raise ValueError("its brackets are nested too deep") from None
        found = value.get("format", 0) if isinstance(value, dict) else 0
        number = check_format(found, self.number, f"{self._kind} {place}".strip())
        try:
            for upgrade in self._upgrades[number:]:
                value = upgrade(value)
        except (TypeError, LookupError, AttributeError) as error:
            raise ValueError(f"a record of format {number} lacks what it needs: {error}") from None
        if not isinstance(value, dict):
            raise ValueError("it is no JSON object")
        kept = {name: each for name, each in value.items() if name != "format" and name not in self._leave_out}
        try:
            return self._adapter.validate_python(kept)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def from_store(self, data: bytes, place: str) -> T:
        """A record back from an object of the store, which was found at this place.

        Raises:
            NewerFormatError: a newer version has written it.
            DamagedError: the object is no record of the kind.
        """
        try:
            return self.from_json(data, place)
        except ValueError as error:
            raise DamagedError(
                f"{place} is damaged: it is not {self._kind} ({error}); put back a good copy, or delete it if it was"
                " computed, and resume the run"
            ) from None

    def read(self, store: Store, key: str) -> T:
        """A record from the store; see `from_store`.

        Raises:
            NotFoundError: the store has none.
        """
        return self.from_store(store.get(key), store.show(key))

    def create_or_read(self, store: Store, key: str, record: T, *, indent: int | None = None) -> T:
        """Write a record unless the store has one; returns the record that counts, which is the first."""
        return self.from_store(create_or_read(store, key, self.to_json(record, indent=indent)), store.show(key))


def _text_keys(value: Any) -> Any:
    """A mapping by names of fits as one by text, which `json` asks for; anything else as it is."""
    if isinstance(value, Mapping):
        return {str(key) if isinstance(key, FitName) else key: each for key, each in value.items()}
    return value


def _shown(value: Any) -> dict[str, Any] | str:
    """A name as text, anything else as `_plain` has it."""
    return str(value) if isinstance(value, FitName) else _plain(value)


def _plain(value: Any) -> dict[str, Any]:
    """A dataclass or mapping as a dictionary of its own level; `json` asks again for the levels below."""
    if isinstance(value, Mapping):
        return dict(value)
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    raise TypeError(f"a record cannot hold {value!r}")
