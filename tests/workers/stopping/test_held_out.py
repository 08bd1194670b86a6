import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.stopping import held_out_mask


@settings(derandomize=True)
@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.001, 0.5))
def test_the_mask_hides_its_share_and_leaves_something_to_fit(height: int, width: int, share: float) -> None:
    mask = held_out_mask(height, width, share, np.random.default_rng(0))
    assert mask.shape == (height, width)
    assert mask.sum() < height * width
    if height * width > 1:
        assert mask.sum() == pytest.approx(share * height * width, abs=1) or mask.sum() == 1


@settings(derandomize=True)
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0.001, 1), st.floats(0, 1))
def test_only_known_pixels_are_hidden_and_never_all_of_them(
    height: int, width: int, share: float, share_known: float
) -> None:
    random = np.random.default_rng(1)
    known = random.random((height, width)) < share_known
    mask = held_out_mask(height, width, share, random, known)
    count = known.sum()
    assert not (mask & ~known).any()
    assert mask.sum() == (np.clip(round(share * count), 1, count - 1) if count > 1 else 0)


def test_all_pixels_known_is_the_same_as_no_word_of_it() -> None:
    masks = [
        held_out_mask(9, 7, 0.2, np.random.default_rng(3), known) for known in (None, np.ones((9, 7), dtype=np.bool_))
    ]
    assert (masks[0] == masks[1]).all()
    assert masks[0].sum() == 13
