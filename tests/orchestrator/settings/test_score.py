from pathlib import Path

import pytest

from orchestrator.settings import resolve
from tests.orchestrator.settings.given import GOOD, mistakes, written


def test_a_list_of_candidates_is_neither_empty_nor_names_one_twice() -> None:
    assert mistakes("score.candidates=[]") == ["score: the list of candidates is empty"]
    same = f"['{GOOD}', ' 0{GOOD} ']"
    assert mistakes(f"score.candidates={same}") == ["score: the list of candidates names one twice"]


def test_candidates_come_from_a_file_or_from_a_list_that_ships(tmp_path: Path) -> None:
    file = written(tmp_path, f"# best first\n{GOOD}\n\n 158,{'0' * 25} \n", "mine.csv")
    assert resolve("quickstart", [f"score.candidates={file}"]).score.candidates == [GOOD, f"158-{'0' * 25}"]
    for name in ("isnas522", "isnas522.csv", "configs/candidates/isnas522.csv"):
        shipped = resolve("quickstart", [f"score.candidates={name}"]).score.candidates
        assert isinstance(shipped, list)
        assert len(shipped) == 522


@pytest.mark.parametrize("name", ["nope.csv", "elsewhere/isnas522", "a" * 300, "configs", ""])
def test_a_list_of_candidates_that_is_not_there_is_named_beside_those_that_ship(name: str) -> None:
    assert mistakes(f"score.candidates='{name}'") == [
        f"score.candidates: there is no list '{name}'; these ship: isnas522"
    ]
