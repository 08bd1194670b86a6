"""Every file of the corpus, taken in: each has its expected outcome, whatever files are next to it."""

import os
import runpy
import tracemalloc
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.images import decode, encode
from orchestrator.ingest.folder import Upload, read_folder
from tests.corpus import MAX_PIXELS, Case, all_cases, png, write_corpus

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class TakenIn:
    folder: Path
    uploads: dict[str, Upload]
    reasons: dict[str, str]
    rows: Counter[str]


@pytest.fixture(scope="module")
def taken_in(tmp_path_factory: pytest.TempPathFactory) -> TakenIn:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    uploads, rejected = read_folder(folder, max_pixels=MAX_PIXELS)
    names = [upload.image.name for upload in uploads] + [reject.name for reject in rejected]
    return TakenIn(
        folder,
        {upload.image.name: upload for upload in uploads},
        {reject.name: reject.reason for reject in rejected},
        Counter(names),
    )


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.about)
def test_each_file_becomes_what_is_said_of_it(taken_in: TakenIn, case: Case) -> None:
    assert taken_in.rows[case.shown] == (case.outcome != "left out")
    if case.outcome == "rejected":
        reason = taken_in.reasons[case.shown]
        assert case.reason is not None
        assert case.reason in reason
        assert reason.isprintable()
    elif case.shape is not None:
        image = taken_in.uploads[case.shown].image
        assert (image.channels, image.height, image.width) == case.shape


def test_no_other_file_has_a_row(taken_in: TakenIn) -> None:
    assert set(taken_in.rows) == {case.shown for case in all_cases() if case.outcome != "left out"}


@pytest.mark.parametrize("case", [case for case in all_cases() if case.shape], ids=lambda case: case.about)
def test_a_file_that_is_read_can_be_written_in_kind(taken_in: TakenIn, case: Case) -> None:
    picture = decode(taken_in.uploads[case.shown].path.read_bytes(), max_pixels=MAX_PIXELS)
    again = decode(encode(picture.pixels, picture), max_pixels=MAX_PIXELS)
    assert again.pixels.shape == case.shape
    assert again.encoding.dtype == picture.encoding.dtype


def test_restored_files_can_all_be_written_into_one_folder(taken_in: TakenIn, tmp_path: Path) -> None:
    images = [upload.image for upload in taken_in.uploads.values()]
    for image in images:
        for kind, name in (("pick", image.restored), ("spread", image.spread)):
            path = tmp_path / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(exist_ok=False)
            assert path.resolve().is_relative_to(tmp_path / kind)
    assert len(images) == sum(case.outcome == "restored" for case in all_cases())


def test_the_corpus_has_cases_of_all_outcomes_each_in_a_file_of_its_own() -> None:
    counts = Counter(case.outcome for case in all_cases())
    assert counts["restored"] >= 60
    assert counts["rejected"] >= 60
    assert counts["left out"] >= 5
    for names in ([case.file for case in all_cases()], [case.about for case in all_cases()]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


def test_the_page_of_bad_input_is_what_the_corpus_says() -> None:
    page = runpy.run_path(str(ROOT / "docs/make_bad_input.py"))["bad_input_page"]()
    assert (ROOT / "docs/bad_input.md").read_text(encoding="utf-8") == page


def test_thousands_of_files_take_little_memory(tmp_path: Path) -> None:
    count = 3_000
    data = png()
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(data)
    tracemalloc.start()
    try:
        uploads, rejected = read_folder(tmp_path, max_pixels=MAX_PIXELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(uploads), rejected) == (count, [])
    # Their pixels as float32 alone would be twice that.
    assert peak < count * 10_000


def test_a_file_without_permission_is_told_so(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything; tests/orchestrator/test_ingest.py simulates it")
    (tmp_path / "open.png").write_bytes(png())
    (tmp_path / "closed.png").write_bytes(png())
    (tmp_path / "closed.png").chmod(0)
    uploads, (reject,) = read_folder(tmp_path, max_pixels=MAX_PIXELS)
    assert [upload.image.name for upload in uploads] == ["open.png"]
    assert (reject.name, reject.reason) == ("closed.png", "the file cannot be opened: Permission denied")
