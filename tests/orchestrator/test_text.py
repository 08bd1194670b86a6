import ast
import csv
import io
from pathlib import Path

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


# Plurals.


ROOT = Path(__file__).parents[2]
_COUNTED = {
    *("images", "fits", "files", "objects", "runs", "candidates", "channels", "rows", "networks", "rounds", "draws"),
    *("machines", "CPUs", "GPUs", "trials", "inputs", "leftovers", "masks", "references", "damages"),
}
"""Plurals of what is counted for people."""


_OF_MORE_THAN_ONE = {
    "orchestrator/cli/shown/plan.py: {expected.parallel} GPUs",
    "orchestrator/cli/shown/portfolio.py: {FEWEST_FITS} fits",
    "orchestrator/figures/worth.py: {worth.measured} images",
    "orchestrator/images/__init__.py: {encoding.channels} channels",
    "orchestrator/images/picture.py: {len(upright)} channels",
    "orchestrator/plan/advice.py: {self.machines} machines",
    "orchestrator/ingest/partners.py: {other} fits",
    "orchestrator/schedule/capacity.py: {fits} fits",
    "orchestrator/schedule/capacity.py: {len(machines)} machines",
}
"""Where a single thing is said otherwise, or there is never one."""


def _said(tree: ast.AST) -> list[str]:
    """Texts with a number of things that says its own plural, such as ``{count} images``, or "(s)"."""
    found = []
    for text in (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)):
        for number, after in zip(text.values, text.values[1:], strict=False):
            words = after.value.split(maxsplit=1) if isinstance(after, ast.Constant) else []
            if isinstance(number, ast.FormattedValue) and words and str(after.value).startswith(" "):
                word = words[0].strip(".,;:)")
                if word in _COUNTED or words[0].endswith("(s)"):
                    found.append(f"{{{ast.unparse(number.value)}}} {word}")
    return found


def test_no_text_has_a_plural_that_a_single_thing_would_get() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {said}"
        for path in sorted((ROOT / "orchestrator").rglob("*.py"))
        for said in _said(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == _OF_MORE_THAN_ONE
