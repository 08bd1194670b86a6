"""The iterations of a fit that see every pixel."""

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.workers.lottery.small import candidate, decoder, measurement, weights
from workers.fitting import Fit, FitSettings
from workers.networks import Network
from workers.objective import Measurement
from workers.operators import Identity
from workers.quality import psnr
from workers.reveal import Reveal
from workers.tasks import Denoise

STOPS = FitSettings(iterations=60, patience=2, learning_rate=0.3, average=0.5)
"""A fit that stops long before its last iteration."""


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def fit_of(settings: FitSettings, measured: Measurement | None = None, network: Network | None = None) -> Fit:
    return Fit(network or decoder(), measured or measurement(), Identity(), settings, seed=3)


def finished(fit: Fit, block: int = 50) -> Fit:
    while not fit.finished:
        fit.advance(block)
    return fit


def revealed(fit: Fit) -> Reveal:
    reveal = fit.reveal()
    assert reveal is not None
    return reveal


def run(reveal: Reveal, block: int = 50) -> np.ndarray:
    while not reveal.finished:
        reveal.advance(block)
    output = reveal.output()
    assert output is not None
    return output


@pytest.mark.parametrize("block", [1, 7, 60])
@pytest.mark.parametrize("network", [decoder, candidate])
def test_it_begins_where_the_fit_was_stopped_whatever_came_after(network: Any, block: int) -> None:
    fit = finished(fit_of(STOPS, network=network()), block)
    stop = fit.result().stop_iteration
    assert stop < fit.result().iterations < 60
    there = fit_of(STOPS, network=network())
    there.advance(stop)
    reveal = revealed(fit)
    assert weights(fit.network) == weights(there.network)
    state, expected = (each.state_dict() for each in (fit._optimizer, there._optimizer))
    for place, moments in expected["state"].items():
        assert {name: value.tolist() for name, value in state["state"][place].items()} == {
            name: value.tolist() for name, value in moments.items()
        }
    assert reveal.network is fit.network
    assert torch.equal(reveal.state_dict()["average"], there.state_dict()["average"])


def test_the_average_goes_on_and_every_output_has_the_weight_of_its_age() -> None:
    reveal = revealed(fit := finished(fit_of(replace(STOPS, reveal=0.1))))
    stop = fit.result().stop_iteration
    before = reveal.state_dict()["average"].clone()
    outputs: list[torch.Tensor] = []
    fit.network.register_forward_hook(lambda network, inputs, output: outputs.append(output.detach().clone()))
    run(reveal, 1)
    past = STOPS.average
    expected = before * (1 - past**stop)
    for output in outputs:
        expected = past * expected + (1 - past) * output
    expected /= 1 - past ** (stop + len(outputs))
    torch.testing.assert_close(reveal.state_dict()["average"], expected)


@pytest.mark.parametrize(("share", "stop", "iterations"), [(0.25, 20, 5), (0.25, 21, 6), (0.001, 20, 1), (1.0, 20, 20)])
def test_its_length_is_a_share_of_the_iterations_up_to_the_stop(share: float, stop: int, iterations: int) -> None:
    # A fit with so slow a rate improves to its end.
    settings = FitSettings(iterations=stop, patience=stop, learning_rate=1e-4, average=0, input_noise=0, reveal=share)
    fit = finished(fit_of(settings))
    assert fit.result().stop_iteration == stop
    assert revealed(fit).iterations == iterations


def test_hidden_pixels_change_it_and_did_not_change_the_fit() -> None:
    measured = measurement()
    other = measured.pixels.copy()
    other[:, measured.held_out] = 1 - other[:, measured.held_out]
    # After one iteration both stop there.
    settings = FitSettings(iterations=1, patience=1, reveal=1)
    fits = [finished(fit_of(settings, each)) for each in (measured, replace(measured, pixels=other))]
    assert fits[0].result().output.tobytes() == fits[1].result().output.tobytes()
    assert weights(fits[0].network) == weights(fits[1].network)
    reveals = [revealed(fit) for fit in fits]
    for reveal in reveals:
        run(reveal)
    assert weights(reveals[0].network) != weights(reveals[1].network)


def test_pixels_that_are_not_known_stay_unseen() -> None:
    measured = measurement()
    known = np.random.default_rng(1).random(measured.held_out.shape) < 0.7
    settings = FitSettings(iterations=12, patience=12)
    outputs = []
    for filling in (0.0, 1.0):
        pixels = np.where(known, measured.pixels, np.float32(filling))
        outputs.append(run(revealed(finished(fit_of(settings, Measurement(pixels, measured.held_out & known, known))))))
    np.testing.assert_array_equal(outputs[0], outputs[1])


def test_it_brings_back_what_hiding_a_fifth_of_the_pixels_has_cost() -> None:
    rows, columns = np.mgrid[0:64, 0:64] / 9
    clean = np.stack([0.5 + 0.4 * np.sin(rows + columns), 0.5 + 0.4 * np.cos(rows)]).astype(np.float32)
    random = np.random.default_rng(0)
    measured = Measurement.hiding(Denoise(25).simulate(clean, random).pixels, None, random)
    assert measured.held_out.mean() > 0.15
    fit = finished(fit_of(FitSettings(iterations=200, patience=40, average=0.95), measured))
    assert psnr(run(revealed(fit)), clean) > psnr(fit.result().output, clean) + 0.1


@pytest.mark.parametrize("network", [decoder, candidate])
def test_it_resumes_from_its_state_and_ends_byte_equal(network: Any) -> None:
    settings = replace(STOPS, reveal=1.0)
    calm = revealed(finished(fit_of(settings, network=network())))
    first = revealed(finished(fit_of(settings, network=network())))
    undisturbed = run(calm)
    first.advance(3)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = revealed(finished(fit_of(settings, network=network())))
    second.load_state_dict(torch.load(file, weights_only=True))
    assert run(second, 2).tobytes() == undisturbed.tobytes()


def test_the_result_of_the_fit_is_what_it_was() -> None:
    one, other = (finished(fit_of(STOPS)) for _ in range(2))
    run(revealed(one))
    assert one.result().output.tobytes() == other.result().output.tobytes()
    assert one.result().held_out_error == other.result().held_out_error


def test_where_no_pixel_was_hidden_or_none_is_to_come_there_is_none() -> None:
    measured = measurement()
    everything = replace(measured, held_out=np.zeros_like(measured.held_out))
    settings = FitSettings(iterations=3, patience=3)
    assert finished(fit_of(settings, everything)).reveal() is None
    assert finished(fit_of(replace(settings, reveal=0))).reveal() is None


def test_one_that_leaves_the_numbers_has_no_output() -> None:
    reveal = revealed(finished(fit_of(FitSettings(iterations=8, patience=8, reveal=1))))
    with torch.no_grad():
        next(reveal.network.parameters()).fill_(torch.nan)
    assert np.isnan(reveal.advance(2))
    assert reveal.output() is None
