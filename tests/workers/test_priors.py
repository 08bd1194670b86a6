import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.networks import NAS_DIP, SearchNetwork, build, noise_input, prior_of
from workers.networks.priors import draws_of
from workers.seeds import generator_of
from workers.space import Candidate, InvalidCandidateError, valid_upsamplers

CANDIDATE = "158-1111101111001110001100001"
NAMES = (CANDIDATE, f"nas-dip-{CANDIDATE}", "dip", "dip-inpaint", "deep-decoder-8")

candidates = st.builds(Candidate, st.sampled_from(valid_upsamplers()), st.text("01", min_size=25, max_size=25))


@given(
    st.one_of(
        candidates.map(str),
        candidates.map("nas-dip-{}".format),
        st.integers(4, 1024).map("deep-decoder-{}".format),
        st.sampled_from(["dip", "dip-inpaint", *NAS_DIP.values()]),
        st.builds("{}-draw-{}".format, st.sampled_from(NAMES), st.integers(2, 999)),
    )
)
def test_a_name_finds_the_prior_of_this_name(name: str) -> None:
    prior = prior_of(name)
    assert prior.id == name
    assert re.fullmatch("[a-z0-9-]+", prior.id)
    assert prior == prior_of(prior.id)


@given(st.one_of(st.text(), st.from_regex(r"(nas-dip-)?[0-9]*-[01]*\n?"), st.from_regex("deep-decoder-.*")))
def test_any_other_text_is_refused_in_one_line(name: str) -> None:
    try:
        prior = prior_of(name)
    except InvalidCandidateError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017 - some drawn texts are names
    else:
        assert re.fullmatch("[a-z0-9-]+", prior.id)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "DIP",
        "dip ",
        "nas-dip-dip",
        "nas-dip-",
        "deep-decoder-3",
        "deep-decoder-1025",
        "deep-decoder-064",
        "deep-decoder-\u0666\u0664",
        "1" * 9999,
        "1" * 5000 + "-" + "0" * 25,
        f"{CANDIDATE}\n",
        f"nas-dip-nas-dip-{CANDIDATE}",
        "dip-draw-1",
        "dip-draw-1000",
        "dip-draw-02",
        "dip-draw-2-draw-3",
        "-draw-2",
    ],
)
def test_a_name_that_nothing_has_is_answered_with_what_there_is(name: str) -> None:
    with pytest.raises(InvalidCandidateError, match=r"dip, dip-inpaint, deep-decoder-K with K from 4 to 1024"):
        prior_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_a_draw_is_the_same_network_by_another_name(name: str) -> None:
    names = draws_of(name, 3)
    assert names == (name, f"{name}-draw-2", f"{name}-draw-3")
    first, second, _ = map(prior_of, names)
    assert (first.width_multiple, first.own_input_channels) == (second.width_multiple, second.own_input_channels)
    shapes = [
        [tuple(weights.shape) for weights in prior.declare(3, 8, input_channels=3).parameters()]
        for prior in (first, second)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("name", ["237-" + "0" * 25, "nas-dip-324-" + "0" * 25, "158-" + "0" * 24])
def test_a_candidate_outside_the_space_is_answered_with_what_is_wrong_with_it(name: str) -> None:
    with pytest.raises(InvalidCandidateError, match=name.removeprefix("nas-dip-")):
        prior_of(name)


def test_the_networks_nas_dip_found() -> None:
    assert NAS_DIP == {
        "denoise": "nas-dip-158-1111101111001110001100001",
        "inpaint": "nas-dip-86-1100001100101100101100101",
        "super-resolve": "nas-dip-119-1001011001011000011000011",
    }


@pytest.mark.parametrize(
    ("name", "parameters"), [("dip", 2_217_831), ("deep-decoder-64", 25_536), ("deep-decoder-128", 100_224)]
)
def test_the_baselines_are_the_papers(name: str, parameters: int) -> None:
    network = prior_of(name).declare(3, 128, input_channels=3)
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (CANDIDATE, (5, 64, 96)),
        (NAS_DIP["denoise"], (32, 64, 96)),
        ("dip", (32, 64, 96)),
        ("dip-inpaint", (32, 64, 96)),
        ("deep-decoder-16", (16, 2, 3)),
    ],
)
def test_a_candidate_takes_the_callers_depth_of_input_and_the_others_their_own(
    name: str, shape: tuple[int, int, int]
) -> None:
    assert prior_of(name).declare(3, 8, input_channels=5).input_shape(64, 96) == shape


def test_inpainting_has_wide_skips_and_nearest_upsampling() -> None:
    network = prior_of("dip-inpaint").declare(3, 8, input_channels=3)
    assert network.get_submodule("skips.0.0").weight.shape == (8, 32, 1, 1)
    assert network.get_submodule("upsample").mode == "nearest"
    network = prior_of("dip").declare(3, 8, input_channels=3)
    assert network.get_submodule("skips.0.0").weight.shape == (4, 32, 1, 1)
    assert network.get_submodule("upsample").mode == "bilinear"


def test_a_candidates_prior_is_the_candidates_network() -> None:
    network = prior_of(CANDIDATE).build(1, 8, input_channels=2, generator=generator_of("weights"))
    same = build(Candidate.parse(CANDIDATE), 2, 1, 8, generator=generator_of("weights"))
    assert isinstance(network, SearchNetwork)
    assert network.candidate == same.candidate
    assert network.state_dict().keys() == same.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_generator_gives_the_same_weights_whatever_the_global_state(name: str) -> None:
    def weights(seed: int, global_seed: int) -> list[torch.Tensor]:
        torch.manual_seed(global_seed)
        generator = generator_of("weights", seed)
        return list(prior_of(name).build(3, 8, input_channels=3, generator=generator).parameters())

    first, second, other = weights(7, 1), weights(7, 2), weights(8, 1)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_fitting_lowers_the_loss(name: str) -> None:
    network = prior_of(name).build(3, 8, input_channels=3, generator=generator_of("weights"))
    fixed = noise_input(*network.input_shape(64, 64), generator_of("input"))
    ramp = torch.linspace(0, 1, 64)
    image = torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), ramp.outer(ramp)])[None]
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(20):
        loss = (network(fixed) - image).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "multiple"),
    [("dip", 1), ("dip-inpaint", 1), ("deep-decoder-8", 1), (CANDIDATE, 4), ("nas-dip-213-" + "0" * 25, 16)],
)
def test_a_width_the_network_cannot_have_is_refused(name: str, multiple: int) -> None:
    prior = prior_of(name)
    assert prior.width_multiple == multiple
    for width in {0, -multiple, multiple - 1, multiple // 2}:
        with pytest.raises(InvalidCandidateError, match=f"multiple of {multiple}, not {width}"):
            prior.build(3, width, input_channels=3)
    assert prior.declare(3, multiple, input_channels=3)
