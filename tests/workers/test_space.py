import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.space import (
    Candidate,
    InvalidCandidateError,
    sample_candidates,
    upsamplers,
    valid_upsamplers,
)


def test_the_cells_are_those_of_the_reference_table(data: Path) -> None:
    with (data / "upsamplers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(upsamplers()) == 324
    for row, cell in zip(rows, upsamplers(), strict=True):
        assert {
            "index": str(cell.index),
            "primitive": cell.primitive,
            "convolution": cell.convolution,
            "kernel": f"{cell.kernel}x{cell.kernel}",
            "activation": cell.activation,
            "order": cell.order,
            "valid": str(int(cell.valid)),
        } == row


def test_there_are_297_cells_that_can_be_built() -> None:
    assert len(valid_upsamplers()) == 297


@given(st.sampled_from(valid_upsamplers()), st.integers(0, 2**25 - 1))
def test_a_candidates_id_parses_back_to_it(upsampler: int, bits: int) -> None:
    candidate = Candidate(upsampler, f"{bits:025b}")
    assert Candidate.parse(candidate.id) == candidate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "158",
        "158-",
        "158-11111",
        "158-" + "2" * 25,
        *(text + "0" * 25 for text in ("-", "x-", "324-", "1.5-", "²-", "158_")),
    ],
)
def test_a_text_that_names_no_candidate_is_refused(text: str) -> None:
    with pytest.raises(InvalidCandidateError, match="candidate"):
        Candidate.parse(text)


@pytest.mark.parametrize("upsampler", [237, 251, 300, 311])
def test_a_cell_that_cannot_be_built_is_refused_with_the_reason(upsampler: int) -> None:
    with pytest.raises(InvalidCandidateError, match="cannot be built"):
        Candidate.parse(f"{upsampler}-{'0' * 25}")


def test_a_seed_gives_the_same_candidates_and_a_longer_list_begins_with_the_shorter() -> None:
    few, many = sample_candidates(20, seed=3), sample_candidates(200, seed=3)
    assert many[:20] == few
    assert len(set(many)) == 200
    assert sample_candidates(20, seed=4) != few


def test_sampling_leaves_out_the_cells_that_do_not_fit_the_width() -> None:
    drawn = sample_candidates(500, seed=0, width=8)
    assert all(8 % candidate.cell.width_multiple == 0 for candidate in drawn)
    with pytest.raises(InvalidCandidateError, match="6 channels"):
        sample_candidates(1, seed=0, width=6)
