import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from workers.networks import prior_of
from workers.networks.cost import multiply_adds, prior_multiply_adds

# Every kind of convolution of the cells, both sides of pixel shuffles, strided and plain transposed ones.
PRIORS = (
    "dip",
    "dip-inpaint",
    "deep-decoder-64",
    "nas-dip-158-1111101111001110001100001",
    *(f"{cell}-1100001100101100101100101" for cell in (0, 27, 70, 190, 260, 275, 315)),
)
GROUPED = tuple(f"{cell}-1100001100101100101100101" for cell in (40, 52, 120, 228))


@pytest.mark.parametrize("name", PRIORS)
def test_a_step_is_counted_as_pytorch_counts_it(name: str) -> None:
    network = prior_of(name).build(3, 16, input_channels=3, generator=torch.Generator())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    for height, width in ((64, 64), (96, 160)):
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.rand(1, *network.input_shape(height, width))).square().mean().backward()
        # PyTorch counts a multiplication and an addition as two.
        assert 2 * multiply_adds(network, height, width) == counter.get_total_flops()
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])
    assert prior_multiply_adds(name, 3, 16, 3) * 96 * 160 == multiply_adds(network, 96, 160) * 64**2


@pytest.mark.parametrize("name", GROUPED)
def test_groups_do_not_count_what_they_leave_out(name: str) -> None:
    # PyTorch counts the gradient of grouped weights as if there were one group, so only the outputs compare.
    network = prior_of(name).build(3, 16, input_channels=3, generator=torch.Generator())
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(torch.rand(1, *network.input_shape(64, 64)))
    forward = counter.get_total_flops() // 2
    # Three times as many, less the gradient of the noise, which the first convolutions see.
    assert 2.9 * forward < multiply_adds(network, 64, 64) < 3 * forward


def test_networks_of_as_many_iterations_cost_differently() -> None:
    dip, candidate = (prior_multiply_adds(name, 3, 32, 3) for name in ("dip", "275-1111101111001110001100001"))
    assert candidate > 2 * dip
