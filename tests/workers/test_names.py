import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.lottery.methods import METHODS
from workers.names import Chain, FitName, PriorName, Round, chain_of, parse_name, without_draw
from workers.networks import prior_of

CANDIDATE = "158-1111101111001110001100001"
PRIORS = ("dip", "dip-inpaint", "deep-decoder-64", CANDIDATE, f"nas-dip-{CANDIDATE}")

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
_sources = st.lists(_words, min_size=2, max_size=4).map("-".join)
_chains = st.builds(
    Chain, st.sampled_from(PRIORS), st.sampled_from(METHODS), st.integers(0, 9999), st.none() | _sources
)


def assert_names_a_prior(text: str) -> None:
    name: FitName = parse_name(text)
    assert name == PriorName(text)
    assert (name.network, str(name)) == (text, text)
    assert chain_of(name) is None


def test_names_are_as_they_are_written_in_keys_and_rows() -> None:
    chain = Chain("dip", "imp", 0)
    assert (str(chain), str(chain.round(5))) == ("dip.imp.0", "dip.imp.0.r05")
    moved = Chain("dip", "oes", 2, "f16-5fb2ac1e")
    assert (str(moved), str(moved.round(16))) == ("dip.oes.2.f16-5fb2ac1e", "dip.oes.2.f16-5fb2ac1e.r16")
    assert moved.dense == Chain("dip", "dense", 2)
    assert str(Chain(f"nas-dip-{CANDIDATE}", "decoder", 0)) == f"nas-dip-{CANDIDATE}.decoder.0"


@given(_chains, st.integers(0, 99))
def test_every_chain_and_round_is_found_by_its_name(chain: Chain, number: int) -> None:
    name = chain.round(number)
    assert parse_name(str(chain)) == chain
    assert parse_name(str(name)) == name == Round(chain, number)
    assert chain_of(chain) == chain_of(name) == chain
    assert parse_name(str(chain)).network == parse_name(str(name)).network == chain.network
    # A part of a key, and a word in a file's name.
    assert re.fullmatch(r"[a-z0-9.-]+", str(name))


@given(_chains, _chains, st.none() | st.integers(0, 99), st.none() | st.integers(0, 99))
def test_different_chains_and_rounds_have_different_names(
    one: Chain, other: Chain, number: int | None, another: int | None
) -> None:
    names = [chain if at is None else chain.round(at) for chain, at in ((one, number), (other, another))]
    same = (one, number) == (other, another)
    assert (str(names[0]) == str(names[1])) == (names[0] == names[1]) == same


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_s_own_name_is_neither_a_chain_s_nor_a_round_s(name: str) -> None:
    assert prior_of(name).id == name
    assert_names_a_prior(name)


@given(st.integers(0, 300), st.text("01", min_size=25, max_size=25), st.integers(4, 1024))
def test_no_candidate_is_taken_for_a_chain(cell: int, bits: str, channels: int) -> None:
    for name in (f"{cell}-{bits}", f"nas-dip-{cell}-{bits}", f"deep-decoder-{channels}"):
        assert_names_a_prior(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "dip.imp",
        "dip.imp.",
        "dip.imp.0.",
        "dip.imp.0.r5",
        "dip.imp.0.r005",
        "dip.imp.00",
        "dip.imp.01.r05",
        "dip.imp.-1",
        "dip.imp.10000",
        "dip.lottery.0",
        "dip.IMP.0",
        "Dip.imp.0",
        "dip.imp.0.f16",
        "dip.imp.0.f16-",
        "dip.imp.0.f16--5f",
        "dip.imp.0.F16-5fb2ac1e",
        "dip.imp.0.f16-5f.b-6a",
        "dip.imp.0.r05.r06",
        "dip.imp.0.r05.f16-5f",
        "dip.imp.0.r05\n",
        " dip.imp.0",
        "../dip.imp.0",
        "dip.imp.0.r٠٥",
    ],
    ids=repr,
)
def test_what_is_almost_a_name_is_none(name: str) -> None:
    assert_names_a_prior(name)


@pytest.mark.parametrize("name", ["dip.imp.0", "dip.imp.0.f16-5fb2ac1e"])
def test_a_chain_s_name_is_no_round_s(name: str) -> None:
    assert isinstance(parse_name(name), Chain)


def test_a_draw_is_of_the_network_without_its_number() -> None:
    names = {"dip": "dip", "dip-draw-2": "dip", "dip-draw-1": "dip-draw-1", "nas-dip-0-0-draw-12": "nas-dip-0-0"}
    assert {name: without_draw(name) for name in names} == names
