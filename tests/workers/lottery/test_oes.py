import copy
import io

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workers.lottery.small import NOISE, decoder, dip, exempt, objective, weights
from workers.fitting import FitDivergedError
from workers.lottery.masks import Masks, apply, prunable, top
from workers.lottery.oes import MaskSearch, strength_for
from workers.lottery.pruning import at_random
from workers.networks import Network
from workers.objective import Measurement, Objective
from workers.operators import Identity


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def search(network: Network, images: int = 1, **arguments: float) -> MaskSearch:
    settings: dict[str, float] = {"prior": 0.5, "strength": 1e-9} | arguments
    return MaskSearch(network, [objective(network, image) for image in range(images)], seed=0, **settings)


def flat(layers: dict[str, Tensor]) -> Tensor:
    return torch.cat([layer.flatten() for layer in layers.values()])


def loss_with(masks: Masks) -> float:
    """The loss of a network that is never trained."""
    network = decoder(channels=32)
    apply(network, masks)
    image = objective(network, input_noise=0)
    with torch.no_grad():
        return float(image.loss(network(image.input())))


def test_a_learnt_mask_makes_an_untrained_network_fit_better_than_random_ones_do() -> None:
    network = decoder(channels=32)
    found = search(network, learning_rate=0.1)
    found.advance(150)
    keep = len(flat(found.logits())) // 2
    learnt = loss_with(top(found.logits(), keep))
    by_chance = [loss_with(at_random(network, keep, (), seed)) for seed in range(10)]
    assert learnt < 0.8 * min(by_chance)


def test_a_search_does_not_touch_the_network() -> None:
    network = dip()
    before = weights(network)
    search(network, 2).advance(2)
    assert weights(network) == before
    assert all(parameter.grad is None and parameter.requires_grad for parameter in network.parameters())


def test_probabilities_begin_at_a_half_for_the_prunable_weights_alone() -> None:
    network = dip()
    found = MaskSearch(network, [objective(network)], exempt=exempt(network), prior=0.5, strength=0, seed=0)
    shapes = {name: conv.weight.shape for name, conv in prunable(network, exempt(network)).items()}
    assert {name: logits.shape for name, logits in found.logits().items()} == shapes
    assert not flat(found.logits()).any()
    found.advance(1)
    assert flat(found.logits()).any()


@pytest.mark.parametrize("prior", [0.1, 0.9])
def test_the_pull_moves_every_probability_to_the_prior(prior: float) -> None:
    found = search(decoder(), prior=prior, strength=100.0, learning_rate=0.2)
    found.advance(60)
    torch.testing.assert_close(
        flat(found.logits()).sigmoid(), torch.full_like(flat(found.logits()), prior), rtol=0, atol=0.02
    )


def test_the_loss_is_the_images_on_drawn_masks_with_the_divergence_from_the_prior() -> None:
    network = decoder()
    count = len(flat(search(network).logits()))
    bare, pulled = (search(network, 2, prior=0.2, strength=strength).advance(1) for strength in (0.0, 3.0))
    # At the start every p is a half, whatever was drawn.
    divergence = 0.5 * np.log(0.5 / 0.2) + 0.5 * np.log(0.5 / 0.8)
    assert pulled - bare == pytest.approx(3 * count * divergence, rel=1e-4)
    singles = [
        MaskSearch(network, [objective(network, image)], prior=0.2, strength=0, seed=0).advance(1) for image in (0, 1)
    ]
    # One mask is drawn a step, for all images.
    assert bare == pytest.approx(sum(singles), rel=1e-5)


def test_the_pull_does_not_depend_on_the_number_of_weights() -> None:
    divergence = 0.5 * np.log(0.5 / 0.2) + 0.5 * np.log(0.5 / 0.8)
    for network in (decoder(), decoder(channels=32), dip()):
        found, bare = (
            MaskSearch(network, [objective(network)], prior=0.2, strength=strength, seed=0) for strength in (None, 0.0)
        )
        # As the authors' 1e-9 pulls their 2,208,768 weights.
        assert found.advance(1) - bare.advance(1) == pytest.approx(1e-9 * 2_208_768 * divergence, rel=0.01)
    assert strength_for(2_208_768) == 1e-9


def test_masks_are_nearer_to_zero_and_one_the_colder_and_even_on_average() -> None:
    class Seen(Network):
        """Shows the weight that it runs with."""

        in_channels = 1

        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(100, 100, 1, bias=False)
            torch.nn.init.ones_(self.conv.weight)
            self.seen = torch.zeros(0)

        def forward(self, x: Tensor) -> Tensor:
            self.seen = self.conv.weight.detach()
            return x.expand(1, 2, 64, 64) * self.conv.weight.mean()

    shares = {}
    for temperature in (0.2, 2.0):
        network = Seen()
        search(network, temperature=temperature).advance(1)
        mask = network.seen
        assert mask.mean() == pytest.approx(0.5, abs=0.02)
        shares[temperature] = float(((mask < 0.1) | (mask > 0.9)).float().mean())
    # sigmoid(l / t) > 0.9 where the logistic l > t log 9: 1 - 0.9 or less on both sides.
    for temperature, share in shares.items():
        assert share == pytest.approx(2 / (1 + 9**temperature), abs=0.02)


def test_gradients_are_those_of_the_whole_loss_in_one() -> None:
    network = decoder()
    found = search(network, 2, strength=0.01, prior=0.3)
    found.advance(3)
    # A state's tensors are those of the search.
    state = copy.deepcopy(found.state_dict())
    logits = {name: value.clone().requires_grad_() for name, value in found.logits().items()}
    generator = torch.Generator()
    generator.set_state(state["generator"])
    images = [objective(network, image) for image in range(2)]
    for image, kept in zip(images, state["objectives"], strict=True):
        image.load_state_dict(kept)
    masked = decoder()
    for name, conv in prunable(masked).items():
        uniform = torch.rand(conv.weight.shape, generator=generator).clamp(1e-7, 1 - 1e-7)
        mask = torch.sigmoid((logits[name] + uniform.log() - (1 - uniform).log()) / 0.2)
        weight = conv.weight.detach() * mask
        del conv.weight
        conv.weight = weight
    probabilities = flat(logits).sigmoid()
    divergence = probabilities * (probabilities / 0.3).log() + (1 - probabilities) * ((1 - probabilities) / 0.7).log()
    loss = sum(image.loss(masked(image.input())) for image in images) + 0.01 * divergence.sum()
    loss.backward()
    optimizer = torch.optim.Adam(logits.values(), lr=0.01)
    optimizer.load_state_dict(state["optimizer"])
    optimizer.step()
    assert found.advance(1) == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(flat(found.logits()), flat(logits).detach(), rtol=1e-3, atol=1e-5)


def test_a_search_restored_from_a_checkpoint_goes_on_byte_equal() -> None:
    calm, first, second = (search(decoder(), 2) for _ in range(3))
    last = calm.advance(7)
    first.advance(4)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.iteration == 4
    assert second.advance(3) == last
    assert torch.equal(flat(second.logits()), flat(calm.logits()))


@pytest.mark.parametrize("prior", [0.0, 1.0])
def test_a_prior_that_is_certain_is_refused(prior: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        search(decoder(), prior=prior)


def test_a_search_that_leaves_the_numbers_says_so() -> None:
    network = decoder()
    pixels = np.full((2, 64, 64), np.inf, dtype=np.float32)
    impossible = Measurement(pixels, np.zeros((64, 64), dtype=np.bool_))
    image = Objective(network, impossible, Identity(), input_noise=NOISE, seed=0)
    with pytest.raises(FitDivergedError, match="within iteration 2"):
        MaskSearch(network, [image], prior=0.5, strength=0, seed=0).advance(2)
