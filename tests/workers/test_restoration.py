import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import workers
from workers import Restoration, restore
from workers.fitting import FitSettings
from workers.quality import psnr
from workers.tasks import Deblur, Denoise, SuperResolve, make_task

TINY = FitSettings(iterations=12, patience=12, average=0.5)
SMALL: dict[str, Any] = {"network": "deep-decoder-16", "settings": TINY}


def smooth(height: int = 40, width: int = 48, channels: int = 3) -> NDArray[np.float32]:
    """A smooth picture (C, H, W) in [0.1, 0.9]."""
    rows, columns = np.mgrid[0:height, 0:width] / 12
    return np.stack([0.5 + 0.4 * np.sin(rows + columns + c) for c in range(channels)]).astype(np.float32)


def test_a_noisy_image_is_restored_blind() -> None:
    clean = smooth()
    noisy = Denoise(40.0).simulate(clean, np.random.default_rng(0)).pixels
    told: list[int] = []
    settings = FitSettings(iterations=200, patience=60, average=0.9)
    restored = restore(
        noisy, network="deep-decoder-16", settings=settings, on_progress=lambda iteration, error: told.append(iteration)
    )
    assert (restored.image.shape, restored.image.dtype) == (clean.shape, np.float32)
    assert psnr(restored.image, clean) > psnr(noisy, clean) + 3
    assert restored.held_out_error is not None
    # True error plus the variance of the noise.
    assert 0.5 < restored.held_out_error / float(np.square(noisy - clean).mean()) < 1.5
    assert 1 <= restored.stop_iteration <= restored.iterations <= 200
    assert restored.revealed == math.ceil(restored.stop_iteration / 4)
    assert told[0] == 50
    assert restored.network == "deep-decoder-16"


def test_equal_arguments_give_equal_images_and_another_seed_another() -> None:
    first, again, other = (restore(smooth(), seed=seed, **SMALL).image for seed in (3, 3, 4))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != other.tobytes()


def test_hidden_pixels_are_shown_in_the_end_unless_that_is_not_wanted() -> None:
    shown = restore(smooth(), **SMALL)
    hiding = restore(smooth(), network="deep-decoder-16", settings=replace(TINY, reveal=0))
    steady = restore(smooth(), network="deep-decoder-16", settings=replace(TINY, stopping="es-emv"))
    assert (hiding.revealed, steady.revealed) == (0, 0)
    assert shown.revealed > 0
    assert (shown.held_out_error, shown.stop_iteration) == (hiding.held_out_error, hiding.stop_iteration)
    assert not np.array_equal(shown.image, hiding.image)


def test_a_grey_image_comes_back_with_two_axes_and_any_floats_are_taken() -> None:
    grey = smooth(channels=1)[0]
    flat = restore(grey.astype(np.float64), **SMALL)
    assert flat.image.shape == grey.shape
    assert flat.image.tobytes() == restore(grey[None], **SMALL).image[0].tobytes()


def test_known_pixels_come_back_as_they_were_and_unknown_ones_may_hold_anything() -> None:
    clean = smooth()
    known = np.random.default_rng(0).random(clean.shape[1:]) < 0.5
    holes = np.where(known, clean, np.float32(np.nan))
    restored = restore(holes, task="inpaint", known=known, **SMALL)
    assert restored.image[:, known].tobytes() == clean[:, known].tobytes()
    assert np.isfinite(restored.image).all()


@pytest.mark.parametrize(
    ("task", "scale"), [("super-resolve", 4), (SuperResolve(2), 2), (Deblur("gaussian 1.6"), 1), ("jpeg", 1)], ids=str
)
def test_every_task_gives_an_image_of_its_size(task: Any, scale: int) -> None:
    restored = restore(smooth(20, 24), task=task, **SMALL)
    assert restored.image.shape == (3, scale * 20, scale * 24)


def test_the_network_of_the_task_is_the_default() -> None:
    restored = restore(smooth(), width=4, settings=FitSettings(iterations=2, patience=2))
    assert restored.network == make_task("denoise", {}).prior


@pytest.mark.parametrize(
    ("image", "options", "error", "message"),
    [
        (np.zeros((3, 8, 8), np.uint8), {}, TypeError, "holds uint8; give floats"),
        (np.zeros(8), {}, ValueError, r"shape \(8,\)"),
        (np.zeros((3, 0, 8)), {}, ValueError, r"shape \(3, 0, 8\)"),
        (np.zeros((8, 9, 3)), {}, ValueError, "channels last"),
        (np.full((3, 8, 8), 1.01), {}, ValueError, r"not in \[0, 1\]"),
        (np.full((3, 8, 8), -0.01), {}, ValueError, r"not in \[0, 1\]"),
        (np.full((3, 8, 8), np.nan), {}, ValueError, r"not in \[0, 1\]"),
        (np.zeros((3, 8, 8)), {"task": "dehaze"}, ValueError, "there is no task 'dehaze'; there are: denoise, inpaint"),
        (np.zeros((3, 8, 8)), {"task": "deblur"}, ValueError, "needs arguments"),
        (np.zeros((3, 8, 8)), {"network": "resnet"}, ValueError, "prior 'resnet' does not exist"),
        (np.zeros((3, 8, 8)), {"task": "inpaint"}, ValueError, "give known"),
        (np.zeros((3, 8, 8)), {"known": np.ones((8, 8), bool)}, ValueError, "has no missing pixels"),
        (np.zeros((3, 8, 8)), {"task": "inpaint", "known": np.ones((8, 8))}, TypeError, "give booleans"),
        (np.zeros((3, 8, 8)), {"task": "inpaint", "known": np.ones((8, 9), bool)}, ValueError, r"give \(8, 8\)"),
        (np.zeros((3, 8, 8)), {"task": "inpaint", "known": np.zeros((8, 8), bool)}, ValueError, "a known pixel"),
    ],
)
def test_what_cannot_be_restored_is_refused(
    image: NDArray[Any], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        restore(image, **options)


def test_the_package_is_light_until_restore_is_used() -> None:
    code = "import sys, workers; assert 'torch' not in sys.modules; assert callable(workers.restore)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert Restoration is workers.Restoration
    with pytest.raises(AttributeError, match="no attribute 'restor'"):
        _ = workers.restor  # type: ignore[attr-defined]
