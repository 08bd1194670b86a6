import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.errors import ImageRejectedError
from orchestrator.fit.problem import Problem
from orchestrator.images import decode
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import image_key
from tests.orchestrator.conftest import Encoded, MakeBench, MakeConfig, Reads
from workers.objective import Measurement
from workers.tasks import SuperResolve, enlarge

HOLES = np.random.default_rng(0).random((40, 48)) < 0.5


def measured(context: RunContext, image: InputImage, view: Any = "crop") -> Measurement:
    problem = Problem(context, image)
    return problem.measurement(problem.view(view))


def test_what_is_given_is_observed_as_it_is(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    for task in ("denoise", "super-resolve", "deblur", "jpeg"):
        bench = make_bench(make_config(task={"name": task}), encoded(), encoded(noise_seed=1))
        observation = Problem(bench.context, bench.image).observation
        np.testing.assert_array_equal(observation.pixels, decode(encoded()).pixels)
        assert observation.known is None


@pytest.mark.parametrize("simulate", [False, True])
def test_a_users_mask_says_what_is_known_and_is_all_that_happens_to_an_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, simulate: bool
) -> None:
    config = make_config(task={"name": "inpaint", "missing": 0.9})
    bench = make_bench(config, encoded(), mask=HOLES, simulate=simulate)
    observation = Problem(bench.context, bench.image).observation
    assert observation.known is not None
    np.testing.assert_array_equal(observation.known, HOLES)
    np.testing.assert_array_equal(observation.pixels, decode(encoded()).pixels * HOLES)
    reference = Problem(bench.context, bench.image).reference
    assert (reference is not None) == simulate
    if reference is not None:
        np.testing.assert_array_equal(reference, decode(encoded()).pixels)


@pytest.mark.parametrize("damaged", ["file", "reference"])
def test_an_input_that_is_not_what_its_name_says_rejects_its_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, damaged: str
) -> None:
    bench = make_bench(make_config(), encoded(noise_seed=1), encoded())
    pictures = {"file": encoded(noise_seed=1), "reference": encoded()}
    named = {name: f"{hashlib.sha256(data).hexdigest()}.png" for name, data in pictures.items()}
    for name, file in named.items():
        bench.store.put(image_key(file), pictures[name])
    image = replace(bench.image, **named)
    assert Problem(bench.context, image).reference is not None
    bench.store.put(image_key(named[damaged]), encoded(noise_seed=2))
    problem = Problem(bench.context, image)
    with pytest.raises(ImageRejectedError, match=r"its copy in the store is damaged .*that its name says"):
        _ = problem.observation, problem.reference


@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_a_simulation_is_a_function_of_the_seed_the_image_and_the_task(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: str
) -> None:
    bench = make_bench(make_config(task={"name": task}), encoded(), simulate=True)
    first = Problem(bench.context, bench.image).observation.pixels
    np.testing.assert_array_equal(Problem(bench.context, bench.image).observation.pixels, first)
    assert not np.array_equal(first, decode(encoded()).pixels)
    other = Problem(bench.context, replace(bench.image, id="other")).observation.pixels
    reseeded = replace(bench.context, config=bench.context.config.model_copy(update={"seed": 1}))
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, Problem(reseeded, bench.image).observation.pixels)


@pytest.mark.parametrize(
    "change",
    [
        {"arms": ["random", "isnas-dip"]},
        {"network": {"width": 16}},
        {"score": {"seed": 5, "metric": "random"}},
        {"cohort": {"size": 1}},
    ],
    ids=str,
)
@pytest.mark.parametrize("task", ["denoise", "inpaint"])
def test_whatever_the_arms_they_face_the_same_noise_and_the_same_hidden_pixels(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: str, change: dict[str, Any]
) -> None:
    bench = make_bench(make_config(task={"name": task}), encoded(64, 70), simulate=True)
    other = replace(bench.context, config=make_config(task={"name": task}, **change))
    for view in ("crop", "downscale", "full"):
        one, two = measured(bench.context, bench.image, view), measured(other, bench.image, view)
        for name in ("pixels", "held_out", "known"):
            np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


@pytest.mark.parametrize(
    ("settings", "hidden"),
    [
        ({"held_out": 0.1, "held_out_pixels": 1}, 192),
        ({"held_out": 0.1, "held_out_pixels": 250}, 250),
        # To reach their number, at most a fifth of a small image is held out.
        ({"held_out": 0.1, "held_out_pixels": 10_000}, 384),
        ({"held_out": 0.3, "held_out_pixels": 10_000}, 576),
    ],
)
def test_so_many_pixels_are_hidden_as_the_share_says_or_are_needed_to_tell(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, settings: dict[str, Any], hidden: int
) -> None:
    bench = make_bench(make_config(fit=settings), encoded(40, 48))
    assert measured(bench.context, bench.image, "full").held_out.sum() == hidden


def test_of_a_single_pixel_none_is_hidden(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(1, 1))
    assert not measured(bench.context, bench.image, "full").held_out.any()


def test_hidden_pixels_are_known_ones_and_others_for_another_seed_or_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "inpaint"}, fit={"held_out": 0.1, "held_out_pixels": 1})
    bench = make_bench(config, encoded(), mask=HOLES)
    full = measured(bench.context, bench.image, "full")
    assert full.held_out.sum() == round(0.1 * HOLES.sum())
    assert not (full.held_out & ~HOLES).any()
    reseeded = replace(bench.context, config=config.model_copy(update={"seed": 1}))
    elsewhere = replace(bench.image, id="other")
    for other in (measured(reseeded, bench.image, "full"), measured(bench.context, elsewhere, "full")):
        assert not np.array_equal(other.held_out, full.held_out)


def test_a_small_view_of_an_image_with_holes_has_a_mask_of_its_own(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "inpaint"}, cohort={"downscale_px": 32})
    known = np.ones((80, 96), dtype=np.bool_)
    known[:40] = False
    bench = make_bench(config, encoded(80, 96), mask=known)
    small, crop = (measured(bench.context, bench.image, view) for view in ("downscale", "crop"))
    for measurement, shape in ((small, (32, 38)), (crop, (32, 32))):
        assert measurement.known is not None
        assert measurement.pixels.shape == (3, *shape)
        assert measurement.known.shape == measurement.held_out.shape == shape
        assert not (measurement.held_out & ~measurement.known).any()
        assert measurement.held_out.any()
    assert small.known is not None
    assert not small.known[:15].any()
    assert small.known[17:].all()


def test_super_resolution_of_a_clean_image_that_is_no_multiple_of_the_scale_leaves_the_rest_out(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "super-resolve", "factor": 4})
    bench = make_bench(config, encoded(43, 50), simulate=True)
    observation = Problem(bench.context, bench.image).observation
    clean = decode(encoded(43, 50)).pixels[:, :40, :48]
    assert observation.pixels.shape == (3, bench.image.height, bench.image.width) == (3, 10, 12)
    reference = Problem(bench.context, bench.image).reference
    assert reference is not None
    np.testing.assert_array_equal(reference, clean)
    np.testing.assert_array_equal(observation.pixels, SuperResolve(4).simulate(clean, np.random.default_rng()).pixels)


def test_without_a_restoration_one_has_the_observation_or_it_enlarged(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    for task, scale in (("denoise", 1), ("super-resolve", 2)):
        config = make_config(task={"name": task, "factor": 2})
        bench = make_bench(config, encoded())
        problem = Problem(bench.context, bench.image)
        pixels = problem.observation.pixels
        np.testing.assert_array_equal(problem.unrestored, pixels if scale == 1 else enlarge(pixels, 2))


def test_a_view_is_measured_in_pixels_of_the_restored_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "super-resolve", "factor": 2}, cohort={"crop_px": 32, "downscale_px": 40})
    bench = make_bench(config, encoded())
    problem = Problem(bench.context, bench.image)
    views = [problem.view(name) for name in ("crop", "downscale", "full")]
    assert [(view.out_height, view.out_width) for view in views] == [(16, 16), (20, 24), (40, 48)]


def test_a_reference_is_decoded_on_the_scale_of_its_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    without = make_bench(make_config(), encoded(noise_seed=1))
    assert Problem(without.context, without.image).reference is None
    bench = make_bench(make_config(), encoded(noise_seed=1), encoded())
    np.testing.assert_array_equal(Problem(bench.context, bench.image).reference, decode(encoded()).pixels)


@pytest.mark.parametrize("task", ["denoise", "inpaint", "super-resolve", "deblur", "jpeg"])
def test_degrading_a_clean_image_leaves_the_reference_as_it_is(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, task: str
) -> None:
    bench = make_bench(make_config(task={"name": task, "factor": 2}), encoded(), simulate=True)
    problem = Problem(bench.context, bench.image)
    assert not np.array_equal(problem.unrestored, decode(encoded()).pixels)
    np.testing.assert_array_equal(problem.reference, decode(encoded()).pixels)


def test_the_observation_needs_no_reference(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(noise_seed=1), b"no picture")
    problem = Problem(bench.context, bench.image)
    problem.measurement(problem.view("crop"))
    with pytest.raises(ImageRejectedError):
        _ = problem.reference


@pytest.mark.parametrize("given", ["nothing more", "simulate", "reference", "mask"])
def test_every_input_is_read_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, read: Reads, given: str
) -> None:
    more: dict[str, Any] = {"simulate": True, "reference": encoded(), "mask": HOLES}
    known = {given: more[given]} if given in more else {}
    bench = make_bench(make_config(task={"name": "inpaint"}), encoded(noise_seed=1), **known)
    keys = read(bench)
    problem = Problem(bench.context, bench.image)
    for _ in range(2):
        _ = problem.picture, problem.reference, problem.unrestored, problem.measurement(problem.view("crop"))
    assert len(keys) == len(set(keys)) == (2 if given in ("reference", "mask") else 1)


def test_hidden_pixels_have_the_shape_of_the_holes_in_a_users_mask(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "inpaint"})
    known = np.ones((40, 48), dtype=np.bool_)
    known[5:13, 8:16] = False

    def hidden(mask: NDArray[np.bool_], rules: int) -> NDArray[np.bool_]:
        bench = make_bench(config, encoded(), mask=mask)
        return measured(bench.context, replace(bench.image, rules=rules), "full").held_out

    in_shape, before, scattered = hidden(known, 3), hidden(known, 2), hidden(HOLES, 3)
    assert in_shape.sum() == before.sum()

    def together(hidden: NDArray[np.bool_]) -> float:
        return float((hidden[:, 1:] & hidden[:, :-1]).sum() / hidden.sum())

    assert together(in_shape) > 0.7
    # Runs begun before, and masks of single pixels here and there, have single hidden ones.
    assert together(before) < 0.3
    assert together(scattered) < 0.3


def test_measurements_of_the_whole_image_are_fitted_whole_and_a_twentieth_is_hidden(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(task={"name": "compressed-sensing", "measurements": 100})
    bench = make_bench(config, encoded(), simulate=True)
    problem = Problem(bench.context, bench.image)
    clean = decode(encoded()).pixels
    assert problem.observation.shape == clean.shape
    seen = measured(bench.context, bench.image, "full")
    np.testing.assert_array_equal(seen.pixels, problem.observation.pixels)
    assert seen.held_out.shape == (1, 100)
    assert seen.held_out.sum() == 5
    # As an image it has the size of the restored one, which the reference is compared with.
    assert problem.unrestored.shape == clean.shape
    view = problem.view("full")
    assert problem.reference is not None
    np.testing.assert_array_equal(view.take(problem.reference)[0], clean)
