import io
import os
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from orchestrator.errors import NewerFormatError, StoreUnavailableError, TicketError
from orchestrator.fit.fit import run_fit
from orchestrator.fit.job import FitJob
from orchestrator.prune.tickets import (
    check_lottery,
    initial_network,
    iterations_of,
    leave_next,
    leave_ticket,
    read_ticket,
    round_network,
    ticket_key,
    weights_seed,
)
from orchestrator.run.layout import start_key
from orchestrator.settings import Config
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.fitting import Fit, FitDivergedError
from workers.lottery.masks import Masks, applied, apply
from workers.lottery.methods import METHODS
from workers.names import Chain
from workers.networks import Network, prior_of

DECODER = "deep-decoder-8"
"""The quickest: six layers of 8 x 8 weights, 3 x 8 at the end; its batch normalisation has 6 x 16 parameters."""
WEIGHTS = 6 * 64 + 24
PARAMETERS = WEIGHTS + 96
CHAIN = Chain(DECODER, "imp", 0)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def settings(make_config: MakeConfig, *, arms: list[Any] | None = None, seed: int = 0, **lottery: Any) -> Config:
    """A lottery of two rounds, in each of which a quarter of the weights goes."""
    lottery = {"network": DECODER, "initialisations": 2, "rounds": 2, "rate": 0.25} | lottery
    return make_config(
        arms=arms or ["lottery-imp"], seed=seed, lottery=lottery, fit={"iterations": 2, "patience": 2, "block": 2}
    )


def with_seed(config: Config, seed: int) -> Config:
    """The same settings with a seed of the lottery's own."""
    return config.model_copy(update={"lottery": config.lottery.model_copy(update={"seed": seed})})


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(settings(make_config), encoded(noise_seed=1))


def changed(bench: Bench, config: Config) -> Bench:
    """The same run and store with other settings."""
    return Bench(replace(bench.context, config=config), bench.image)


def some_masks(network: Network, seed: int = 0, share: float = 0.5) -> Masks:
    """Masks by the toss of a coin, that keep about this share."""
    generator = torch.Generator().manual_seed(seed)
    convolutions = {name: layer for name, layer in network.named_modules() if isinstance(layer, torch.nn.Conv2d)}
    return {name: torch.rand(layer.weight.shape, generator=generator) < share for name, layer in convolutions.items()}


def leave(bench: Bench, chain: Chain = CHAIN, number: int = 1) -> Masks:
    """A ticket of a round, where the run looks for it; returns its masks."""
    masks = some_masks(initial_network(bench.context.config, chain, bench.image.channels), number)
    key = ticket_key(bench.context, bench.image, chain, number)
    leave_ticket(bench.context, key, chain.round(number), [bench.image], masks)
    return masks


def assert_equal_weights(network: Network, expected: dict[str, torch.Tensor]) -> None:
    state = network.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def masked(state: dict[str, torch.Tensor], masks: Masks) -> dict[str, torch.Tensor]:
    """Weights times masks, by hand."""
    return {name: value * masks.get(name.removesuffix(".weight"), torch.ones(())) for name, value in state.items()}


def state_bytes(state: dict[str, Any]) -> bytes:
    """Weights as a file."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


# The weights that a chain begins with, and the noise of its rounds.


def test_a_chain_s_weights_follow_its_network_its_initialisation_and_the_seed_alone(make_config: MakeConfig) -> None:
    config = settings(make_config)
    seed = weights_seed(config, CHAIN)
    for method in METHODS:
        assert weights_seed(config, Chain(DECODER, method, 0)) == seed
        assert weights_seed(config, Chain(DECODER, method, 0, "f16-5fb2ac1e")) == seed
    others = [
        weights_seed(config, replace(CHAIN, network="dip")),
        weights_seed(config, replace(CHAIN, initialisation=1)),
        weights_seed(settings(make_config, seed=1), CHAIN),
    ]
    assert len({seed, *others}) == 4
    # With a seed of its own it is that, whatever the run's is.
    own = {weights_seed(with_seed(settings(make_config, seed=number), 7), CHAIN) for number in (0, 3)}
    assert own == {weights_seed(settings(make_config, seed=7), CHAIN)}


def test_a_chain_s_weights_are_those_of_no_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    benches = [make_bench(settings(make_config), encoded(noise_seed=n), name=f"{n}.png") for n in (1, 2)]
    first, second = (round_network(each.context, each.image, CHAIN.dense, 0) for each in benches)
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
    seeds = {round_network(bench.context, bench.image, chain, 1).seed for chain in chains}
    assert len(seeds) == 1
    other = make_bench(settings(make_config), encoded(), name="b.png")
    again = changed(bench, settings(make_config, seed=1))
    for where in (other, again):
        leave(where)
    leave(bench, number=2)
    leave(bench, replace(CHAIN, initialisation=1))
    seeds |= {
        round_network(bench.context, bench.image, CHAIN.dense, 0).seed,
        round_network(bench.context, bench.image, CHAIN, 2).seed,
        round_network(bench.context, bench.image, replace(CHAIN, initialisation=1), 1).seed,
        round_network(other.context, other.image, CHAIN, 1).seed,
        round_network(again.context, again.image, CHAIN.dense, 0).seed,
    }
    assert len(seeds) == 6


def test_every_round_runs_all_its_iterations(make_config: MakeConfig) -> None:
    assert iterations_of(settings(make_config)) == 2
    assert iterations_of(settings(make_config, iterations=9)) == 9


# The network of a round.


def test_round_0_is_the_whole_network(bench: Bench) -> None:
    dense = round_network(bench.context, bench.image, CHAIN.dense, 0)
    assert_equal_weights(dense.network, initial_network(bench.context.config, CHAIN, 3).state_dict())
    assert (dense.sparsity, dense.parameters) == (0.0, PARAMETERS)
    assert applied(dense.network) == {}


def test_a_round_has_the_masks_of_its_ticket_on_the_initial_weights(bench: Bench) -> None:
    masks = leave(bench)
    drawn = round_network(bench.context, bench.image, CHAIN, 1)
    initial = initial_network(bench.context.config, CHAIN, 3).state_dict()
    assert_equal_weights(drawn.network, masked(initial, masks))
    gone = sum(int(np.count_nonzero(~mask.numpy())) for mask in masks.values())
    assert 0 < gone < WEIGHTS
    assert drawn.sparsity == gone / WEIGHTS
    assert drawn.parameters == PARAMETERS - gone


def test_a_ticket_tells_what_it_is_and_is_left_once(bench: Bench) -> None:
    masks = leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    assert key == f"runs/test/tickets/a-0123abcd/{DECODER}.imp.0.r01.ticket"
    before = bench.store.get(key)
    leave_ticket(bench.context, key, CHAIN.round(1), [bench.image], {name: ~mask for name, mask in masks.items()})
    assert bench.store.get(key) == before
    ticket = read_ticket(bench.context, key)
    assert ticket.masks.keys() == masks.keys()
    assert all(torch.equal(ticket.masks[name], mask) for name, mask in masks.items())
    assert (ticket.network, ticket.out_channels, ticket.width, ticket.input_channels) == (DECODER, 3, 8, 3)
    assert (ticket.method, ticket.initialisation, ticket.round) == ("imp", 0, 1)
    assert (ticket.source, ticket.task, ticket.target, ticket.rewind) == ((bench.image.id,), "denoise", "observed", 0)
    # By itself it builds the network that the round was fitted with.
    assert_equal_weights(ticket.build(), round_network(bench.context, bench.image, CHAIN, 1).network.state_dict())


def test_a_random_ticket_has_no_source_and_only_imp_s_rewind(bench: Bench, make_config: MakeConfig) -> None:
    config = settings(make_config, rewind=3, target="clean")
    said, blind = {}, {}
    for method in ("random", "snip", "oes", "imp"):
        chain = Chain(DECODER, method, 1)
        leave(changed(bench, config), chain)
        ticket = read_ticket(bench.context, ticket_key(bench.context, bench.image, chain, 1))
        said[method] = (ticket.source, ticket.rewind, ticket.target)
        key = start_key(ticket_key(bench.context, bench.image, chain, 1))
        bench.store.put(key, state_bytes(initial_network(config, chain, 3).state_dict()))
        # Also in a run that finds masks on what was observed.
        blind[method] = round_network(bench.context, bench.image, chain, 1).blind
    here = (bench.image.id,)
    assert said == {
        "random": ((), 0, "clean"),
        "snip": (here, 0, "clean"),
        "oes": (here, 0, "clean"),
        "imp": (here, 3, "clean"),
    }
    assert blind == {"random": True, "snip": False, "oes": False, "imp": False}
    leave(bench)
    assert round_network(bench.context, bench.image, CHAIN, 1).blind


def test_a_ticket_that_was_found_elsewhere_is_read_there(bench: Bench, make_config: MakeConfig) -> None:
    source = "b-0123abcd"
    found = Bench(replace(bench.context, run="earlier"), replace(bench.image, id="b-0123abcd"))
    masks = leave(found)
    here = changed(bench, settings(make_config, tickets="earlier"))
    chain = replace(CHAIN, source=source)
    assert ticket_key(here.context, here.image, chain, 1) == f"runs/earlier/tickets/{source}/{CHAIN.round(1)}.ticket"
    drawn = round_network(here.context, here.image, chain, 1)
    assert_equal_weights(drawn.network, masked(initial_network(here.context.config, chain, 3).state_dict(), masks))
    # Without such a run it is one of this run.
    assert ticket_key(bench.context, bench.image, chain, 1).startswith(f"runs/test/tickets/{source}/")


# Tickets that cannot be used.


def why_not(bench: Bench) -> str:
    with pytest.raises(TicketError) as caught:
        round_network(bench.context, bench.image, CHAIN, 1)
    return str(caught.value)


def test_a_ticket_that_is_not_there_is_named(bench: Bench) -> None:
    path = bench.store.show(ticket_key(bench.context, bench.image, CHAIN, 1))
    assert why_not(bench) == f"there is no ticket {path}"


@pytest.mark.parametrize("damage", ["other", "empty", "cut", "bit"])
def test_a_ticket_that_is_damaged_is_named(bench: Bench, damage: str) -> None:
    leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    data = bench.store.get(key)
    last = bytes([data[-1] ^ 128])
    bytes_of = {"other": b"not a ticket", "empty": b"", "cut": data[:-1], "bit": data[:-1] + last}
    bench.store.put(key, bytes_of[damage])
    assert why_not(bench).startswith(f"the ticket {bench.store.show(key)} cannot be used: ")


def test_a_ticket_or_weights_of_a_newer_version_are_no_fault_of_the_round(
    bench: Bench, make_config: MakeConfig
) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    leave(rewound)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    file = io.BytesIO()
    torch.save({"format": 2}, file)
    bench.store.put(start_key(key), file.getvalue())
    with pytest.raises(NewerFormatError, match=r"the weights .*start\.pt has format 2"):
        round_network(rewound.context, bench.image, CHAIN, 1)
    bench.store.put(key, bench.store.get(key).replace(b"dip-ticket 1", b"dip-ticket 2", 1))
    with pytest.raises(NewerFormatError, match=r"the ticket .*ticket cannot be read by dip-orchestrator .*format 2"):
        round_network(rewound.context, bench.image, CHAIN, 1)


def test_a_ticket_that_the_store_finds_damaged_is_named(bench: Bench) -> None:
    leave(bench)
    key = ticket_key(bench.context, bench.image, CHAIN, 1)
    path = bench.store.local_path(key)
    with path.open("r+b") as file:  # in place: what the store knows of the object stays
        file.write(b"D")
    if not hasattr(os, "listxattr") or "user.dip.sha256" not in os.listxattr(path):
        pytest.skip("this file system keeps no extended attributes")
    assert why_not(bench).startswith(f"the ticket {path} cannot be used: ")


def test_a_ticket_of_another_network_says_how_it_differs(
    bench: Bench, make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    leave(bench)
    path = bench.store.show(ticket_key(bench.context, bench.image, CHAIN, 1))
    config = bench.context.config
    wide = changed(bench, config.model_copy(update={"network": config.network.model_copy(update={"width": 12})}))
    deep = {"network": config.network.model_copy(update={"input_channels": 5})}
    seed, other = (weights_seed(settings(make_config, seed=number), CHAIN) for number in (0, 1))
    has = f"the ticket {path} is of a network with 3 channels, width 8, input depth 3, weights of seed {seed}: here there are"
    assert why_not(wide) == f"{has} 3, 12, 3, {seed}"
    assert why_not(changed(bench, config.model_copy(update=deep))) == f"{has} 3, 8, 5, {seed}"
    assert why_not(changed(bench, settings(make_config, seed=1))) == f"{has} 3, 8, 3, {other}"
    grey = make_bench(config, encoded(channels=1))
    assert why_not(grey) == f"{has} 1, 8, 1, {seed}"


# Rounds that begin from later weights.


def test_a_rewound_round_begins_from_the_weights_beside_its_ticket(bench: Bench, make_config: MakeConfig) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    masks = leave(rewound)
    key = start_key(ticket_key(bench.context, bench.image, CHAIN, 1))
    assert key == f"runs/test/tickets/a-0123abcd/{CHAIN}.start.pt"
    assert why_not(rewound).startswith(f"the weights {bench.store.show(key)} cannot be used: ")
    initial = initial_network(rewound.context.config, CHAIN, 3).state_dict()
    later = {name: 2 * value + 1 for name, value in initial.items()}
    for nothing in (b"", b"no weights", state_bytes({**later, "more": torch.ones(1)}), state_bytes({})):
        bench.store.put(key, nothing)
        assert why_not(rewound).startswith(f"the weights {bench.store.show(key)} cannot be used: ")
    bench.store.put(key, state_bytes(later))
    assert_equal_weights(round_network(rewound.context, bench.image, CHAIN, 1).network, masked(later, masks))
    # The ticket says so, whatever the settings of the run that takes it over are.
    assert_equal_weights(round_network(bench.context, bench.image, CHAIN, 1).network, masked(later, masks))


def test_a_store_in_trouble_is_no_fault_of_the_weights(
    bench: Bench, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewound = changed(bench, settings(make_config, rewind=3))
    leave(rewound)
    get = rewound.context.store.get

    def away(key: str) -> bytes:
        if key.endswith(".start.pt"):
            raise StoreUnavailableError("nobody answers")
        return get(key)

    monkeypatch.setattr(rewound.context.store, "get", away)
    with pytest.raises(StoreUnavailableError, match="nobody answers"):
        round_network(rewound.context, bench.image, CHAIN, 1)


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
    drawn = round_network(bench.context, bench.image, Chain("dip", "decoder", 0), number)
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
    drawn = round_network(bench.context, bench.image, Chain("deep-decoder-4", "decoder", 0), 2)
    assert (drawn.parameters, drawn.sparsity) == (decoder_parameters(4), 0.0)


# What a round leaves for the next.


def fitted(network: Network) -> Fit:
    """A fit that has come to its end."""
    return cast(Fit, SimpleNamespace(network=network))


def test_the_next_round_keeps_the_largest_of_the_weights_that_are_left(bench: Bench) -> None:
    job = FitJob(bench.image, "full", CHAIN)
    network = initial_network(bench.context.config, replace(CHAIN, initialisation=1), 3)
    values = {
        name: layer.weight.detach().abs().numpy().copy()
        for name, layer in network.named_modules()
        if isinstance(layer, torch.nn.Conv2d)
    }
    before = some_masks(network, share=0.9)
    leave_next(bench.context, job, CHAIN.dense, 0, fitted(network))
    apply(network, before)
    leave_next(bench.context, job, CHAIN, 1, fitted(network))
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
        leave_next(bench.context, FitJob(bench.image, "full", CHAIN), CHAIN.dense, 0, fitted(network))
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
    record = run_fit(bench.context, FitJob(bench.image, "full", CHAIN.dense.round(0)))
    assert record.state == "done"
    there = list(bench.store.keys(bench.context.layout.all_tickets))
    assert there == ([f"runs/test/tickets/a-0123abcd/{CHAIN.round(1)}.ticket"] if left else [])


def test_the_last_round_and_rounds_of_other_methods_leave_none(bench: Bench) -> None:
    job = FitJob(bench.image, "full", CHAIN)
    network = initial_network(bench.context.config, CHAIN, 3)
    for chain, number in (
        (CHAIN, 2),
        (Chain(DECODER, "oes", 0), 1),
        (Chain(DECODER, "random", 0), 1),
        (Chain(DECODER, "decoder", 0), 1),
        (replace(CHAIN, source="all-images"), 1),
        (replace(CHAIN.dense, source="all-images"), 0),
    ):
        leave_next(bench.context, job, chain, number, fitted(network))
    assert list(bench.store.keys(bench.context.layout.all_tickets)) == []
    leave_next(bench.context, job, CHAIN, 1, fitted(network))
    assert len(list(bench.store.keys(bench.context.layout.all_tickets))) == 1


def test_patterns_that_match_no_convolution_are_found_before_a_run(make_config: MakeConfig) -> None:
    check_lottery(settings(make_config, network="dip", exempt=["skips.*"]))
    check_lottery(settings(make_config, arms=["dip"], network="dip", exempt=["no.such"]))
    with pytest.raises(ValueError, match=r"no convolution matches 'no\.such'"):
        check_lottery(settings(make_config, network="dip", exempt=["no.such"]))
    with pytest.raises(ValueError, match="leave no convolution to prune"):
        check_lottery(settings(make_config, exempt=["*"]))
