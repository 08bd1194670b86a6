import io

import numpy as np
import pytest
import torch

from tests.workers.lottery.small import NOISE, decoder, dip, measurement, objective, weights
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.lottery.joint import JointFit
from workers.lottery.masks import apply
from workers.lottery.pruning import at_random
from workers.networks import Network
from workers.objective import Measurement, Objective
from workers.operators import Identity


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def joint(network: Network, images: int = 2) -> JointFit:
    return JointFit(network, [objective(network, image) for image in range(images)], learning_rate=0.01)


@pytest.mark.parametrize("masked", [False, True])
def test_of_one_image_the_weights_are_those_of_a_fit(masked: bool) -> None:
    network, other = dip(), dip()
    if masked:
        for one in (network, other):
            apply(one, at_random(one, 2000, (), 0))
    joined = joint(network, 1)
    joined.advance(2)
    joined.advance(3)
    fit = Fit(other, measurement(), Identity(), FitSettings(input_noise=NOISE), seed=0)
    fit.advance(5)
    assert joined.iteration == fit.iteration
    assert weights(network) == weights(other)
    assert weights(network) != weights(dip())


def test_the_gradients_of_all_images_are_added_up() -> None:
    network, other = decoder(), decoder()
    loss = joint(network, 3).advance(1)
    images = [objective(other, image) for image in range(3)]
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    total = sum(image.loss(other(image.input())) for image in images)
    total.backward()
    optimizer.step()
    assert loss == pytest.approx(total.item(), rel=1e-6)
    for (name, one), expected in zip(network.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, expected.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_the_loss_of_every_image_falls() -> None:
    network = decoder()
    fixed = [objective(network, image, input_noise=0) for image in range(2)]

    def losses() -> list[float]:
        with torch.no_grad():
            return [float(image.loss(network(image.input()))) for image in fixed]

    before = losses()
    joint(network).advance(40)
    assert all(after < 0.9 * first for after, first in zip(losses(), before, strict=True))


def test_a_joint_fit_restored_from_a_checkpoint_goes_on_byte_equal() -> None:
    networks = [decoder(), decoder(), decoder("others")]
    calm, first, second = (joint(network) for network in networks)
    calm.advance(7)
    first.advance(4)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.iteration == 4
    second.advance(3)
    assert weights(networks[2]) == weights(networks[0])


def test_a_fit_that_leaves_the_numbers_says_so() -> None:
    network = decoder()
    pixels = np.full((2, 64, 64), np.inf, dtype=np.float32)
    impossible = Measurement(pixels, np.zeros((64, 64), dtype=np.bool_))
    images = [objective(network), Objective(network, impossible, Identity(), input_noise=NOISE, seed=0)]
    with pytest.raises(FitDivergedError, match="within iteration 2"):
        JointFit(network, images, learning_rate=0.01).advance(2)
