import itertools
import math
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.resources.share import Resources
from orchestrator.resources.tiling import cut, tilings, too_large
from orchestrator.run.inputs import InputImage
from tests.orchestrator.conftest import MakeConfig
from workers.tiles import Tiling

GB = 10**9
SMALL = InputImage("a.png", "a", "a.png", None, "a.png", height=96, width=128, channels=3)
LARGE = replace(SMALL, id="b", name="b.png", height=4000, width=3000)


def machine(memory: float = 4 * GB) -> Resources:
    return Resources(1, 1, "cpu", 0.0, memory)


def test_an_image_that_does_not_fit_is_cut_into_the_largest_tiles_that_do(make_config: MakeConfig) -> None:
    found = cut(make_config(), LARGE, 5000.0, machine())
    assert isinstance(found, Tiling)
    sides = {(tile.height, tile.width) for tile in found.tiles}
    assert sides == {(864, 864)}
    assert 5000 * 864**2 <= 4 * GB < 5000 * 896**2
    lefts = sorted({tile.left for tile in found.tiles})
    assert all(before + 864 - after >= 64 for before, after in itertools.pairwise(lefts))
    assert cut(make_config(), SMALL, 5000.0, machine()) is None


def test_only_images_that_are_cut_have_tiles_and_none_is_too_large(make_config: MakeConfig) -> None:
    config = make_config()
    assert list(tilings(config, [SMALL, LARGE], machine(GB / 10))) == ["b"]
    assert too_large(config, [SMALL, LARGE], machine(GB / 10)) == {}
    # Where nobody knows the memory, nothing is cut.
    assert tilings(config, [SMALL, LARGE], machine(math.inf)) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"fit": {"tile": "none"}},
        {"arms": ["lottery-imp"]},
        {"task": {"name": "compressed-sensing", "measurements": 100}},
    ],
)
def test_images_that_may_not_be_cut_are_too_large_with_the_reason(
    make_config: MakeConfig, changes: dict[str, Any]
) -> None:
    config = make_config(**changes)
    reasons = too_large(config, [SMALL, LARGE], machine(GB))
    assert list(reasons) == ["b"]
    assert reasons["b"].startswith("too large: fitting 3000x4000 pixels")
    assert too_large(config, [SMALL, LARGE], machine(math.inf)) == {}


def test_an_image_of_which_not_even_a_tile_fits_is_too_large(make_config: MakeConfig) -> None:
    assert str(cut(make_config(), LARGE, 5000.0, machine(5000.0 * 63**2))).startswith("too large: fitting")


@pytest.mark.parametrize("scale", [1, 2, 3, 8])
def test_tiles_of_a_given_side_are_of_the_restored_image(make_config: MakeConfig, scale: int) -> None:
    task = {"name": "super-resolve", "factor": scale} if scale > 1 else {}
    config = make_config(task=task, fit={"tile": 96, "overlap": 32})
    found = cut(config, replace(SMALL, height=200, width=40), 1.0, machine())
    assert isinstance(found, Tiling)
    assert found.tiles[0].height == 96 // scale
    assert found.tiles[0].width == min(40, 96 // scale)
    assert cut(config, replace(SMALL, height=96 // scale, width=7), 1.0, machine()) is None


def test_tiles_that_do_not_fit_or_are_too_small_are_refused(make_config: MakeConfig) -> None:
    too_much = cut(make_config(fit={"tile": 1024}), LARGE, 5000.0, machine())
    assert (
        too_much
        == "too large: not even a tile of 1024 pixels fits into a trial's memory; set a smaller fit.tile, or auto"
    )
    blurred = make_config(task={"name": "deblur", "kernel": "motion 61 0"}, fit={"tile": 64})
    assert str(cut(blurred, LARGE, 5.0, machine())).startswith("too large: tiles of 64 pixels are too small")
