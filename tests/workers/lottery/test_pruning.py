from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.workers.lottery.small import NETWORKS, decoder, dip, exempt, measurement, objective, weights
from workers.lottery.masks import Masks, apply, kept_after, layer_counts, prunable, top
from workers.lottery.oes import MaskSearch
from workers.lottery.pruning import at_random, by_magnitude, by_sensitivity, magnitudes
from workers.networks import Network, noise_input
from workers.seeds import generator_of


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def kept(masks: Masks) -> int:
    return sum(count for count, _ in layer_counts(masks).values())


def flat(layers: dict[str, Tensor]) -> Tensor:
    return torch.cat([layer.detach().flatten() for layer in layers.values()])


def test_magnitude_keeps_the_largest_over_all_layers() -> None:
    network = dip()
    mask = flat(by_magnitude(network, None, 500))
    sizes = flat({name: conv.weight for name, conv in prunable(network).items()}).abs()
    assert mask.sum() == 500
    assert sizes[mask].min() > sizes[~mask].max()


def test_exempt_layers_have_no_magnitudes() -> None:
    network = dip()
    values = magnitudes(network, exempt(network))
    assert "skips.0.0" not in values
    assert list(by_magnitude(network, None, 500, exempt(network))) == list(values)


def test_what_was_pruned_stays_pruned_also_before_weights_that_have_become_zero() -> None:
    network = decoder()
    before = at_random(network, 100, (), 0)
    with torch.no_grad():
        for name, conv in prunable(network).items():
            conv.weight[before[name]] = 0
    # Not applied: the pruned weight is the larger here.
    mask, left = flat(by_magnitude(network, before, 90)), flat(before)
    assert mask.sum() == 90
    assert not (mask & ~left).any()


def test_magnitude_brings_no_weight_back_and_takes_no_other_layers_masks() -> None:
    network = decoder()
    before = at_random(network, 100, (), 0)
    with pytest.raises(ValueError, match="cannot keep 101 weights of the 100 that are left"):
        by_magnitude(network, before, 101)
    with pytest.raises(ValueError, match="not those of the layers"):
        by_magnitude(network, before, 50, ["layers.0"])


def test_rounds_of_magnitude_pruning_are_nested_and_follow_the_training() -> None:
    network = decoder()
    image = objective(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    untrained = by_magnitude(network, None, 200)
    masks: Masks | None = None
    for keep in (200, 100):
        for _ in range(3):
            optimizer.zero_grad()
            image.loss(network(image.input())).backward()
            optimizer.step()
        after = by_magnitude(network, masks, keep)
        apply(network, after)
        assert masks is None or not (flat(after) & ~flat(masks)).any()
        masks = after
    assert not torch.equal(flat(by_magnitude(decoder(), None, 200)), flat(masks))
    assert torch.equal(flat(by_magnitude(decoder(), None, 200)), flat(untrained))


def test_random_masks_of_a_seed_are_nested_and_of_two_seeds_are_not() -> None:
    network = dip()
    masks = {keep: flat(at_random(network, keep, (), 1)) for keep in (50, 500, 1000)}
    assert all(mask.sum() == keep for keep, mask in masks.items())
    assert not (masks[50] & ~masks[500]).any()
    assert not (masks[500] & ~masks[1000]).any()
    assert (masks[50] & ~flat(at_random(network, 500, (), 2))).any()


def test_random_masks_keep_their_share_of_every_layer() -> None:
    network = dip()
    total = sum(conv.weight.numel() for conv in prunable(network).values())
    counts = layer_counts(at_random(network, total // 4, (), 0))
    for name, (left, weights_there) in counts.items():
        # Five standard deviations of a hypergeometric count, at most those of a binomial one.
        assert abs(left - weights_there / 4) <= 5 * (weights_there * 3 / 16) ** 0.5, name


def test_random_masks_have_nothing_to_do_with_the_weights() -> None:
    one, other = (flat(at_random(decoder(name), 100, (), 0)) for name in ("weights", "others"))
    assert torch.equal(one, other)


def test_sensitivity_is_what_the_loss_does_when_a_weight_fades() -> None:
    network = decoder().double()
    measured, noise = measurement(), noise_input(8, 2, 2, generator_of("input")).double()
    target = torch.from_numpy(measured.pixels)[None].double()

    class Exact:
        """An objective in double precision: finite differences need it."""

        def input(self) -> Tensor:
            return noise

        def loss(self, output: Tensor) -> Tensor:
            return (output - target).square().mean()

    values = by_sensitivity(network, [Exact(), Exact()])  # type: ignore[list-item]
    random = torch.Generator().manual_seed(0)
    for name, conv in prunable(network).items():
        for _ in range(3):
            place = tuple(int(torch.randint(side, (), generator=random)) for side in conv.weight.shape)
            losses = []
            with torch.no_grad():
                weight = conv.weight[place].clone()
                for factor in (1 + 1e-6, 1 - 1e-6):
                    conv.weight[place] = factor * weight
                    losses.append(2 * Exact().loss(network(noise)))
                conv.weight[place] = weight
            difference = float(losses[0] - losses[1]) / 2e-6
            assert float(values[name][place]) == pytest.approx(abs(difference), rel=1e-3, abs=1e-8), (name, place)
    assert flat(values).count_nonzero() > 100


def test_sensitivity_leaves_the_network_as_it_was() -> None:
    network = dip()
    before = weights(network)
    values = by_sensitivity(network, [objective(network)], exempt(network))
    assert weights(network) == before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())
    assert list(values) == list(prunable(network, exempt(network)))
    assert not any(value.requires_grad for value in values.values())


def test_sensitivity_takes_one_draw_of_each_objective() -> None:
    network = decoder()
    used, fresh = objective(network), objective(network)
    by_sensitivity(network, [used])
    fresh.input()
    assert torch.equal(used.input(), fresh.input())


def test_sensitivity_is_of_the_sum_of_the_images_and_not_of_their_sensitivities() -> None:
    network = decoder()
    both = flat(by_sensitivity(network, [objective(network, 0), objective(network, 1)]))
    images = [objective(network, 0), objective(network, 1)]
    loss = sum(image.loss(network(image.input())) for image in images)
    loss.backward()
    expected = flat({name: conv.weight * conv.weight.grad for name, conv in prunable(network).items()}).abs()
    torch.testing.assert_close(both, expected)


@pytest.mark.parametrize("free", [True, False], ids=["all layers", "exempt layers"])
@pytest.mark.parametrize("make", NETWORKS)
def test_all_methods_keep_the_same_number_of_weights_at_every_round(make: Callable[[], Network], free: bool) -> None:
    network = make()
    patterns = [] if free else exempt(network)
    total = sum(conv.weight.numel() for conv in prunable(network, patterns).values())
    snip = by_sensitivity(network, [objective(network)], patterns)
    search = MaskSearch(network, [objective(network)], exempt=patterns, prior=0.2, strength=1e-9, seed=0)
    search.advance(1)
    masks: Masks | None = None
    for pruned in (0, 1, 5, 16, 25):
        count = kept_after(total, 0.2, pruned)
        masks = by_magnitude(network, masks, count, patterns)
        others = [at_random(network, count, patterns, 0), top(snip, count), top(search.logits(), count)]
        assert [kept(mask) for mask in (masks, *others)] == [count] * 4
        assert all(mask.keys() == masks.keys() for mask in others)
