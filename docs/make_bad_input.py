"""Write docs/bad_input.md from the corpus that the tests work on: ``python -m docs.make_bad_input``."""

from collections import Counter
from itertools import groupby
from pathlib import Path

from tests.corpus import MAX_PIXELS, all_cases

HEAD = """# Bad input

Made by `python -m docs.make_bad_input` from [the corpus](../tests/corpus.py). The tests take in every file of it, and
restore all of them in one run ([what is read, and how](images.md)). One file never affects the result of another.

{counts}. The limit `ingest.max_pixels` is {limit:,} pixels here.
"""

TABLE = """
## {group}

| file | outcome | its reason |
|---|---|---|
"""


def bad_input_page() -> str:
    """The page's text."""
    counts = Counter(case.outcome for case in all_cases())
    outcomes = ", ".join(f"{count} are {outcome}" for outcome, count in counts.most_common())
    page = HEAD.format(counts=f"Of {counts.total()} files {outcomes}", limit=MAX_PIXELS)
    for group, cases in groupby(all_cases(), key=lambda case: case.group):
        page += TABLE.format(group=group) + "".join(
            f"| {case.about} | {case.outcome} | {case.reason or ''} |\n" for case in cases
        )
    return page


if __name__ == "__main__":
    Path(__file__).with_name("bad_input.md").write_text(bad_input_page(), encoding="utf-8")
