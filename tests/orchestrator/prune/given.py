"""Shared by the tests of tickets and rounds."""

import io
from dataclasses import replace
from typing import Any

import torch

from orchestrator.arms.chains import initial_network
from orchestrator.prune.tickets import leave_ticket, ticket_key
from orchestrator.settings import Config
from tests.orchestrator.conftest import Bench, MakeConfig
from workers.lottery.masks import Masks
from workers.names import Chain
from workers.networks import Network

DECODER = "deep-decoder-8"
"""The quickest: six layers of 8 x 8 weights, 3 x 8 at the end; its batch normalisation has 6 x 16 parameters."""
WEIGHTS = 6 * 64 + 24
PARAMETERS = WEIGHTS + 96
CHAIN = Chain(DECODER, "imp", 0)


def settings(make_config: MakeConfig, *, arms: list[Any] | None = None, seed: int = 0, **lottery: Any) -> Config:
    """A lottery of two rounds, in each of which a quarter of the weights goes."""
    lottery = {"network": DECODER, "initialisations": 2, "rounds": 2, "rate": 0.25} | lottery
    return make_config(
        arms=arms or ["lottery-imp"], seed=seed, lottery=lottery, fit={"iterations": 2, "patience": 2, "block": 2}
    )


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
