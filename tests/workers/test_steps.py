from functools import cache

import pytest
import torch

from workers.networks import Network, prior_of
from workers.networks.layers import prepare
from workers.networks.steps import Step
from workers.seeds import generator_of
from workers.space import valid_upsamplers

OF_EVERY_KIND = ["dip", "dip-inpaint", "deep-decoder-8"]


def network_of(name: str) -> Network:
    multiple = prior_of(name).width_multiple
    return prior_of(name).build(2, max(8, multiple), input_channels=2, generator=generator_of("weights"))


def gradients(network: Network, step: Step) -> list[torch.Tensor]:
    """The output, and the gradients of a loss in all weights."""
    x = torch.rand(1, *network.input_shape(64, 64), generator=generator_of("x")).double()
    prepare(network.double(), step)
    output = network(x)
    weight = torch.randn(output.shape, generator=generator_of("weight"))
    (output * weight).sum().backward()
    return [output.detach(), *(parameter.grad for parameter in network.parameters() if parameter.grad is not None)]


@cache
def pytorchs(name: str) -> list[torch.Tensor]:
    return gradients(network_of(name), Step.TORCH)


@pytest.mark.parametrize("step", [step for step in Step if step is not Step.TORCH])
@pytest.mark.parametrize(
    "name", OF_EVERY_KIND + [f"{cell}-1000010110000000000000000" for cell in valid_upsamplers()[::9]]
)
def test_all_ways_agree_for_a_network_to_rounding(name: str, step: Step) -> None:
    theirs, ours = pytorchs(name), gradients(network_of(name), step)
    assert len(ours) == len(theirs)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
