import copy
import io
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.correlation import CORRELATED
from workers.fit_result import FitResult
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.networks import Network, build
from workers.networks.blocks import initialise
from workers.networks.priors import prior_of
from workers.objective import Measurement
from workers.operators import Blur, Downsample, Identity, Operator, gaussian_kernel, motion_kernel
from workers.quality import Observer, PsnrObserver, psnr
from workers.seeds import generator_of
from workers.space import Candidate
from workers.stopping import held_out_mask
from workers.tasks import Deblur, Denoise, Inpaint, SuperResolve, Task

CANDIDATE = Candidate.parse("158-1111101111001110001100001")
OPERATORS = [Identity(), Downsample(4), Downsample(3), Blur(gaussian_kernel(1.0)), Blur(motion_kernel(5, 30))]


def name_of(operator: Operator) -> str:
    return operator.name


class Plain(Network):
    """The smallest network that a fit takes: two convolutions."""

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.in_channels = 2
        self.layers = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1), nn.LeakyReLU(), nn.Conv2d(8, channels, 3, padding=1), nn.Sigmoid()
        )
        with torch.no_grad():
            initialise(self, generator_of("weights"))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def decoder() -> Network:
    """A small network that restores."""
    return prior_of("deep-decoder-32").build(2, 16, input_channels=2, generator=generator_of("weights"))


class Watched:
    """An operator that records where the loss looks at its result."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self.name, self.scale, self.symmetric = operator.name, operator.scale, operator.symmetric
        self.whole = operator.whole
        self.looked_at = torch.zeros(0)

    def __call__(self, image: Tensor) -> Tensor:
        measured = self._operator(image)
        if measured.requires_grad:
            measured.register_hook(self._look)
        return measured

    def _look(self, gradient: Tensor) -> None:
        self.looked_at = gradient[0].abs().sum(dim=0) > 0


def smooth_image(height: int = 64, width: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width] / 16
    return np.stack([0.5 + 0.4 * np.sin(rows + columns), 0.5 + 0.4 * np.cos(rows)]).astype(np.float32)


def measured(height: int, width: int, *, holes: bool = False) -> Measurement:
    """A noisy measurement of ``height`` x ``width`` pixels, with some of them hidden, and some unknown."""
    random = np.random.default_rng(0)
    noisy = Denoise(25).simulate(smooth_image(height, width), random).pixels
    known = random.random((height, width)) < 0.8 if holes else None
    return Measurement(noisy, held_out_mask(height, width, 0.05, random, known), known)


def make_fit(settings: FitSettings, *, observe: bool = False, size: tuple[int, int] = (64, 64)) -> Fit:
    network = build(CANDIDATE, 2, 2, 16, generator=generator_of("weights"))
    observers = [PsnrObserver(smooth_image(*size), "cpu")] if observe else []
    return Fit(network, measured(*size), Identity(), settings, seed=3, observers=observers)


def plain_fit(
    measurement: Measurement,
    settings: FitSettings | None = None,
    operator: Operator | None = None,
    observers: Sequence[Observer] = (),
) -> Fit:
    return Fit(Plain(), measurement, operator or Identity(), settings or FitSettings(), seed=3, observers=observers)


def run(fit: Fit, block: int = 50) -> FitResult:
    while not fit.finished:
        fit.advance(block)
    return fit.result()


def assert_equal(one: FitResult, other: FitResult) -> None:
    """Byte for byte."""
    for mine, theirs in zip(astuple(one), astuple(other), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_fit_restores_a_noisy_image() -> None:
    result = run(make_fit(FitSettings(iterations=150, patience=150, average=0.9)))
    noisy = measured(64, 64).pixels
    assert psnr(result.output, smooth_image()) > psnr(noisy, smooth_image()) + 4
    assert result.held_out_error == pytest.approx(min(result.held_out_curve))
    assert result.held_out_curve.index(min(result.held_out_curve)) + 1 == result.stop_iteration


def test_the_result_does_not_depend_on_the_size_of_the_blocks() -> None:
    fits = [make_fit(FitSettings(iterations=60, patience=8, average=0.5)) for _ in range(2)]
    assert_equal(run(fits[0], 7), run(fits[1], 30))


@pytest.mark.parametrize("stopping", ["held-out", "es-wmv", "es-emv"])
@pytest.mark.parametrize("operator", [Identity(), Downsample(2)], ids=name_of)
def test_a_fit_restored_from_a_checkpoint_ends_byte_equal(stopping: Any, operator: Operator) -> None:
    settings = FitSettings(iterations=130, patience=130, stopping=stopping, learning_rate=0.05)
    observers = [PsnrObserver(smooth_image(32, 32), "cpu") for _ in range(3)]
    calm, first, second = (
        plain_fit(measured(32, 32, holes=True), settings, operator, [observer]) for observer in observers
    )
    calm.advance(130)
    first.advance(115)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert_equal(second.result(), first.result())
    assert first.result().steady_iteration < 115
    second.advance(15)
    assert_equal(second.result(), calm.result())
    assert observers[2].curve() == observers[0].curve()


def test_a_fit_of_the_search_space_restored_from_a_checkpoint_ends_byte_equal() -> None:
    settings = FitSettings(iterations=24, patience=24)
    calm, first, second = (make_fit(settings) for _ in range(3))
    calm.advance(24)
    first.advance(10)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    second.advance(14)
    assert_equal(second.result(), calm.result())


def test_a_fit_that_takes_back_its_first_state_begins_anew() -> None:
    settings = FitSettings(iterations=6, patience=6)
    fit, other = make_fit(settings, observe=True), make_fit(settings, observe=True)
    first = copy.deepcopy(fit.state_dict())
    fit.advance(4)
    fit.load_state_dict(first)
    assert_equal(run(fit), run(other))


def test_a_fit_that_was_stopped_is_still_when_it_is_restored() -> None:
    settings = FitSettings(iterations=400, patience=2, learning_rate=0.3)
    first, second = (plain_fit(measured(64, 64), settings) for _ in range(2))
    run(first)
    assert first.iteration < 400
    second.load_state_dict(first.state_dict())
    assert second.finished
    assert_equal(second.result(), first.result())


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


def test_the_network_does_not_see_held_out_pixels() -> None:
    seen = measured(70, 70)
    vandalised = np.where(seen.held_out, np.float32(1), seen.pixels)
    fits = [plain_fit(measurement) for measurement in (seen, Measurement(vandalised, seen.held_out))]
    for fit in fits:
        fit.advance(5)
    for a, b in zip(fits[0].network.parameters(), fits[1].network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert fits[0].result().held_out_error != fits[1].result().held_out_error


def test_nothing_sees_pixels_that_are_not_known() -> None:
    seen = measured(70, 70, holes=True)
    assert seen.known is not None
    vandalised = np.where(seen.known, seen.pixels, np.float32(1))
    results = []
    for pixels in (seen.pixels, vandalised):
        fit = plain_fit(Measurement(pixels, seen.held_out, seen.known))
        fit.advance(40)
        results.append(fit.result())
    assert results[0].residual_correlation is not None
    assert_equal(*results)


@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
@pytest.mark.parametrize("holes", [False, True])
def test_the_loss_looks_at_what_is_known_and_not_hidden_and_at_its_mirror_images(
    operator: Operator, holes: bool
) -> None:
    height, width = (70, 75) if operator.scale == 1 else (20, 27)
    measurement, watched = measured(height, width, holes=holes), Watched(operator)
    plain_fit(measurement, operator=watched).advance(1)
    looked_at = watched.looked_at.numpy()
    kept = ~measurement.held_out if measurement.known is None else measurement.known & ~measurement.held_out
    if not operator.symmetric:
        # A blur along a line has another direction in the mirror, so nothing beyond the edge counts.
        assert looked_at.shape == (96, 96)
        np.testing.assert_array_equal(looked_at[:70, :75], kept)
        assert not looked_at[70:].any()
        assert not looked_at[:, 75:].any()
        return
    below, right = (all_of - own for all_of, own in zip(looked_at.shape, (height, width), strict=True))
    assert below > 0
    assert right > 0
    mode = "reflect" if operator.scale == 1 else "symmetric"
    np.testing.assert_array_equal(looked_at, np.pad(kept, ((0, below), (0, right)), mode))


@pytest.mark.parametrize("operator", OPERATORS, ids=name_of)
def test_the_restored_image_is_larger_than_its_measurement_by_the_operators_scale(operator: Operator) -> None:
    fit = plain_fit(measured(20, 27), operator=operator)
    fit.advance(2)
    result = fit.result()
    size = (2, 20 * operator.scale, 27 * operator.scale)
    assert result.output.shape == result.steady_output.shape == size


@pytest.mark.parametrize("operator", [Identity(), Downsample(4), Blur(motion_kernel(5, 30))], ids=name_of)
@pytest.mark.parametrize("holes", [False, True])
def test_the_held_out_error_is_that_of_the_output_as_it_would_be_measured(operator: Operator, holes: bool) -> None:
    # At these sizes nothing is padded.
    measurement = measured(64 // operator.scale, 96 // operator.scale, holes=holes)
    result = run(plain_fit(measurement, FitSettings(iterations=30, average=0.5), operator))
    seen = operator(torch.from_numpy(result.output)[None])[0].numpy()
    errors = ((seen - measurement.pixels) ** 2).mean(axis=0)[measurement.held_out]
    assert result.held_out_error == pytest.approx(errors.mean(), rel=1e-4)
    assert result.held_out_standard_error == pytest.approx(errors.std(ddof=1) / np.sqrt(errors.size), rel=1e-4)


@pytest.mark.parametrize(
    "task", [Denoise(25), Inpaint(0.5), SuperResolve(4), Deblur(motion_kernel(7, 40))], ids=lambda task: task.name
)
def test_a_fit_of_every_task_comes_to_agree_with_what_was_measured(task: Task) -> None:
    random = np.random.default_rng(0)
    observed = task.simulate(smooth_image(96, 64), random)
    hidden = held_out_mask(*observed.pixels.shape[1:], 0.05, random, observed.known)
    measurement = Measurement(observed.pixels, hidden, observed.known)
    settings = FitSettings(iterations=100, average=0.8, learning_rate=0.03)
    result = run(Fit(decoder(), measurement, task.operator, settings, seed=3))
    noise = (25 / 255) ** 2 if task.name == "denoise" else 0
    assert result.held_out_error is not None
    assert result.held_out_error < noise + 0.01
    assert result.held_out_curve[0] > noise + 0.04
    # Inside a hole or between two low-resolution pixels too.
    assert psnr(result.output, smooth_image(96, 64)) > 21


def by_hand(fit: Fit, iterations: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All outputs of a fit, and their exponential average after each, whatever its rule decides."""
    outputs: list[np.ndarray] = []
    hook = fit.network.register_forward_hook(lambda module, given, out: outputs.append(out.detach().numpy().copy()))
    fit.advance(iterations)
    hook.remove()
    past = fit.settings.average
    averages, weighted, weight = [], np.zeros(outputs[0].shape), 0.0
    for output in outputs:
        weighted, weight = past * weighted + output, past * weight + 1
        averages.append(weighted / weight)
    return outputs, averages


class Scripted(Network):
    """A network whose outputs are flat images, each of the next level; its weight moves nothing."""

    in_channels = 2

    def __init__(self, levels: Sequence[float]) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.rest = list(levels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((1, 1, *x.shape[2:]), self.rest.pop(0)) + 0 * self.weight


def scripted_curve(levels: Sequence[float], **settings: Any) -> list[float]:
    """The held-out errors of a fit of a white image whose outputs have these levels."""
    random = np.random.default_rng(0)
    white = Measurement(np.ones((1, 32, 32), np.float32), held_out_mask(32, 32, 0.2, random))
    fit = Fit(Scripted(levels), white, Identity(), FitSettings(len(levels), len(levels), **settings), seed=0)
    fit.advance(len(levels))
    return fit.result().held_out_curve


@pytest.mark.parametrize("past", [0.0, 0.5, 0.98, 0.99])
def test_every_output_weighs_in_the_average_as_its_age_says(past: float) -> None:
    levels = np.random.default_rng(1).random(60)
    for count, error in enumerate(scripted_curve(levels, average=past), start=1):
        weights = past ** np.arange(count - 1, -1, -1.0)
        assert error == pytest.approx((1 - weights @ levels[:count] / weights.sum()) ** 2, rel=1e-4)
    # The same as taking the first output's surplus out of the papers' average, which begins at it.
    begun = levels[0]
    for level in levels[1:]:
        begun = past * begun + (1 - past) * level
    exact = (begun - past**60 * levels[0]) / (1 - past**60)
    assert error == pytest.approx((1 - exact) ** 2, rel=1e-4)
    assert scripted_curve(levels, average=past, debias=False)[-1] == pytest.approx((1 - begun) ** 2, rel=1e-4)


def test_early_errors_rank_what_was_fitted_and_not_how_it_began() -> None:
    # The one begins nearer to the truth, the other is nearer from the second step on.
    starts_well, fits_well = [0.6] * 50, [0.1] + [0.8] * 49
    for debias in (True, False):
        well, better = (scripted_curve(levels, debias=debias) for levels in (starts_well, fits_well))
        assert (better[24] < well[24]) is debias


def windowed_variances(outputs: list[np.ndarray]) -> list[float]:
    """The variances of 100 outputs, every 10."""
    ends = range(1, len(outputs) + 1)
    return [
        float(np.var(outputs[end - 100 : end], axis=0, dtype=np.float64).mean())
        if end >= 100 and end % 10 == 0
        else np.inf
        for end in ends
    ]


def moving_variances(outputs: list[np.ndarray], alpha: float = 0.1) -> list[float]:
    """The recurrence of ES-EMV; the first 30 do not count."""
    mean, variance, variances = outputs[0].astype(np.float64), 0.0, [np.inf]
    for count, output in enumerate(outputs[1:], start=2):
        variance = (1 - alpha) * (variance + alpha * np.square(output - mean).mean())
        mean = (1 - alpha) * mean + alpha * output
        variances.append(variance if count > 30 else np.inf)
    return variances


@pytest.mark.parametrize(("stopping", "variances_of"), [("es-wmv", windowed_variances), ("es-emv", moving_variances)])
def test_a_fit_can_be_stopped_where_its_outputs_varied_least(stopping: Any, variances_of: Any) -> None:
    settings = FitSettings(iterations=300, patience=25, stopping=stopping, learning_rate=0.05)
    fit = plain_fit(measured(64, 64), settings)
    outputs, averages = by_hand(fit, 300)
    variances = variances_of(outputs)
    best = 0
    for at, variance in enumerate(variances):
        best = at if variance < variances[best] else best
        if np.isfinite(variances[best]) and at - best >= 25:
            break
    assert at + 1 < 300
    result = fit.result()
    assert fit.finished
    assert (result.stop_iteration, result.steady_iteration, result.iterations) == (best + 1, best + 1, at + 1)
    np.testing.assert_allclose(result.output, averages[best][0], atol=1e-5)
    np.testing.assert_array_equal(result.steady_output, result.output)
    assert len(result.held_out_curve) == at + 1
    assert result.held_out_error == result.held_out_curve[best]


def test_beside_the_held_out_pixels_the_steadiest_output_is_kept_until_they_stop_the_fit() -> None:
    settings = FitSettings(iterations=120, patience=20, learning_rate=0.05, average=0.8)
    small_blocks, one_block = (plain_fit(measured(64, 64), settings) for _ in range(2))
    outputs, averages = by_hand(one_block, 120)
    result = run(small_blocks, 7)
    assert_equal(one_block.result(), result)
    variances = moving_variances(outputs)
    steady = int(np.argmin(variances[: result.iterations]))
    # The large block went on to a steadier one, which is no part of the fit.
    assert int(np.argmin(variances)) > result.iterations
    assert result.steady_iteration == steady + 1 != result.stop_iteration
    np.testing.assert_allclose(result.steady_output, averages[steady][0], atol=1e-5)


@pytest.mark.parametrize("stopping", ["held-out", "es-wmv", "es-emv"])
def test_before_the_outputs_can_be_compared_the_latest_or_the_best_is_the_steady_one(stopping: Any) -> None:
    fit = plain_fit(measured(64, 64), FitSettings(stopping=stopping))
    fit.advance(20)
    result = fit.result()
    if stopping != "held-out":
        assert result.stop_iteration == 20
    assert result.steady_iteration == result.stop_iteration
    np.testing.assert_array_equal(result.steady_output, result.output)


def test_the_residual_tells_correlated_noise_from_independent() -> None:
    random = np.random.default_rng(0)
    noise = random.normal(0, 0.1, (2, 96, 96)).astype(np.float32)
    blurred = Blur(gaussian_kernel(1.0))(torch.from_numpy(noise)[None])[0].numpy() * 3
    settings = FitSettings(iterations=60, average=0.8, learning_rate=0.03)
    seen = []
    for added in (noise, blurred):
        pixels = np.clip(smooth_image(96, 96) + added, 0, 1)
        measurement = Measurement(pixels, held_out_mask(96, 96, 0.05, random))
        result = run(Fit(decoder(), measurement, Identity(), settings, seed=3))
        assert result.residual_correlation is not None
        seen.append(result.residual_correlation)
    assert seen[0] < CORRELATED < seen[1]


def test_of_a_few_pixels_no_correlation_is_told() -> None:
    fit = plain_fit(measured(16, 16))
    fit.advance(2)
    assert fit.result().residual_correlation is None


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 65)])
def test_any_size_is_fitted_and_comes_back_as_it_was(size: tuple[int, int]) -> None:
    fit = make_fit(FitSettings(iterations=4, patience=4), size=size)
    fit.advance(4)
    result = fit.result()
    assert result.output.shape == (2, *size)
    assert (result.held_out_error is None) == (size == (1, 1))


@pytest.mark.parametrize("stopping", ["held-out", "es-wmv", "es-emv"])
def test_a_fit_that_leaves_the_numbers_is_a_failure_and_not_a_score(stopping: Any) -> None:
    class Broken(Plain):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * torch.nan

    fit = Fit(Broken(), measured(64, 64), Identity(), FitSettings(stopping=stopping), seed=0)
    with pytest.raises(FitDivergedError, match="finite"):
        fit.advance(3)


def test_a_finished_fit_does_not_go_past_its_iterations() -> None:
    fit = make_fit(FitSettings(iterations=5, patience=9))
    fit.advance(50)
    assert fit.finished
    assert fit.iteration == fit.result().iterations == 5
