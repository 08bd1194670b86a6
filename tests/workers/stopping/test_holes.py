import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from skimage.restoration import inpaint_biharmonic
from skimage.transform import resize

from benchmarks.images import PARTS
from workers.stopping import held_out_mask
from workers.stopping.holes import copies_of_holes, has_holes


def squares(side: int, hole: int, number: int, seed: int = 0) -> NDArray[np.bool_]:
    """A mask with square holes."""
    random, known = np.random.default_rng(seed), np.ones((side, side), dtype=np.bool_)
    for top, left in random.integers(side - hole, size=(number, 2)):
        known[top : top + hole, left : left + hole] = False
    return known


def lines(side: int) -> NDArray[np.bool_]:
    """A mask of thin scratches: along a row, a column and both diagonals."""
    known = np.ones((side, side), dtype=np.bool_)
    known[side // 3], known[:, side // 2] = False, False
    known[np.arange(side), np.arange(side)] = False
    return known


def scattered(side: int, share: float) -> NDArray[np.bool_]:
    return np.random.default_rng(0).random((side, side)) >= share


def depth(known: NDArray[np.bool_], of: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """How far pixels are from those that a fit sees, on average."""
    return float(distance_transform_edt(~seen)[of].mean())


def test_holes_are_told_from_scattered_pixels() -> None:
    for known in (squares(64, 12, 3), squares(128, 4, 30), lines(96)):
        assert has_holes(known)
    for known in (*(scattered(64, share) for share in (0.01, 0.2, 0.5, 0.8, 0.99)), scattered(64, 0), ~scattered(9, 0)):
        assert not has_holes(known)


@pytest.mark.parametrize(("side", "hole", "number"), [(64, 12, 3), (128, 12, 6), (128, 5, 20), (96, 40, 1)])
def test_hidden_pixels_lie_as_deep_as_missing_ones(side: int, hole: int, number: int) -> None:
    known = squares(side, hole, number)
    hidden = held_out_mask(side, side, 0.15, np.random.default_rng(1), known, shaped=True)
    isolated = held_out_mask(side, side, 0.15, np.random.default_rng(1), known)
    # As many as before, all of them known.
    assert hidden.sum() == isolated.sum()
    assert known[hidden].all()
    missing = depth(known, ~known, known)
    # A hole of more pixels than may be hidden is copied in part.
    assert 0.5 * missing < depth(known, hidden, known & ~hidden) < 1.7 * missing
    assert depth(known, isolated, known & ~isolated) < 0.75 * missing


def test_scattered_missing_pixels_hide_scattered_ones_as_before() -> None:
    for known in (scattered(64, 0.5), scattered(64, 0.01), None):
        masks = [held_out_mask(64, 64, 0.1, np.random.default_rng(3), known, shaped=shaped) for shaped in (False, True)]
        np.testing.assert_array_equal(*masks)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.integers(2, 40), st.integers(1, 12), st.integers(1, 6), st.floats(0.01, 0.9), st.integers(0, 5))
def test_as_many_known_pixels_are_hidden_whatever_the_mask(
    side: int, hole: int, number: int, share: float, seed: int
) -> None:
    known = squares(side, min(hole, side - 1), number, seed)
    hidden = held_out_mask(side, side, share, np.random.default_rng(seed), known, shaped=True)
    assert hidden.sum() == held_out_mask(side, side, share, np.random.default_rng(seed), known).sum()
    assert not hidden[~known].any()
    if has_holes(known):
        copies = copies_of_holes(known, int(known.sum()) // 2, np.random.default_rng(seed))
        assert copies.sum() <= known.sum() // 2
        assert not copies[~known].any()


def test_the_error_on_hidden_pixels_is_nearer_to_that_in_the_holes() -> None:
    gaps: dict[bool, list[float]] = {False: [], True: []}
    for seed, part in enumerate(PARTS.values()):
        clean = resize(part(), (96, 96), anti_aliasing=True)
        known = squares(96, 12, 5, seed)
        for shaped, found in gaps.items():
            hidden = held_out_mask(96, 96, 0.1, np.random.default_rng(seed), known, shaped=shaped)
            filled = inpaint_biharmonic(clean, ~known | hidden, channel_axis=-1)
            in_holes, on_hidden = (10 * np.log10(np.square(filled - clean)[of].mean()) for of in (~known, hidden))
            found.append(in_holes - on_hidden)
    # Isolated hidden pixels promise far more than the holes keep.
    assert np.mean(gaps[False]) > 4
    assert abs(np.mean(gaps[True])) < 2
