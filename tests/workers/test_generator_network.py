import io

import numpy as np
import pytest
import torch
from torch import nn

from workers.fitting import Fit, FitSettings
from workers.generators import Facts, generate
from workers.networks.generator import GeneratorNetwork, Search
from workers.objective import Measurement
from workers.tasks import CompressedSensing

FACTS = Facts((2,), (1, 16, 20), -1.0, 1.0)
SETTINGS = FitSettings(iterations=120, patience=120, average=0.5)


class Waves(nn.Module):
    """Two latents to the lengths of waves: most starts end in another minimum."""

    def __init__(self) -> None:
        super().__init__()
        self.heights = nn.Parameter(torch.tensor([0.5, 0.3]))

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(N, 2) to (N, 1, 16, 20) in [-1, 1]."""
        rows, columns = torch.arange(16.0)[:, None] / 5, torch.arange(20.0) / 6
        first, second = (1 + z[:, :, None, None]).unbind(1)
        waves = [((rows + columns) * first).sin(), (columns * second).sin() + 0 * rows]
        return (torch.stack(waves, 1) * self.heights[:, None, None]).sum(1, keepdim=True)


def module() -> nn.Module:
    return Waves().requires_grad_(False)


def clean() -> np.ndarray:
    z = torch.randn(1, 2, generator=torch.Generator().manual_seed(11))
    image: np.ndarray = ((generate(module(), z)[0] + 1) / 2).numpy()
    return image


def fit_of(search: Search, image: np.ndarray | None = None, settings: FitSettings = SETTINGS) -> Fit:
    task = CompressedSensing(60)
    observation = task.simulate(clean() if image is None else image, np.random.default_rng(0))
    measurement = Measurement.hiding(observation.pixels, None, np.random.default_rng(1))
    network = GeneratorNetwork(module(), FACTS, search, torch.Generator().manual_seed(5))
    return Fit(network, measurement, task.operator_of(observation), settings, seed=0)


def finished(fit: Fit) -> Fit:
    while not fit.finished:
        fit.advance(20)
    return fit


def error(output: np.ndarray, image: np.ndarray) -> float:
    return float(np.square(output - image).mean())


def test_one_of_several_latents_finds_an_image_of_the_generator_and_hidden_measurements_know_which() -> None:
    several = finished(fit_of(Search(restarts=8)))
    output = several.result().output
    assert output.shape == (1, 16, 20)
    assert error(output, clean()) < 1e-6
    # Each start alone comes to what it comes to in the batch; the best of them is the one that was chosen.
    latents = several.network.latent.detach()
    ends = (generate(module(), latents) + 1) / 2
    errors = [error(end, clean()) for end in ends.numpy()]
    assert max(errors) > 1e-3
    assert int(several._best) == int(np.argmin(errors))


def test_the_iterations_with_all_measurements_go_on_with_the_chosen_latent_alone() -> None:
    fit = finished(fit_of(Search(restarts=8)))
    before = fit.result().output
    reveal = fit.reveal()
    assert reveal is not None
    reveal.advance(reveal.iterations)
    output = reveal.output()
    assert output is not None
    assert output.shape == before.shape
    assert error(output, clean()) < 1e-6


def test_weights_are_fitted_only_where_that_is_asked_for_and_restore_what_the_generator_cannot() -> None:
    beyond = 0.5 + 0.6 * (clean() - 0.5)
    latent, both = (
        finished(fit_of(search, beyond, FitSettings(iterations=250, patience=250, average=0.5)))
        for search in (Search(8), Search(8, latent_first=100, weights_rate=0.02))
    )
    assert torch.equal(latent.network.module.heights, module().heights)
    assert not torch.equal(both.network.module.heights, module().heights)
    assert both.network.members == 1
    assert error(both.result().output, beyond) < 0.5 * error(latent.result().output, beyond)


@pytest.mark.parametrize("search", [Search(3), Search(3, latent_first=25), Search(1, latent_first=25)])
@pytest.mark.parametrize("interrupted", [10, 25, 40])
def test_a_fit_resumed_from_its_state_ends_in_equal_bytes(search: Search, interrupted: int) -> None:
    settings = FitSettings(iterations=60, patience=60, average=0.9)
    whole, first, second = (fit_of(search, settings=settings) for _ in range(3))
    finished(whole)
    first.advance(interrupted)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    finished(second)
    outputs = []
    for fit in (whole, second):
        reveal = fit.reveal()
        assert reveal is not None
        reveal.advance(reveal.iterations)
        outputs.append((fit.result().output.tobytes(), reveal.output()))
    assert outputs[0][0] == outputs[1][0]
    assert np.array_equal(outputs[0][1], outputs[1][1])


def test_the_latent_alone_does_not_end_a_fit_whose_weights_come_later() -> None:
    fit = finished(fit_of(Search(2, latent_first=120), settings=FitSettings(iterations=400, patience=30, average=0.5)))
    assert fit.result().iterations >= 150


def test_a_latent_that_has_diverged_is_not_chosen() -> None:
    fit = fit_of(Search(3))
    with torch.no_grad():
        fit.network.latent[0] = torch.nan
    assert np.isfinite(fit.advance(5))
    assert np.isfinite(fit.result().output).all()
