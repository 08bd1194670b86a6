import numpy as np
import pytest
import torch

from tests.workers.tasks.pictures import picture
from workers.fitting import Fit, FitSettings
from workers.networks.priors import prior_of
from workers.objective import Measurement, Objective
from workers.quality import psnr
from workers.seeds import generator_of
from workers.sensing import Sensing
from workers.tasks import CompressedSensing

MATRICES = ("gaussian", "hadamard", "dct", "fourier")


@pytest.mark.parametrize("matrix", MATRICES)
def test_an_observation_is_what_the_matrix_measures_and_knows_the_images_shape(matrix: str) -> None:
    task = CompressedSensing(20, matrix, matrix_seed=3)
    clean = picture(2, 9, 7)
    observation = task.simulate(clean, np.random.default_rng(0))
    operator = Sensing(matrix, 20, (2, 9, 7), 3)
    assert (observation.shape, observation.known) == ((2, 9, 7), None)
    assert task.operator_of(observation) == operator
    assert observation.pixels.shape == (operator.parts, 1, 20)
    np.testing.assert_allclose(observation.pixels, operator(torch.from_numpy(clean)[None])[0].numpy(), atol=1e-6)


def test_noise_has_the_level_of_the_settings_in_grey_levels() -> None:
    clean = picture(3, 40, 40)
    exact, noisy = (CompressedSensing(4000, "dct", sigma=s).simulate(clean, np.random.default_rng(1)) for s in (0, 25))
    assert float((noisy.pixels - exact.pixels).std()) == pytest.approx(25 / 255, rel=0.05)
    levels = [
        float(
            (
                CompressedSensing(4000, "dct", sigma=(5, 50)).simulate(clean, np.random.default_rng(n)).pixels
                - exact.pixels
            ).std()
        )
        * 255
        for n in range(4)
    ]
    assert all(4 < level < 53 for level in levels)
    assert max(levels) - min(levels) > 2


@pytest.mark.parametrize("matrix", MATRICES)
def test_of_all_measurements_the_picture_is_nearly_the_image(matrix: str) -> None:
    clean = picture(1, 16, 16)
    most = Sensing(matrix, 1, (1, 16, 16)).most
    task = CompressedSensing(most, matrix)
    shown = task.picture(task.simulate(clean, np.random.default_rng(0)))
    assert shown.shape == clean.shape
    if matrix == "gaussian":
        assert np.corrcoef(shown.ravel(), clean.ravel())[0, 1] > 0.3
    else:
        np.testing.assert_allclose(shown, clean, atol=1e-4)


def test_more_measurements_than_the_image_has_values_are_refused_with_both_numbers() -> None:
    task = CompressedSensing(200)
    assert task.why_not((3, 9, 9)) is None
    reason = task.why_not((1, 9, 9))
    assert reason is not None
    assert "200" in reason
    assert "81" in reason
    with pytest.raises(ValueError, match="between 1 and 81"):
        task.simulate(picture(1, 9, 9), np.random.default_rng(0))


def fitted(task: CompressedSensing, clean: np.ndarray, iterations: int) -> tuple[Fit, Measurement]:
    random = np.random.default_rng(0)
    observation = task.simulate(clean, random)
    measurement = Measurement.hiding(observation.pixels, None, random, fewest=1)
    network = prior_of("dip").build(len(clean), 8, input_channels=3, generator=generator_of("sensing test"))
    settings = FitSettings(iterations, patience=iterations, average=0.9)
    return Fit(network, measurement, task.operator_of(observation), settings, seed=1), measurement


@pytest.mark.parametrize("matrix", ["gaussian", "fourier"])
def test_a_network_restores_an_image_from_few_measurements(matrix: str) -> None:
    torch.set_num_threads(1)
    rows, columns = np.mgrid[0:40, 0:33] / 9
    clean = (0.5 + 0.4 * np.sin(rows + columns)[None]).astype(np.float32)
    task = CompressedSensing(300, matrix)
    fit, measurement = fitted(task, clean, 120)
    fit.advance(120)
    result = fit.result()
    assert result.output.shape == clean.shape
    before = psnr(task.picture(task.simulate(clean, np.random.default_rng(0))), clean)
    assert psnr(result.output, clean) > max(before, 20)
    # A twentieth of the measurements, and each of its parts, is hidden.
    assert measurement.held_out.shape == (1, 300)
    assert measurement.held_out.sum() == 15


def test_a_hidden_measurement_has_no_part_in_the_loss_and_an_images_edge_none_in_any() -> None:
    task = CompressedSensing(30, "dct")
    observation = task.simulate(picture(1, 40, 33), np.random.default_rng(0))
    hidden = np.zeros((1, 30), dtype=np.bool_)
    hidden[0, 4] = True
    network = prior_of("dip").build(1, 8, input_channels=3, generator=generator_of("sensing test"))
    operator = task.operator_of(observation)
    measured = observation.pixels.copy()

    def losses(pixels: np.ndarray, image: torch.Tensor) -> tuple[float, float]:
        objective = Objective(network, Measurement(pixels, hidden), operator, input_noise=0.0, seed=0)
        assert objective.size == (1, 1, 64, 64)
        return float(objective.loss(image)), float(objective.held_out_error(image))

    image = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    loss, error = losses(measured, image)
    measured[0, 0, 4] += 1
    changed = losses(measured, image)
    assert changed[0] == loss
    assert changed[1] != error
    image[..., 40:, :] = 9
    image[..., 33:] = 9
    assert losses(measured, image) == changed


def test_the_error_of_hidden_measurements_is_that_of_the_image() -> None:
    shape = (1, 24, 24)
    task = CompressedSensing(500, "gaussian")
    clean = picture(*shape)
    observation = task.simulate(clean, np.random.default_rng(0))
    wrong = clean + np.float32(0.05) * np.random.default_rng(5).standard_normal(shape).astype(np.float32)
    measured = task.operator_of(observation)(torch.from_numpy(wrong)[None])[0].numpy()
    error = float(np.square(measured - observation.pixels).mean())
    assert -10 * np.log10(error) == pytest.approx(psnr(wrong, clean), abs=0.6)
