import pytest

from workers.networks.memory import fit_bytes_per_pixel
from workers.space import Candidate, sample_candidates


def test_memory_grows_with_the_width_nearly_in_proportion() -> None:
    candidate = Candidate.parse("158-1111101111001110001100001")
    narrow, wide = (fit_bytes_per_pixel(candidate, 3, 3, width) for width in (32, 128))
    assert 3.5 < wide / narrow < 4.1


def test_more_skips_keep_more() -> None:
    bare, full = (fit_bytes_per_pixel(Candidate(0, bit * 25), 3, 3, 32) for bit in "01")
    assert full > 1.5 * bare


def test_the_figures_are_of_the_size_that_was_measured() -> None:
    # Peak resident memory of a fit at 512 px and width 32, measured: 5,260 and 3,891 bytes per pixel.
    first, second = sample_candidates(2, seed=0, width=32)
    assert fit_bytes_per_pixel(first, 3, 3, 32) == pytest.approx(5260, rel=0.35)
    assert fit_bytes_per_pixel(second, 3, 3, 32) == pytest.approx(3891, rel=0.35)
