import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.lottery.names import METHODS, Chain, parse, parse_chain, prior_name, round_number
from workers.networks import prior_of

CANDIDATE = "158-1111101111001110001100001"
PRIORS = ("dip", "dip-inpaint", "deep-decoder-64", CANDIDATE, f"nas-dip-{CANDIDATE}")

_words = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
_sources = st.lists(_words, min_size=2, max_size=4).map("-".join)
_chains = st.builds(
    Chain, st.sampled_from(PRIORS), st.sampled_from(METHODS), st.integers(0, 9999), st.none() | _sources
)


def test_names_are_as_they_are_written_in_keys_and_rows() -> None:
    chain = Chain("dip", "imp", 0)
    assert (str(chain), chain.round(5)) == ("dip.imp.0", "dip.imp.0.r05")
    moved = Chain("dip", "oes", 2, "f16-5fb2ac1e")
    assert (str(moved), moved.round(16)) == ("dip.oes.2.f16-5fb2ac1e", "dip.oes.2.f16-5fb2ac1e.r16")
    assert moved.dense == Chain("dip", "dense", 2)
    assert str(Chain(f"nas-dip-{CANDIDATE}", "decoder", 0)) == f"nas-dip-{CANDIDATE}.decoder.0"


@settings(deadline=None, derandomize=True)
@given(_chains, st.integers(0, 99))
def test_every_chain_and_round_is_found_by_its_name(chain: Chain, number: int) -> None:
    name = chain.round(number)
    assert parse(str(chain)) == (chain, None)
    assert parse(name) == (chain, number)
    assert parse_chain(str(chain)) == parse_chain(name) == chain
    assert round_number(name) == number
    assert prior_name(str(chain)) == prior_name(name) == chain.network
    # A part of a key, and a word in a file's name.
    assert re.fullmatch(r"[a-z0-9.-]+", name)


@settings(deadline=None, derandomize=True)
@given(_chains, _chains, st.none() | st.integers(0, 99), st.none() | st.integers(0, 99))
def test_different_chains_and_rounds_have_different_names(
    one: Chain, other: Chain, number: int | None, another: int | None
) -> None:
    names = [str(chain) if at is None else chain.round(at) for chain, at in ((one, number), (other, another))]
    assert (names[0] == names[1]) == ((one, number) == (other, another))


@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_s_own_name_is_neither_a_chain_s_nor_a_round_s(name: str) -> None:
    assert prior_of(name).id == name
    assert parse(name) is None
    assert prior_name(name) == name
    with pytest.raises(ValueError, match="names no chain"):
        parse_chain(name)
    with pytest.raises(ValueError, match="names no round"):
        round_number(name)


@settings(deadline=None, derandomize=True)
@given(st.integers(0, 300), st.text("01", min_size=25, max_size=25), st.integers(4, 1024))
def test_no_candidate_is_taken_for_a_chain(cell: int, bits: str, channels: int) -> None:
    for name in (f"{cell}-{bits}", f"nas-dip-{cell}-{bits}", f"deep-decoder-{channels}"):
        assert parse(name) is None
        assert prior_name(name) == name


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
    assert parse(name) is None
    assert prior_name(name) == name
    for read in (parse_chain, round_number):
        with pytest.raises(ValueError, match=re.escape(repr(name))):
            read(name)


def test_a_chain_s_name_has_no_round() -> None:
    for name in ("dip.imp.0", "dip.imp.0.f16-5fb2ac1e"):
        with pytest.raises(ValueError, match=f"'{name}' names no round"):
            round_number(name)
