import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.operators import Blur, Downsample, Identity, Operator, gaussian_kernel, motion_kernel
from workers.tiles import Tile, Tiling, tiling_of


@st.composite
def tilings(draw: st.DrawFn) -> Tiling:
    side = 4 * draw(st.integers(2, 12))
    overlap = draw(st.integers(1, side // 2))
    reach = draw(st.integers(0, (overlap - 1) // 2))
    return tiling_of(draw(st.integers(1, 150)), draw(st.integers(1, 150)), side, overlap, reach)


@given(tilings(), st.sampled_from([1, 2, 3]))
def test_weights_are_a_partition_of_unity(tiling: Tiling, scale: int) -> None:
    ones = ((tile, np.ones((2, scale * tile.height, scale * tile.width), np.float32)) for tile in tiling.tiles)
    whole = tiling.blend(ones, 2, scale)
    assert whole.shape == (2, scale * tiling.height, scale * tiling.width)
    np.testing.assert_allclose(whole, 1, atol=1e-6)


@given(tilings())
def test_tiles_of_one_image_blend_to_it(tiling: Tiling) -> None:
    image = np.random.default_rng(0).random((1, tiling.height, tiling.width), dtype=np.float32)
    parts = [(tile, image[:, *tile.slices]) for tile in tiling.tiles]
    np.testing.assert_allclose(tiling.blend(parts, 1), image, atol=1e-6)
    assert tiling.blend(parts, 1).tobytes() == tiling.blend(parts, 1).tobytes()


@given(tilings())
def test_what_a_tile_cannot_judge_has_no_weight_and_every_pixel_is_judged(tiling: Tiling) -> None:
    judged = np.zeros((tiling.height, tiling.width), bool)
    wrong = []
    for tile in tiling.tiles:
        mask = tiling.judged(tile)
        judged[tile.slices] |= mask
        wrong.append((tile, np.where(mask, 0, 1e6).astype(np.float32)[None]))
    # No weight is below zero, so that no tile's error hides another's.
    assert not tiling.blend(wrong, 1).any()
    assert judged.all()


@given(tilings())
def test_tiles_lie_within_the_image_and_overlap(tiling: Tiling) -> None:
    assert len(set(tiling.tiles)) == len(tiling.tiles)
    for tile in tiling.tiles:
        assert min(tile.top, tile.left) >= 0
        assert tile.top + tile.height <= tiling.height
        assert tile.left + tile.width <= tiling.width
    lefts = sorted({tile.left for tile in tiling.tiles})
    for before, after in itertools.pairwise(lefts):
        assert before + tiling.tiles[0].width - after > 2 * tiling.reach


def test_a_step_between_tiles_becomes_a_slope() -> None:
    tiling = tiling_of(8, 56, 32, 8)
    assert [tile.left for tile in tiling.tiles] == [0, 24]
    parts = [(tile, np.full((1, 8, 32), float(number), np.float32)) for number, tile in enumerate(tiling.tiles)]
    line = tiling.blend(parts, 1)[0, 0]
    assert not line[:24].any()
    assert (line[32:] == 1).all()
    assert (np.diff(line) >= 0).all()
    assert np.diff(line).max() < 0.25


@pytest.mark.parametrize(("overlap", "reach"), [(0, 0), (17, 0), (8, 4)])
def test_tiles_that_cannot_be_blended_are_refused(overlap: int, reach: int) -> None:
    with pytest.raises(ValueError, match="cannot overlap"):
        tiling_of(100, 100, 32, overlap, reach)


def test_a_tile_has_a_name_and_a_place_in_the_restored_image() -> None:
    assert str(Tile(0, 32, 64, 48)) == "0-32-64x48"
    assert Tile(0, 32, 64, 48).of_restored(2) == Tile(0, 64, 128, 96)


OPERATORS: tuple[Operator, ...] = (
    Identity(),
    *(Downsample(factor, kernel) for factor in (2, 3, 4, 8) for kernel in ("lanczos2", "bicubic", "box")),
    Blur(gaussian_kernel(1.6)),
    Blur(motion_kernel(9, 45)),
)


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.name)
def test_beyond_its_reach_a_tile_is_measured_as_the_whole_is(operator: Operator) -> None:
    scale, reach = operator.scale, operator.reach
    image = torch.rand(1, 1, 48 * scale, 48 * scale, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole, part = operator(image), operator(image[..., 16 * scale :, 16 * scale :])
    inside = (..., slice(reach, None), slice(reach, None))
    torch.testing.assert_close(part[inside], whole[..., 16:, 16:][inside])
    if reach:
        edge = (..., slice(reach - 1, None), slice(None))
        assert not torch.allclose(part[edge], whole[..., 16:, 16:][edge])
