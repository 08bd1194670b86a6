from hypothesis import given
from hypothesis import strategies as st

from workers.features import FEATURES, features_of
from workers.space import Candidate, valid_upsamplers

CANDIDATES = st.builds(Candidate, st.sampled_from(valid_upsamplers()), st.text(alphabet="01", min_size=25, max_size=25))


def test_a_network_is_told_by_its_cell_and_its_skips() -> None:
    assert features_of("nas-dip-158-1111101111001110001100001-draw-2") == {
        "upsampling nearest": 1.0,
        "convolution split_stack_sum": 1.0,
        "kernel 5": 1.0,
        "activation LeakyReLU": 1.0,
        "order resize_first": 1.0,
        "skips": 15 / 25,
        "skips of level 1": 1.0,
        "skips of level 2": 4 / 5,
        "skips of level 3": 3 / 5,
        "skips of level 4": 2 / 5,
        "skips of level 5": 1 / 5,
        "own input": 1.0,
    }


def test_what_is_no_network_of_the_search_space_has_no_features() -> None:
    for name in ("dip", "dip-draw-2", "deep-decoder-64", "", "nas-dip-", "999-0000000000000000000000000"):
        assert features_of(name) is None


@given(CANDIDATES)
def test_every_feature_has_a_name_and_is_a_share(candidate: Candidate) -> None:
    found = features_of(candidate.id)
    assert found is not None
    assert set(found) <= set(FEATURES)
    assert all(0 < value <= 1 for value in found.values())
    assert sum(name.startswith("upsampling") for name in found) == 1
