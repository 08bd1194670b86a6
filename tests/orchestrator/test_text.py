import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text import counted, to_csv

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (12345, "12,345 images")]
)
def test_a_number_of_things_is_said_as_people_say_it(number: int, said: str) -> None:
    assert counted(number, "image") == said


def test_a_table_has_a_header_and_nothing_where_nothing_is_known() -> None:
    assert to_csv(["a", "b"], [{"a": "x", "b": 1.5}, {"b": None, "a": "y, z"}]) == 'a,b\nx,1.5\n"y, z",\n'
    assert to_csv(["a"], []) == "a\n"


@given(st.lists(st.tuples(WORDS, st.one_of(st.none(), st.integers()))))
def test_every_word_comes_back_as_it_was(rows: list[tuple[str, int | None]]) -> None:
    text = to_csv(["word", "number"], [{"word": word, "number": number} for word, number in rows])
    assert [(row["word"], row["number"]) for row in read(text)] == [
        (word, "" if number is None else str(number)) for word, number in rows
    ]
