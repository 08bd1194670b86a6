import io

import numpy as np
import pytest
import torch
from torch import nn

from workers.fitting import Fit, FitDivergedError, FitSettings, Measurement
from workers.networks import build
from workers.operators import Denoise
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of
from workers.space import Candidate
from workers.stopping import held_out_mask

CANDIDATE = Candidate.parse("158-1111101111001110001100001")


def smooth_image(height: int = 64, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width] / 16
    return np.stack([0.5 + 0.4 * np.sin(rows + columns), 0.5 + 0.4 * np.cos(rows)]).astype(np.float32)


def make_fit(settings: FitSettings, *, observe: bool = False, size: tuple[int, int] = (64, 64)) -> Fit:
    clean = smooth_image(*size)
    random = np.random.default_rng(0)
    measurement = Measurement(Denoise(25).simulate(clean, random), held_out_mask(*size, 0.05, random))
    network = build(CANDIDATE, 2, 2, 16, generator=generator_of("weights"))
    observers = [PsnrObserver(clean, "cpu")] if observe else []
    return Fit(network, measurement, Denoise(), settings, input_channels=2, seed=3, observers=observers)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_fit_restores_a_noisy_image() -> None:
    fit = make_fit(FitSettings(iterations=150, patience=150, average=0.9))
    while not fit.finished:
        fit.advance(50)
    noisy = Denoise(25).simulate(smooth_image(), np.random.default_rng(0))
    result = fit.result()
    assert psnr(result.output, smooth_image()) > psnr(noisy, smooth_image()) + 4
    assert result.held_out_error == pytest.approx(min(result.held_out_curve))
    assert result.held_out_curve.index(min(result.held_out_curve)) + 1 == result.stop_iteration


def test_the_result_does_not_depend_on_the_size_of_the_blocks() -> None:
    results = []
    for block in (7, 30):
        fit = make_fit(FitSettings(iterations=60, patience=8, average=0.5))
        while not fit.finished:
            fit.advance(block)
        results.append(fit.result())
    assert results[0].held_out_curve == results[1].held_out_curve
    assert results[0].stop_iteration == results[1].stop_iteration
    np.testing.assert_array_equal(results[0].output, results[1].output)


def test_a_fit_restored_from_a_checkpoint_ends_byte_equal() -> None:
    settings = FitSettings(iterations=24, patience=24)
    calm = make_fit(settings, observe=True)
    calm.advance(24)
    first = make_fit(settings, observe=True)
    first.advance(10)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make_fit(settings, observe=True)
    second.load_state_dict(torch.load(file, weights_only=True))
    second.advance(14)
    np.testing.assert_array_equal(second.result().output, calm.result().output)
    assert second.result().held_out_curve == calm.result().held_out_curve
    assert second._observers[0].curve() == calm._observers[0].curve()


def test_watching_with_a_reference_changes_nothing() -> None:
    settings = FitSettings(iterations=12, patience=12)
    alone, watched = make_fit(settings), make_fit(settings, observe=True)
    alone.advance(12)
    watched.advance(12)
    np.testing.assert_array_equal(alone.result().output, watched.result().output)


def test_the_global_random_state_does_not_matter() -> None:
    outputs = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        fit = make_fit(FitSettings(iterations=5, patience=5))
        fit.advance(5)
        outputs.append(fit.result().output)
    np.testing.assert_array_equal(*outputs)


def test_the_loss_does_not_see_held_out_pixels_nor_their_mirror_images() -> None:
    settings = FitSettings(iterations=5, patience=5)
    fits = [make_fit(settings, size=(70, 70)) for _ in range(2)]
    clean = smooth_image(70, 70)
    random = np.random.default_rng(0)
    noisy, held = Denoise(25).simulate(clean, random), held_out_mask(70, 70, 0.05, random)
    vandalised = np.where(held, np.float32(1), noisy)
    network = build(CANDIDATE, 2, 2, 16, generator=generator_of("weights"))
    fits[1] = Fit(network, Measurement(vandalised, held), Denoise(), settings, input_channels=2, seed=3)
    for fit in fits:
        fit.advance(5)
    for a, b in zip(fits[0].network.parameters(), fits[1].network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert fits[0].result().held_out_error != fits[1].result().held_out_error


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 65)])
def test_any_size_is_fitted_and_comes_back_as_it_was(size: tuple[int, int]) -> None:
    fit = make_fit(FitSettings(iterations=4, patience=4), size=size)
    fit.advance(4)
    result = fit.result()
    assert result.output.shape == (2, *size)
    assert (result.held_out_error is None) == (size == (1, 1))


def test_a_fit_that_leaves_the_numbers_is_a_failure_and_not_a_score() -> None:
    class Broken(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * torch.nan

    held = held_out_mask(64, 64, 0.05, np.random.default_rng(0))
    measurement = Measurement(smooth_image(), held)
    fit = Fit(Broken(2, 2, 1), measurement, Denoise(), FitSettings(), input_channels=2, seed=0)
    with pytest.raises(FitDivergedError, match="finite"):
        fit.advance(3)


def test_a_finished_fit_does_not_go_past_its_iterations() -> None:
    fit = make_fit(FitSettings(iterations=5, patience=9))
    fit.advance(50)
    assert fit.finished
    assert fit.iteration == fit.result().iterations == 5
