import copy
import weakref
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.workers.lottery.small import NETWORKS, candidate, decoder, dip, objective
from workers.lottery.masks import Masks, applied, apply, kept_after, layer_counts, prunable, sparsity, top, unflatten
from workers.networks import Network, prior_of
from workers.seeds import generator_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def some_masks(network: nn.Module, share: float = 0.3) -> Masks:
    """Masks of every convolution but the first; a share is kept."""
    generator = generator_of("masks", share)
    convolutions = list(prunable(network).items())[1:]
    return {name: torch.rand(conv.weight.shape, generator=generator) < share for name, conv in convolutions}


def train(network: Network, steps: int = 4, optimizer: torch.optim.Adam | None = None) -> torch.optim.Adam:
    image = objective(network)
    optimizer = optimizer or torch.optim.Adam(network.parameters(), lr=0.05, fused=True)
    for _ in range(steps):
        optimizer.zero_grad()
        image.loss(network(image.input())).backward()
        optimizer.step()
    return optimizer


def assert_held(network: nn.Module, masks: Masks) -> None:
    """Masked weights are zero, kept ones are not."""
    for name, mask in masks.items():
        assert torch.equal(network.get_submodule(name).weight != 0, mask)


def same(one: Masks, other: Masks) -> bool:
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_all_convolutions_are_prunable_in_order_and_nothing_else() -> None:
    network = dip()
    every = [name for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    assert list(prunable(network)) == every
    assert all(network.get_submodule(name) is conv for name, conv in prunable(network).items())


def test_exempt_layers_are_left_out_by_pattern() -> None:
    network = dip()
    left = prunable(network, ["skips.0.*", "encoders.?.0"])
    gone = {"skips.0.0", *(f"encoders.{level}.0" for level in range(5))}
    assert list(left) == [name for name in prunable(network) if name not in gone]


@pytest.mark.parametrize(("patterns", "words"), [(["skips.0.*", "no.such"], "no.such"), (["*"], r"'\*' leave")])
def test_patterns_that_do_not_fit_a_network_are_named_beside_its_layers(patterns: list[str], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        prunable(dip(), patterns)
    assert "skips.0.0" in str(error.value)


def test_transposed_convolutions_are_not_prunable_but_count() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 1, 3))
    assert list(prunable(network)) == ["0"]
    mask = torch.ones(2, 1, 3, 3, dtype=torch.bool)
    mask[0] = False
    assert sparsity(network, {"0": mask}) == 9 / 36


def test_rounds_take_their_share_of_what_is_left_but_never_all() -> None:
    assert [kept_after(100, 0.2, rounds) for rounds in range(5)] == [100, 80, 64, 51, 41]
    assert kept_after(5, 0.5, 1) == 3
    assert kept_after(7, 0.99, 1) == kept_after(7, 0.99, 50) == 1


def test_sixteen_rounds_of_a_fifth_leave_2_8_percent_of_the_dip_baseline() -> None:
    assert kept_after(2_208_768, 0.2, 16) / 2_208_768 == pytest.approx(0.8**16, abs=1e-5)


def test_the_dip_baseline_has_the_weights_of_the_paper() -> None:
    network = prior_of("dip").declare(3, 128, input_channels=3)
    counts = {name: conv.weight.numel() for name, conv in prunable(network).items()}
    assert sum(counts.values()) == 2_208_768
    on_noise = sum(counts[name] for name, conv in prunable(network).items() if conv.in_channels == 32)
    assert on_noise == counts["skips.0.0"] + counts["encoders.0.0"]
    assert round(100 * on_noise / sum(counts.values()), 2) == 1.67
    left = prunable(network, ["skips.0.*", "encoders.0.0"])
    assert sum(conv.weight.numel() for conv in left.values()) == 2_208_768 - on_noise


VALUES = st.lists(st.sampled_from([-float("inf"), -1.0, 0.0, 0.5, 2.0, float("inf")]), min_size=6, max_size=6)


@settings(derandomize=True)
@given(VALUES, st.integers(0, 6))
def test_the_largest_are_kept_and_of_equal_ones_the_earlier(values: list[float], keep: int) -> None:
    masks = top({"a": torch.tensor(values[:4]).reshape(2, 1, 1, 2), "b": torch.tensor(values[4:])}, keep)
    expected = set(sorted(range(6), key=lambda place: (-values[place], place))[:keep])
    assert masks["a"].shape == (2, 1, 1, 2)
    flat = masks["a"].flatten().tolist() + masks["b"].tolist()
    assert {place for place, kept in enumerate(flat) if kept} == expected


def test_the_layout_of_values_in_memory_does_not_matter() -> None:
    value = torch.randint(0, 3, (4, 3, 3, 3), generator=generator_of("ties")).float()
    for keep in (20, 50, 90):
        assert same(top({"a": value}, keep), top({"a": value.to(memory_format=torch.channels_last)}, keep))


@pytest.mark.parametrize(("values", "keep"), [([1.0, float("nan")], 1), ([1.0, 2.0], 3), ([1.0, 2.0], -1)])
def test_what_cannot_be_ordered_or_kept_is_refused(values: list[float], keep: int) -> None:
    with pytest.raises(ValueError, match=r"not a number|cannot keep"):
        top({"a": torch.tensor(values)}, keep)


def test_a_row_is_cut_into_layers_in_c_order() -> None:
    layers = unflatten(torch.arange(8), {"a": (2, 3), "b": (1, 2)})
    assert {name: layer.tolist() for name, layer in layers.items()} == {"a": [[0, 1, 2], [3, 4, 5]], "b": [[6, 7]]}


@pytest.mark.parametrize("make", NETWORKS)
def test_masked_weights_are_zero_and_stay_zero_in_training(make: Callable[[], Network]) -> None:
    network = make()
    masks = some_masks(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    apply(network, masks)
    assert_held(network, masks)
    assert network.state_dict().keys() == before.keys()
    for name in masks:
        kept = network.state_dict()[f"{name}.weight"][masks[name]]
        assert torch.equal(kept, before[f"{name}.weight"][masks[name]])
    train(network)
    assert_held(network, masks)
    for name, mask in masks.items():
        moved = network.state_dict()[f"{name}.weight"] != before[f"{name}.weight"]
        assert moved[mask].any()


def test_kept_weights_have_the_gradients_that_they_would_have_in_the_dense_network() -> None:
    network, other = decoder(), decoder()
    masks = some_masks(network)
    apply(network, masks)
    other.load_state_dict(network.state_dict())
    for one in (network, other):
        image = objective(one)
        image.loss(one(image.input())).backward()
    for name, mask in masks.items():
        gradient = other.get_submodule(name).weight.grad
        assert gradient[~mask].any()
        assert torch.equal(network.get_submodule(name).weight.grad, gradient * mask)


def test_weights_stay_zero_after_a_state_is_loaded_and_the_network_is_laid_out_otherwise() -> None:
    network, other = decoder(), decoder("others")
    masks = some_masks(network)
    optimizer = train_masked(network, masks)
    apply(other, masks)
    other.to(memory_format=torch.channels_last)
    assert other.get_submodule("layers.4").weight_mask.is_contiguous(memory_format=torch.channels_last)
    continued = torch.optim.Adam(other.parameters(), lr=0.05, fused=True)
    other.load_state_dict(network.state_dict())
    continued.load_state_dict(optimizer.state_dict())
    train(other, optimizer=continued)
    assert_held(other, masks)


def train_masked(network: Network, masks: Masks) -> torch.optim.Adam:
    apply(network, masks)
    return train(network)


def test_masks_follow_a_network_to_another_type() -> None:
    network = decoder()
    masks = some_masks(network)
    apply(network, masks)
    network.double()
    assert network.get_submodule("layers.4").weight_mask.dtype == torch.float64
    assert same(applied(network), masks)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05, fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.rand(1, 8, 2, 2, dtype=torch.float64, generator=generator_of("input"))).sum().backward()
        optimizer.step()
    assert_held(network, masks)


def test_masks_that_are_applied_replace_those_that_were() -> None:
    network, once = decoder(), decoder()
    first, second = some_masks(network), some_masks(network, 0.6)
    del second["layers.4"]
    assert applied(network) == {}
    for masks in (first, first, second):
        apply(network, masks)
        assert same(applied(network), masks)
    once.load_state_dict(network.state_dict())
    apply(once, second)
    train(network)
    train(once)
    for (name, one), other in zip(network.named_parameters(), once.parameters(), strict=True):
        assert torch.equal(one, other), name
    revived = ~first["layers.4"]
    assert (network.get_submodule("layers.4").weight[revived] != 0).any()
    apply(network, {})
    assert applied(network) == {}
    train(network)
    assert (network.get_submodule("layers.8").weight != 0).any()


def test_the_gradient_is_multiplied_once_however_often_masks_are_applied() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 2, bias=False))
    for _ in range(3):
        apply(network, {"0": torch.tensor([[[[True, False], [True, True]]]])})
    # A mask of other numbers than 0 and 1 would show it.
    network[0].weight_mask.fill_(3)
    network(torch.ones(1, 1, 2, 2)).sum().backward()
    assert network[0].weight.grad.tolist() == [[[[3, 3], [3, 3]]]]


def test_a_deep_copy_takes_masks_of_its_own() -> None:
    network = decoder()
    masks, others = some_masks(network), some_masks(network, 0.6)
    apply(network, masks)
    copied = copy.deepcopy(network)
    apply(copied, others)
    train(copied)
    train(network)
    assert_held(network, masks)
    revived = others["layers.4"] & ~masks["layers.4"]
    assert (copied.get_submodule("layers.4").weight[revived] != 0).any()
    assert (copied.get_submodule("layers.4").weight[~others["layers.4"]] == 0).all()


def test_a_masked_network_is_gone_when_nobody_holds_it() -> None:
    network = decoder()
    apply(network, some_masks(network))
    there = weakref.ref(network.get_submodule("layers.4"))
    del network
    assert there() is None


def test_a_weight_that_is_not_a_number_is_masked_too() -> None:
    network = decoder()
    masks = some_masks(network)
    with torch.no_grad():
        network.get_submodule("layers.4").weight.fill_(torch.nan)
    apply(network, masks)
    assert (network.get_submodule("layers.4").weight[~masks["layers.4"]] == 0).all()


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"layers.1": torch.ones(8, 8, 1, 1, dtype=torch.bool)}, "layers.1"),
        ({"layers.4": torch.ones(8, 1, dtype=torch.bool)}, r"layers.4 has the shape \(8, 1\)"),
    ],
)
def test_masks_of_another_network_are_refused(masks: dict[str, Tensor], words: str) -> None:
    network = decoder()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError, match=words):
        apply(network, masks)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_sparsity_counts_the_zeros_of_all_weights_also_of_exempt_layers() -> None:
    network = candidate()
    masks = some_masks(network)
    apply(network, masks)
    kinds = nn.Conv2d | nn.ConvTranspose2d
    kernels = [layer.weight for layer in network.modules() if isinstance(layer, kinds)]
    zeros = sum(int((weight == 0).sum()) for weight in kernels)
    assert sparsity(network, masks) == zeros / sum(weight.numel() for weight in kernels)
    assert sparsity(network, {}) == 0
    assert layer_counts(masks) == {
        name: (int((network.get_submodule(name).weight != 0).sum()), mask.numel()) for name, mask in masks.items()
    }
