import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import __version__
from orchestrator.errors import NewerFormatError, StoreError
from orchestrator.run.formats import RecordFormat, same_fields
from orchestrator.run.names import Name
from orchestrator.store import LocalStore
from workers.names import Chain, PriorName


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Part:
    size: float


@dataclass(frozen=True)
class Thing:
    name: str
    colour: Colour = Colour.RED
    parts: Sequence[Part] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str | None = None


def _with_name(value: Any) -> Any:
    """Format 0 had a list of names."""
    return {"title": value[0]}


def _title_is_name(value: Any) -> Any:
    """Format 1 had a title."""
    return {**value, "name": value["title"]}


THINGS = RecordFormat("the thing", Thing, (_with_name, _title_is_name))
PLAIN = RecordFormat("the thing", Thing, (same_fields,), leave_out=frozenset({"note"}))
FULL = Thing("a", Colour.RED, [Part(1.5), Part(2.0)], {"x": [1, {"y": None}]}, "ä")


def test_a_record_comes_back_as_it_was_with_its_format_first() -> None:
    data = THINGS.to_json(FULL)
    assert next(iter(json.loads(data).items())) == ("format", 2)
    assert THINGS.from_json(data) == FULL
    assert isinstance(THINGS.from_json(data).colour, Colour)


@given(st.text(), st.lists(st.floats(allow_nan=False, allow_infinity=False)), st.none() | st.text())
def test_any_record_comes_back(name: str, sizes: list[float], note: str | None) -> None:
    thing = Thing(name, parts=[Part(size) for size in sizes], note=note)
    assert THINGS.from_json(THINGS.to_json(thing)) == Thing(name, parts=list(thing.parts), note=note)


def test_mappings_of_any_kind_are_written() -> None:
    thing = Thing("a", facts=MappingProxyType({"x": MappingProxyType({"y": (1, 2)})}))
    assert THINGS.from_json(THINGS.to_json(thing)).facts == {"x": {"y": [1, 2]}}


@dataclass(frozen=True)
class Named:
    name: Name
    errors: Mapping[Name, float]
    left: Sequence[Name]


def test_names_of_fits_are_text_wherever_they_stand_in_a_record() -> None:
    prior, chain = PriorName("dip"), Chain("dip", "imp", 0)
    named = Named(chain, {prior: 0.5, chain.round(1): 0.25}, [chain.round(1), prior])
    records = RecordFormat("the named", Named, (same_fields,))
    assert json.loads(records.to_json(named)) == {
        "format": 1,
        "name": "dip.imp.0",
        "errors": {"dip": 0.5, "dip.imp.0.r01": 0.25},
        "left": ["dip.imp.0.r01", "dip"],
    }
    assert records.from_json(records.to_json(named)) == named


def test_fields_that_are_not_known_are_ignored() -> None:
    data = json.dumps({"format": 2, "name": "a", "later": {"x": 1}, "parts": [{"size": 1, "later": 2}]}).encode()
    assert THINGS.from_json(data) == Thing("a", parts=[Part(1.0)])


@pytest.mark.parametrize("old", [["a"], {"format": 1, "title": "a"}, {"format": 1, "title": "a", "name": "b"}])
def test_older_records_are_brought_up_to_date_step_by_step(old: Any) -> None:
    assert THINGS.from_json(json.dumps(old)) == Thing("a")


def test_fields_that_are_left_out_are_neither_written_nor_read() -> None:
    assert "note" not in json.loads(PLAIN.to_json(FULL))
    assert PLAIN.from_json(b'{"name": "a", "note": "b"}') == Thing("a")


def test_a_newer_record_is_refused_with_its_name_and_what_to_do() -> None:
    with pytest.raises(NewerFormatError) as refused:
        THINGS.from_json(b'{"format": 3, "anything": 1}', "/store/a.json")
    said = str(refused.value)
    assert said.startswith("the thing /store/a.json has format 3, and this version")
    assert __version__ in said
    assert "up to 2" in said
    assert "install" in said
    assert "\n" not in said


def test_a_newer_record_is_a_matter_of_the_store_and_no_damage() -> None:
    # Code that catches a ValueError takes a record for damaged.
    assert issubclass(NewerFormatError, StoreError)
    assert not issubclass(NewerFormatError, ValueError)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"3",
        b"null",
        b"[]",
        b"{}",
        b'{"format": 2}',
        b'{"format": "2", "name": "a"}',
        b'{"format": true, "name": "a"}',
        b'{"format": -1, "name": "a"}',
        b'{"format": null, "name": "a"}',
        b'{"format": 1, "name": "a"}',
        b'{"format": 2, "name": "a", "colour": "blue"}',
        b'{"format": 2, "name": "a", "parts": [{"size": "large"}]}',
        b"\xff",
    ],
)
def test_damage_is_told_in_one_line(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".") as told:
        THINGS.from_json(data)
    assert "\n" not in str(told.value)


def test_a_figure_that_is_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        THINGS.to_json(Thing("a", parts=[Part(float("nan"))]))
    with pytest.raises(TypeError, match="cannot hold"):
        THINGS.to_json(Thing("a", facts={"x": object()}))


def test_of_two_that_leave_a_record_the_first_counts(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert THINGS.create_or_read(store, "x/a.json", Thing("first")).name == "first"
    assert THINGS.create_or_read(store, "x/a.json", Thing("second")).name == "first"
    assert THINGS.read(store, "x/a.json").name == "first"
    store.put("x/a.json", b'{"format": 9}')
    with pytest.raises(NewerFormatError, match=r"a\.json has format 9"):
        THINGS.read(store, "x/a.json")


def test_a_record_that_is_deleted_between_two_looks_is_written_once_more(tmp_path: Path) -> None:
    class Busy(LocalStore):
        """Another driver deletes the object after a creation was refused."""

        def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
            created = super().create(key, data, token=token)
            if not created:
                self.delete(key)
            return created

    store = Busy(tmp_path)
    THINGS.create_or_read(store, "x/a.json", Thing("first"))
    assert THINGS.create_or_read(store, "x/a.json", Thing("second")).name == "second"
    assert THINGS.read(store, "x/a.json").name == "second"
