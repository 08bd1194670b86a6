import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from workers.fitting import Fit, FitSettings
from workers.lottery.masks import Masks, applied, apply, prunable
from workers.lottery.shrink import shrink
from workers.networks import build, prior_of
from workers.networks.blocks import initialise
from workers.networks.deep_decoder import DeepDecoder
from workers.networks.dip import DipNetwork
from workers.objective import Measurement
from workers.operators import Identity
from workers.seeds import generator_of
from workers.space import Candidate

WIDTH, SKIP = 8, 4


def make(**overrides: object) -> DipNetwork:
    """A small network in double precision whose parameters are all different, as after training."""
    arguments = {"in_channels": 5, "out_channels": 3, "width": WIDTH, "skip_channels": SKIP, "upsampling": "bilinear"}
    network = DipNetwork(**arguments | overrides).double()
    initialise(network, generator_of("weights"))
    generator = generator_of("norms")
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.uniform_(-0.5, 0.5, generator=generator)
    return network


def everything(network: nn.Module) -> Masks:
    return {name: torch.ones_like(conv.weight, dtype=torch.bool) for name, conv in prunable(network).items()}


def noise(channels: int = 5) -> Tensor:
    return torch.rand(1, channels, 64, 64, generator=generator_of("input"), dtype=torch.float64) * 0.1


def shapes(network: nn.Module) -> dict[str, tuple[int, int]]:
    return {name: (conv.in_channels, conv.out_channels) for name, conv in prunable(network).items()}


def changed(network: nn.Module, smaller: nn.Module) -> dict[str, tuple[int, int]]:
    before = shapes(network)
    return {name: sizes for name, sizes in shapes(smaller).items() if sizes != before[name]}


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def assert_same_function(network: DipNetwork, smaller: DipNetwork) -> None:
    with torch.no_grad():
        x = noise(network.in_channels)
        expected = network(x)
        assert expected.std() > 1e-3
        torch.testing.assert_close(smaller(x), expected, rtol=0, atol=1e-10)


def test_filters_without_weights_go_with_all_that_belongs_to_them() -> None:
    network = make()
    masks = everything(network)
    masks["encoders.1.0"][[0, 3]] = False
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {"encoders.1.0": (8, 6), "encoders.1.3": (6, 8)}
    assert smaller.encoders[1][1].num_features == 6
    # Two filters, their biases, scales and shifts, and the weights that read them.
    assert parameters(network) - parameters(smaller) == 2 * (8 * 9 + 3) + 8 * 2 * 9
    assert_same_function(network, smaller)


def test_channels_that_nobody_reads_go() -> None:
    network = make()
    masks = everything(network)
    masks["encoders.1.0"][:, [2, 5]] = False
    masks["skips.1.0"][:, [5, 6]] = False  # 2 and 6 have one reader left, 5 has none
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {"encoders.0.3": (8, 7), "encoders.1.0": (7, 8), "skips.1.0": (7, 4)}
    assert_same_function(network, smaller)


def test_what_reads_only_empty_filters_is_empty() -> None:
    network = make()
    masks = everything(network)
    masks["encoders.2.0"][:4] = False
    masks["encoders.2.3"][1, 4:] = False
    masks["encoders.3.0"][[0, 2]] = False
    masks["encoders.3.0"][0, 1] = True  # reads nothing but a channel that reads nothing but empty filters
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {
        "encoders.2.0": (8, 4),
        "encoders.2.3": (4, 7),
        "skips.3.0": (7, 4),
        "encoders.3.0": (7, 6),
        "encoders.3.3": (6, 8),
    }
    assert_same_function(network, smaller)


def test_what_is_read_only_by_channels_that_nobody_reads_goes() -> None:
    network = make()
    masks = everything(network)
    masks["mergers.1.1"][:, SKIP + 6] = False  # channel 6 of the scale below
    masks["mergers.2.4"][:, 4] = False
    masks["mergers.2.4"][6, 4] = True
    masks["mergers.2.1"][:, 1] = False  # a skip channel that is read by the same dead end only
    masks["mergers.2.1"][4, 1] = True
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {
        "skips.2.0": (8, 3),
        "mergers.2.1": (11, 7),
        "mergers.2.4": (7, 7),
        "mergers.1.1": (11, 8),
    }
    assert_same_function(network, smaller)


def test_constants_that_reach_the_last_convolution_become_its_bias() -> None:
    network = make()
    masks = everything(network)
    masks["mergers.0.4"][[1, 6]] = False
    apply(network, masks)
    with torch.no_grad():
        network.mergers[0][5].bias[[1, 6]] = torch.tensor([0.5, -2.0], dtype=torch.float64)
        weight = network.output[0].weight[:, :, 0, 0]
        expected = network.output[0].bias + 0.5 * weight[:, 1] - 0.2 * 2.0 * weight[:, 6]
    smaller = shrink(network)
    torch.testing.assert_close(smaller.output[0].bias, expected, rtol=0, atol=1e-14)
    assert changed(network, smaller) == {"mergers.0.4": (8, 6), "output.0": (6, 3)}
    assert_same_function(network, smaller)


def test_a_layer_keeps_one_channel() -> None:
    network = make()
    masks = everything(network)
    masks["skips.2.0"][:] = False  # constants all
    masks["mergers.3.1"][:, :SKIP] = False  # the skips of this scale are not read
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {
        "skips.2.0": (8, 1),
        "mergers.2.1": (9, 8),
        "skips.3.0": (8, 1),
        "mergers.3.1": (9, 8),
    }
    assert_same_function(network, smaller)


def test_input_and_image_keep_their_channels() -> None:
    network = make()
    masks = everything(network)
    masks["encoders.0.0"][:, 2] = False
    masks["skips.0.0"][:, 2] = False
    masks["output.0"][1] = False
    apply(network, masks)
    smaller = shrink(network)
    assert not changed(network, smaller)
    assert smaller.input_shape(64, 96) == (5, 64, 96)
    assert_same_function(network, smaller)


def test_masks_that_empty_no_channel_change_nothing() -> None:
    network = make()
    masks = everything(network)
    for mask in masks.values():
        mask[::2, 0] = False
    apply(network, masks)
    smaller = shrink(network)
    before, after = network.state_dict(), smaller.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(torch.equal(mask, masks[name]) for name, mask in applied(smaller).items())
    assert applied(smaller).keys() == masks.keys()


def test_convolutions_without_masks_stay_without() -> None:
    network = make()
    assert not changed(network, shrink(network))
    assert not applied(shrink(network))
    masks = everything(network)
    del masks["encoders.1.3"]
    masks["encoders.1.0"][1:] = False
    apply(network, masks)
    smaller = shrink(network)
    assert changed(network, smaller) == {"encoders.1.0": (8, 1), "encoders.1.3": (1, 8)}
    assert applied(smaller).keys() == masks.keys()
    assert_same_function(network, smaller)


def test_a_weight_that_is_zero_but_not_masked_stays() -> None:
    network = make()
    with torch.no_grad():
        network.encoders[1][0].weight[3] = 0
    assert not changed(network, shrink(network))


def test_the_given_network_and_the_global_generator_are_left_alone() -> None:
    network = make()
    masks = random_masks(seed=0, share=0.3)
    apply(network, masks)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    chance = torch.get_rng_state()
    smaller = shrink(network)
    with torch.no_grad():
        for parameter in smaller.parameters():
            parameter.zero_()
    assert torch.equal(torch.get_rng_state(), chance)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(mask, masks[name]) for name, mask in applied(network).items())


@pytest.mark.parametrize("network", [build(Candidate.parse("0-1111101111001110001100001"), 3, 3, 4), DeepDecoder(4, 3)])
def test_other_networks_are_refused(network: nn.Module) -> None:
    with pytest.raises(ValueError, match="DIP's networks only"):
        shrink(network)


def random_masks(seed: int, share: float, weights: float = 0.7) -> Masks:
    """Masks that keep this share of the connections between channels, and this share of the weights in them.

    Connections of first channels are all left, so that no layer is cut off: rounding would be amplified there.
    """
    random = generator_of("masks", seed)
    masks = everything(make())
    for mask in masks.values():
        links = torch.rand(mask.shape[:2], generator=random) < share
        mask.logical_and_(links[:, :, None, None] & (torch.rand(mask.shape, generator=random) < weights))
        mask[0, ::SKIP] = True  # behind the skip channels are those of the scale below
    return masks


def soften(*networks: nn.Module) -> None:
    """Let rounding grow tenfold at most in every batch normalisation, instead of 316-fold."""
    for network in networks:
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = 0.01


@settings(derandomize=True, max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.05, 0.6), st.sampled_from(["bilinear", "nearest"]))
def test_the_function_and_the_gradients_of_what_remains_are_the_same(seed: int, share: float, upsampling: str) -> None:
    network = make(upsampling=upsampling)
    apply(network, random_masks(seed, share))
    smaller = shrink(network)
    weights = torch.rand(3, 64, 64, generator=generator_of("loss"), dtype=torch.float64) - 0.5
    soften(network, smaller)
    for each in (network, smaller):
        (each(noise()) * weights).sum().backward()
    assert_same_function(network, smaller)
    # All values differ, so that a parameter is known by its value, wherever it lies now.
    gradients = {
        value: gradient
        for parameter in network.parameters()
        for value, gradient in zip(parameter.flatten().tolist(), parameter.grad.flatten().tolist(), strict=True)
    }
    for name, parameter in smaller.named_parameters():
        values = parameter.flatten().tolist()
        if name == "output.0.bias":  # has taken in constants
            expected = network.output[0].bias.grad.tolist()
        else:
            expected = [gradients[value] if value else 0.0 for value in values]
        np.testing.assert_allclose(parameter.grad.flatten(), expected, rtol=0, atol=1e-9)
    assert max(map(abs, gradients.values())) > 0.1
    # Nothing more can go.
    assert not changed(smaller, shrink(smaller))


@pytest.mark.parametrize("prior", ["dip", "dip-inpaint"])
def test_a_trained_network_shrinks_and_is_trained_further(prior: str) -> None:
    network = prior_of(prior).build(3, WIDTH, input_channels=3, generator=generator_of("weights"))
    masks = everything(network)
    random = generator_of("masks")
    for name, mask in masks.items():
        mask.logical_and_(torch.rand(mask.shape, generator=random) < 0.5)
        if name != "output.0":
            mask[1::3] = False
    apply(network, masks)
    picture = torch.rand(3, 64, 64, generator=generator_of("picture")).numpy()
    measurement = Measurement(picture, np.zeros((64, 64), dtype=bool))

    def fit(some: DipNetwork) -> None:
        Fit(some, measurement, Identity(), FitSettings(iterations=4), seed=0).advance(4)

    fit(network)
    assert all(layer.bias.any() for layer in network.modules() if isinstance(layer, nn.BatchNorm2d))
    smaller = shrink(network)
    assert parameters(smaller) < 0.6 * parameters(network)
    before = {name: conv.weight.detach().clone() for name, conv in prunable(smaller).items()}
    fit(smaller)
    left = applied(smaller)
    for name, conv in prunable(smaller).items():
        assert (~left[name]).any()
        assert not conv.weight[~left[name]].any()
        assert (conv.weight[left[name]] != before[name][left[name]]).float().mean() > 0.9
    assert_same_function(network.double(), shrink(network).double())


def test_training_goes_the_same_way_if_the_last_convolution_loses_no_channel() -> None:
    network = make()
    masks = random_masks(seed=1, share=0.2)
    for name in ("mergers.0.1", "mergers.0.4", "output.0"):
        masks[name][:] = True
    apply(network, masks)
    smaller = shrink(network)
    soften(network, smaller)
    target = torch.rand(1, 3, 64, 64, generator=generator_of("target"), dtype=torch.float64)
    start = network(noise()).detach()
    for each in (network, smaller):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(5):
            optimizer.zero_grad()
            F.mse_loss(each(noise()), target).backward()
            optimizer.step()
    assert parameters(smaller) < 0.8 * parameters(network)
    assert (network(noise()) - start).abs().max() > 0.01
    assert_same_function(network, smaller)
