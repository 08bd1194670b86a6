from pathlib import Path

import pytest

from orchestrator.ingest.beside import folders_beside, left_out


@pytest.mark.parametrize(
    ("given", "names", "lacking", "beside"),
    [
        ("masks", ["a.png", "gt/a.png"], ["gt/a.png"], ["gt"]),
        ("masks", ["a.PNG", "gt/A.tif"], ["gt/A.tif"], ["gt"]),
        ("day/masks", ["day/a.png", "day/gt/a.png", "b.png"], ["day/gt/a.png"], ["day/gt"]),
        ("day/masks", ["day/a.png", "gt/day/a.png"], ["gt/day/a.png"], []),
        # It has masks of its own, so these are images.
        ("masks", ["a.png", "second/a.png"], [], []),
        # One file is no image's, so the folder holds images that lack theirs.
        ("masks", ["a.png", "second/a.png", "second/b.png"], ["second/a.png", "second/b.png"], []),
        ("masks", ["a.png", "b.png", "gt/a.png", "gt/b.png", "x/a.png"], ["gt/a.png", "gt/b.png"], ["gt"]),
        ("../masks", ["a.png", "gt/a.png"], ["gt/a.png"], []),
    ],
)
def test_a_folder_beside_masks_whose_files_belong_to_the_images_holds_none(
    tmp_path: Path, given: str, names: list[str], lacking: list[str], beside: list[str]
) -> None:
    images = tmp_path / "images"
    assert folders_beside(images, [images / given, None], names, lacking) == beside
    assert folders_beside(images, [None, None], names, lacking) == []


def test_the_first_folders_are_named() -> None:
    assert left_out(["gt"]) == "gt/"
    assert left_out(["a\n", "b", "c", "d"]) == "a\\n/, b/, c/ and 1 more"
