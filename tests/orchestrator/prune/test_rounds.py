from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from orchestrator.arms.chains import initial_network
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.prune.rounds import leave_next, round_subject
from orchestrator.prune.tickets import read_ticket, ticket_key
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.prune.given import (
    CHAIN,
    DECODER,
    PARAMETERS,
    WEIGHTS,
    assert_equal_weights,
    changed,
    leave,
    masked,
    settings,
    some_masks,
)
from workers.fitting import Fit, FitDivergedError
from workers.lottery.masks import applied, apply
from workers.names import Chain
from workers.networks import Network, prior_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(settings(make_config), encoded(noise_seed=1))


# The weights that a chain begins with, and the noise of its rounds.


def test_a_chain_s_weights_are_those_of_no_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    benches = [make_bench(settings(make_config), encoded(noise_seed=n), name=f"{n}.png") for n in (1, 2)]
    first, second = (round_subject(each.context, each.image, CHAIN.dense.round(0)) for each in benches)
    assert_equal_weights(first.network, second.network.state_dict())
    assert first.seed != second.seed
    other = initial_network(benches[0].context.config, replace(CHAIN, initialisation=1), 3)
    assert not torch.equal(other.state_dict()["layers.0.weight"], first.network.state_dict()["layers.0.weight"])


def test_methods_face_the_same_noise_and_rounds_images_and_initialisations_their_own(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(settings(make_config, tickets="earlier"), encoded())
    sources = [None, "all-images"]
    chains = [Chain(DECODER, method, 0, source) for method in ("imp", "random", "snip", "oes") for source in sources]
    for chain in chains:
        leave(bench, chain)
    chains.append(Chain(DECODER, "decoder", 0))
    seeds = {round_subject(bench.context, bench.image, chain.round(1)).seed for chain in chains}
    assert len(seeds) == 1
    other = make_bench(settings(make_config), encoded(), name="b.png")
    again = changed(bench, settings(make_config, seed=1))
    for where in (other, again):
        leave(where)
    leave(bench, number=2)
    leave(bench, replace(CHAIN, initialisation=1))
    seeds |= {
        round_subject(bench.context, bench.image, CHAIN.dense.round(0)).seed,
        round_subject(bench.context, bench.image, CHAIN.round(2)).seed,
        round_subject(bench.context, bench.image, replace(CHAIN, initialisation=1).round(1)).seed,
        round_subject(other.context, other.image, CHAIN.round(1)).seed,
        round_subject(again.context, again.image, CHAIN.dense.round(0)).seed,
    }
    assert len(seeds) == 6


# The network of a round.


def test_round_0_is_the_whole_network(bench: Bench) -> None:
    dense = round_subject(bench.context, bench.image, CHAIN.dense.round(0))
    assert_equal_weights(dense.network, initial_network(bench.context.config, CHAIN, 3).state_dict())
    assert (dense.sparsity, dense.parameters) == (0.0, PARAMETERS)
    assert applied(dense.network) == {}


def test_a_round_has_the_masks_of_its_ticket_on_the_initial_weights(bench: Bench) -> None:
    masks = leave(bench)
    drawn = round_subject(bench.context, bench.image, CHAIN.round(1))
    initial = initial_network(bench.context.config, CHAIN, 3).state_dict()
    assert_equal_weights(drawn.network, masked(initial, masks))
    gone = sum(int(np.count_nonzero(~mask.numpy())) for mask in masks.values())
    assert 0 < gone < WEIGHTS
    assert drawn.sparsity == gone / WEIGHTS
    assert drawn.parameters == PARAMETERS - gone


# Deep decoders of as many parameters.


def decoder_parameters(channels: int, out: int = 3) -> int:
    """Six layers with a batch normalisation each and the last convolution, counted by hand."""
    return 6 * (channels**2 + 2 * channels) + out * channels


@pytest.mark.parametrize("exempt", [[], ["skips.*", "encoders.0.*"]], ids=["all", "some"])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_the_decoder_is_the_largest_of_no_more_parameters_than_are_left(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, number: int, exempt: list[str]
) -> None:
    config = settings(make_config, network="dip", rounds=4, exempt=exempt)
    bench = make_bench(config, encoded())
    drawn = round_subject(bench.context, bench.image, Chain("dip", "decoder", 0).round(number))
    whole = prior_of("dip").declare(3, 8, input_channels=3)
    parameters = sum(parameter.numel() for parameter in whole.parameters())
    convolutions = {
        name: layer.weight.numel() for name, layer in whole.named_modules() if isinstance(layer, torch.nn.Conv2d)
    }
    apart = [name for name in convolutions if exempt and (name.startswith(("skips.", "encoders.0.")))]
    pruned = left = sum(count for name, count in convolutions.items() if name not in apart)
    for _ in range(number):
        left -= round(left / 4)
    most = parameters - pruned + left
    (best,) = [
        channels for channels in range(4, 99) if decoder_parameters(channels) <= most < decoder_parameters(channels + 1)
    ]
    assert best > 4
    assert drawn.network.input_shape(64, 64) == (best, 2, 2)
    assert drawn.parameters == decoder_parameters(best)
    weights = 6 * best**2 + 3 * best
    assert drawn.sparsity == pytest.approx(1 - weights / sum(convolutions.values()))
    assert applied(drawn.network) == {}


def test_where_no_decoder_is_small_enough_it_is_the_smallest(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(settings(make_config, network="deep-decoder-4", rate=0.9), encoded())
    drawn = round_subject(bench.context, bench.image, Chain("deep-decoder-4", "decoder", 0).round(2))
    assert (drawn.parameters, drawn.sparsity) == (decoder_parameters(4), 0.0)


# The ticket that a round leaves for the next.


def fitted(network: Network) -> Fit:
    """A fit that has ended."""
    return cast(Fit, SimpleNamespace(network=network))


def test_the_next_round_keeps_the_largest_of_the_weights_that_are_left(bench: Bench) -> None:
    network = initial_network(bench.context.config, replace(CHAIN, initialisation=1), 3)
    values = {
        name: layer.weight.detach().abs().numpy().copy()
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    before = some_masks(network, share=0.9)
    leave_next(bench.context, bench.image, CHAIN.dense.round(0), fitted(network))
    apply(network, before)
    leave_next(bench.context, bench.image, CHAIN.round(1), fitted(network))
    # A quarter of 408 goes, then of the 306 that are left (halves to even).
    for number, keep in ((1, 306), (2, 306 - 76)):
        masks = read_ticket(bench.context, ticket_key(bench.context, bench.image, CHAIN, number)).masks
        left = {name: values[name] * (1 if number == 1 else before[name].numpy()) for name in values}
        least = np.sort(np.concatenate([value.ravel() for value in left.values()]))[-keep]
        assert masks.keys() == left.keys()
        for name, mask in masks.items():
            np.testing.assert_array_equal(mask.numpy(), left[name] >= least)


def test_weights_that_are_no_numbers_leave_no_masks(bench: Bench) -> None:
    network = initial_network(bench.context.config, CHAIN, 3)
    with torch.no_grad():
        network.get_parameter("layers.0.weight")[0, 0] = torch.nan
    with pytest.raises(FitDivergedError, match=r"^its weights cannot be pruned: a weight is "):
        leave_next(bench.context, bench.image, CHAIN.dense.round(0), fitted(network))
    assert list(bench.store.keys(bench.context.layout.all_tickets)) == []


IMP_ELSEWHERE = {"name": "moved", "like": "lottery-imp", "source": "b-0123abcd"}


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, True),
        ({"arms": ["lottery-oes", "lottery-imp"]}, True),
        ({"arms": ["lottery-dense", "lottery-random", "lottery-oes", "lottery-snip", "lottery-decoder"]}, False),
        ({"arms": [IMP_ELSEWHERE], "tickets": "earlier"}, False),
        ({"arms": [IMP_ELSEWHERE, "lottery-imp"], "tickets": "earlier"}, True),
        ({"together": True}, False),
        ({"target": "clean"}, False),
    ],
    ids=["imp", "among others", "no imp", "imp from elsewhere", "imp and from elsewhere", "together", "clean"],
)
def test_a_round_leaves_masks_only_where_they_come_out_of_it(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, changes: dict[str, Any], left: bool
) -> None:
    bench = make_bench(settings(make_config, **changes), encoded(noise_seed=1), encoded())
    name = CHAIN.dense.round(0)
    subject_of = partial(round_subject, bench.context, bench.image, name)
    record = run_fit(bench.context, FitJob(bench.image, "full", name), subject_of)
    assert record.state == "done"
    there = list(bench.store.keys(bench.context.layout.all_tickets))
    assert there == ([f"runs/test/tickets/a-0123abcd/{CHAIN.round(1)}.ticket"] if left else [])


def test_the_last_round_and_rounds_of_other_methods_leave_none(bench: Bench) -> None:
    network = initial_network(bench.context.config, CHAIN, 3)
    for chain, number in (
        (CHAIN, 2),
        (Chain(DECODER, "oes", 0), 1),
        (Chain(DECODER, "random", 0), 1),
        (Chain(DECODER, "decoder", 0), 1),
        (replace(CHAIN, source="all-images"), 1),
        (replace(CHAIN.dense, source="all-images"), 0),
    ):
        leave_next(bench.context, bench.image, chain.round(number), fitted(network))
    assert list(bench.store.keys(bench.context.layout.all_tickets)) == []
    leave_next(bench.context, bench.image, CHAIN.round(1), fitted(network))
    assert len(list(bench.store.keys(bench.context.layout.all_tickets))) == 1
