import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from scipy.fft import idctn

from workers.classical import Given, Member, restore_classically
from workers.objective import Measurement
from workers.quality import psnr
from workers.tasks import (
    CompressedSensing,
    Deblur,
    Denoise,
    Inpaint,
    Jpeg,
    Observation,
    SuperResolve,
    Task,
    enlarge,
    measure,
)

SIGMA = 25 / 255


def waves(height: int = 48, width: int = 48, channels: int = 3) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width] / 6
    image: np.ndarray = np.stack([0.5 + 0.3 * np.sin(rows + (1 + each) * columns) for each in range(channels)])
    return image.astype(np.float32)


def given(task: Task, clean: np.ndarray, noise: float | None = None, seed: int = 1) -> Given:
    observation = task.simulate(clean, np.random.default_rng(seed))
    measurement = Measurement.hiding(observation.pixels, observation.known, np.random.default_rng(seed + 1))
    return Given(observation, measurement.held_out, task, noise, seed)


CASES: dict[str, tuple[Task, float | None, set[str]]] = {
    "noise that is known": (Denoise(25), SIGMA**2, {"non-local means", "wavelets", "total variation"}),
    "noise that is not known": (Denoise(25), None, {"non-local means", "wavelets", "total variation"}),
    "missing pixels": (Inpaint(0.5), None, {"biharmonic"}),
    "few pixels": (SuperResolve(2), None, {"bicubic", "back-projection"}),
    "a blur": (Deblur("gaussian 1.2", 2), None, {"Richardson-Lucy", "Wiener"}),
    "jpeg": (Jpeg(10), None, {"non-local means", "wavelets", "total variation"}),
    "few measurements": (CompressedSensing(400, "hadamard"), None, {"total variation", "sparse cosines"}),
    "few frequencies": (CompressedSensing(900, "fourier"), None, {"total variation", "sparse cosines"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_each_task_has_filters_and_the_best_is_better_than_the_degraded_image(case: str, channels: int) -> None:
    task, noise, names = CASES[case]
    clean = waves(channels=channels)
    told = given(task, clean, noise)
    members, failures = restore_classically(told)
    assert failures == []
    assert {member.name for member in members} == names
    for member in members:
        assert member.judged.shape == member.delivered.shape == clean.shape
        assert member.judged.dtype == member.delivered.dtype == np.float32
        assert member.seconds >= 0
    scale = task.operator.scale
    picture = task.picture(told.observation)
    before = enlarge(picture, scale) if scale > 1 else picture
    assert max(psnr(member.delivered, clean) for member in members) > psnr(before, clean)


@pytest.mark.parametrize("case", CASES)
def test_equal_arguments_give_equal_bytes(case: str) -> None:
    task, noise, _ = CASES[case]
    one, other = (restore_classically(given(task, waves(32, 32), noise))[0] for _ in range(2))
    for a, b in zip(one, other, strict=True):
        assert (a.name, a.strength, a.divergence) == (b.name, b.strength, b.divergence)
        assert a.delivered.tobytes() == b.delivered.tobytes()
        assert a.judged.tobytes() == b.judged.tobytes()


@pytest.mark.parametrize("case", sorted(set(CASES) - {"few measurements", "few frequencies"}))
def test_what_is_judged_does_not_depend_on_hidden_pixels(case: str) -> None:
    task, noise, _ = CASES[case]
    told = given(task, waves(), noise)
    pixels = told.observation.pixels.copy()
    pixels[:, told.hidden] = 1 - pixels[:, told.hidden]
    # Strengths are chosen by the hidden pixels; the filters themselves must not see them.
    spoiled = replace(told, observation=Observation(pixels, told.observation.known))
    assert told.without_hidden.pixels.tobytes() == spoiled.without_hidden.pixels.tobytes()
    if task.needs_masks:
        assert told.without_hidden.known is not None
        assert not (told.without_hidden.known & told.hidden).any()
        judged = [restore_classically(each)[0][0].judged for each in (told, spoiled)]
        assert judged[0].tobytes() == judged[1].tobytes()


def test_what_is_judged_follows_no_noise_of_the_hidden_pixels_and_what_is_delivered_does() -> None:
    clean = waves(64, 64)
    told = given(Denoise(25), clean, SIGMA**2)
    noise = (told.observation.pixels - clean)[:, told.hidden]
    for member in restore_classically(told)[0]:
        judged, delivered = ((image - clean)[:, told.hidden] for image in (member.judged, member.delivered))
        assert abs(float(np.mean(judged * noise))) < 0.04 * SIGMA**2
        assert float(np.mean(delivered * noise)) > 0.08 * SIGMA**2


@pytest.mark.parametrize("matrix", ["gaussian", "hadamard", "dct", "fourier"])
def test_what_is_judged_of_measurements_has_not_seen_the_hidden_ones(
    matrix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Strengths are chosen by the hidden ones, so there is one strength here.
    monkeypatch.setattr("workers.classical.sensing.WEIGHTS", (0.01,))
    told = given(CompressedSensing(100, matrix), waves(16, 16, 1))
    pixels = told.observation.pixels.copy()
    pixels[:, told.hidden] += 1
    spoiled = replace(told, observation=replace(told.observation, pixels=pixels))
    ours, theirs = (restore_classically(each)[0] for each in (told, spoiled))
    assert [each.judged.tobytes() for each in ours] == [each.judged.tobytes() for each in theirs]
    assert [each.delivered.tobytes() for each in ours] != [each.delivered.tobytes() for each in theirs]


def test_an_image_of_few_colours_comes_back_from_few_measurements() -> None:
    clean = np.full((1, 32, 32), 0.2, dtype=np.float32)
    clean[:, 8:20, 10:26] = 0.8
    members, _ = restore_classically(given(CompressedSensing(400), clean))
    found = {member.name: psnr(member.delivered, clean) for member in members}
    assert found["total variation"] > 30
    assert found["total variation"] > found["sparse cosines"]


def test_an_image_of_few_cosines_comes_back_from_few_measurements() -> None:
    spectrum = np.zeros((1, 32, 32))
    spectrum[0, 0, 0], spectrum[0, 2, 5], spectrum[0, 7, 1] = 16, 4, 3
    clean = idctn(spectrum, axes=(1, 2), norm="ortho").astype(np.float32)
    members, _ = restore_classically(given(CompressedSensing(300), clean))
    assert {member.name: psnr(member.delivered, clean) for member in members}["sparse cosines"] > 35


def test_the_risk_of_a_filter_of_all_pixels_is_its_true_error() -> None:
    # Over draws of noise the error on the noisy pixels, less the noise, plus the optimism, is the true error.
    clean, estimates, truths = waves(64, 64), [], []
    for seed in range(6):
        told = given(Denoise(25), clean, SIGMA**2, seed)
        for member in restore_classically(told)[0]:
            error = float(np.square(member.delivered - told.observation.pixels, dtype=np.float64).mean())
            estimates.append(error - SIGMA**2 + 2 * SIGMA**2 * member.divergence)
            truths.append(float(np.square(member.delivered - clean, dtype=np.float64).mean()))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), rel=0.1)
    # Without it the error would be far too small.
    assert np.mean(estimates) - 2 * SIGMA**2 * 0.05 < np.mean(truths)


def test_a_strength_is_chosen_close_to_the_best_one() -> None:
    from workers.classical.denoise import FILTERS

    clean = waves(64, 64)
    told = given(Denoise(25), clean, SIGMA**2)
    noisy = told.observation.pixels.transpose(1, 2, 0).astype(np.float64)
    for member in restore_classically(told)[0]:
        kind = FILTERS[member.name]
        values = [
            psnr(kind.apply(noisy, SIGMA, each).transpose(2, 0, 1).astype(np.float32), clean) for each in kind.strengths
        ]
        assert psnr(member.delivered, clean) > max(values) - 0.5


def test_pixels_that_are_not_known_do_not_darken_their_neighbours() -> None:
    told = given(Denoise(25), waves(), SIGMA**2)
    known = np.ones((48, 48), dtype=np.bool_)
    known[10:20, 10:20] = False
    holed = replace(told, observation=Observation(np.where(known, told.observation.pixels, np.float32(0)), known))
    for member in restore_classically(holed)[0]:
        assert np.abs(member.delivered - waves())[:, 8:10, 8:22].mean() < 0.1


def test_a_large_image_with_missing_pixels_is_painted_tile_by_tile_without_seams() -> None:
    clean = waves(210, 40, channels=1)
    (member,) = restore_classically(given(Inpaint(0.3), clean))[0]
    error = np.abs(member.delivered - clean).mean(axis=(0, 2))
    assert error[190:195].mean() < 3 * error[20:180].mean() + 1e-3


@pytest.mark.parametrize("shape", [(3, 15, 40), (1, 1, 1)])
def test_a_tiny_image_has_no_filters(shape: tuple[int, int, int]) -> None:
    told = Given(Observation(np.zeros(shape, np.float32)), np.zeros(shape[1:], np.bool_), Denoise(25), 0.01, 0)
    assert restore_classically(told) == ([], [])


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_an_image_of_one_colour_stays_so(value: float) -> None:
    pixels = np.full((3, 24, 24), value, np.float32)
    hidden = np.zeros((24, 24), np.bool_)
    hidden[::5, ::5] = True
    for noise in (0.0, None):
        members, failures = restore_classically(Given(Observation(pixels), hidden, Denoise(25), noise, 0))
        assert failures == []
        for member in members:
            np.testing.assert_allclose(member.delivered, pixels, atol=1e-3)


def halved(observation: Observation, sigma: float) -> np.ndarray:
    assert sigma == pytest.approx(SIGMA)
    return observation.pixels / 2


def by_name(told: Given, denoiser: Callable[[Observation, float], np.ndarray]) -> Member:
    members, _ = restore_classically(told, {"mine:own": denoiser})
    return next(member for member in members if member.name == "mine:own")


def test_a_users_own_filter_is_a_member_with_its_optimism() -> None:
    told = given(Denoise(25), waves(), SIGMA**2)
    member = by_name(told, halved)
    np.testing.assert_array_equal(member.delivered, told.observation.pixels / 2)
    assert member.divergence == pytest.approx(0.5, abs=1e-3)


def test_a_users_own_filter_of_another_task_is_judged_by_what_it_makes_without_the_hidden_pixels() -> None:
    told = given(SuperResolve(2), waves())
    member = by_name(told, lambda observation, _: np.repeat(np.repeat(observation.pixels, 2, 1), 2, 2))
    assert member.divergence == 0
    low = measure(told.task.operator, member.judged)
    assert np.abs(low - told.observation.pixels)[:, told.hidden].mean() > 0
    assert not np.array_equal(member.judged, member.delivered)


@pytest.mark.parametrize(
    ("denoiser", "reason"),
    [
        (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda *_: np.zeros((3, 5, 5)), "ValueError: it returned an array of shape (3, 5, 5), and not of (3, 24, 24)"),
        (lambda observation, _: observation.pixels * np.nan, "its image has values that are no numbers"),
        (lambda *_: "x", "could not convert string to float"),
    ],
)
def test_a_filter_that_fails_says_why_and_the_others_stay(
    denoiser: Callable[[Observation, float], np.ndarray], reason: str
) -> None:
    members, failures = restore_classically(given(Denoise(25), waves(24, 24), SIGMA**2), {"mine": denoiser})
    assert len(members) == 3
    (failure,) = failures
    assert failure.name == "mine"
    assert reason in failure.reason


def test_scikit_image_is_imported_only_where_something_is_filtered() -> None:
    import subprocess

    code = "import sys, workers.classical; assert 'skimage' not in sys.modules, 'skimage'"
    subprocess.run([sys.executable, "-c", code], check=True)
