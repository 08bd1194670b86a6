import pytest

from workers.networks.memory import fit_bytes_per_pixel
from workers.space import InvalidCandidateError, sample_candidates

CANDIDATE = "158-1111101111001110001100001"


def test_memory_grows_with_the_width_nearly_in_proportion() -> None:
    narrow, wide = (fit_bytes_per_pixel(CANDIDATE, 3, width, 3) for width in (32, 128))
    assert 3.5 < wide / narrow < 4.1


@pytest.mark.parametrize("prior", ["dip", "dip-inpaint", f"nas-dip-{CANDIDATE}"])
def test_the_memory_of_a_prior_grows_with_the_width(prior: str) -> None:
    narrow, wide = (fit_bytes_per_pixel(prior, 3, width, 3) for width in (32, 128))
    assert 0 < 2.5 * narrow < wide


def test_the_memory_of_a_deep_decoder_grows_with_its_channels_alone() -> None:
    narrow, wide = (fit_bytes_per_pixel(f"deep-decoder-{channels}", 3, 8, 3) for channels in (32, 128))
    assert 3.5 < wide / narrow < 4.1
    assert fit_bytes_per_pixel("deep-decoder-32", 3, 128, 3) == narrow


def test_a_deeper_noise_input_keeps_more() -> None:
    assert fit_bytes_per_pixel(f"nas-dip-{CANDIDATE}", 3, 8, 3) > fit_bytes_per_pixel(CANDIDATE, 3, 8, 3)
    assert fit_bytes_per_pixel(f"nas-dip-{CANDIDATE}", 3, 8, 3) == fit_bytes_per_pixel(CANDIDATE, 3, 8, 32)


def test_more_skips_keep_more() -> None:
    bare, full = (fit_bytes_per_pixel("0-" + bit * 25, 3, 32, 3) for bit in "01")
    assert full > 1.5 * bare


def test_a_name_that_nothing_has_is_refused() -> None:
    with pytest.raises(InvalidCandidateError, match="unet"):
        fit_bytes_per_pixel("unet", 3, 32, 3)


def test_the_figures_are_of_the_size_that_was_measured() -> None:
    # Peak resident memory of a fit at 512 px and width 32, measured: 5,260 and 3,891 bytes per pixel.
    first, second = sample_candidates(2, seed=0, width=32)
    assert fit_bytes_per_pixel(first.id, 3, 32, 3) == pytest.approx(5260, rel=0.35)
    assert fit_bytes_per_pixel(second.id, 3, 32, 3) == pytest.approx(3891, rel=0.35)
