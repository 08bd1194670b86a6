import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.workers.tasks.pictures import check, picture, sizes
from workers.operators import Blur, Downsample, Identity, gaussian_kernel
from workers.tasks import Deblur, Denoise, Inpaint, Jpeg, SuperResolve, Task, make_task

TASKS: list[Task] = [
    Denoise(),
    Denoise(sigma=(5, 80)),
    Denoise(noise="poisson", peak=4),
    Inpaint(),
    Inpaint(missing=1),
    SuperResolve(3),
    SuperResolve(2, "bicubic"),
    Deblur(gaussian_kernel(1)),
    Deblur(np.array([[0, 0, 1.0]]), sigma=30),
    Jpeg(),
]


@check
@given(st.sampled_from(TASKS), st.integers(1, 4), sizes, sizes, st.integers(0, 99))
def test_observations_are_images_in_range_that_the_generator_decides(
    task: Task, channels: int, height: int, width: int, seed: int
) -> None:
    clean = picture(channels, height, width)
    clean.setflags(write=False)
    first, second = (task.simulate(clean, np.random.default_rng(seed)) for _ in range(2))
    scale = task.operator.scale
    assert first.pixels.shape == (channels, height // scale, width // scale)
    assert first.pixels.dtype == np.float32
    assert first.pixels.min() >= 0
    assert first.pixels.max() <= 1
    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.known, second.known)
    if first.known is not None:
        assert (first.known.shape, first.known.dtype) == (first.pixels.shape[1:], np.bool_)
        assert first.known.any()
        assert not first.pixels[:, ~first.known].any()


@check
@given(st.sampled_from([Inpaint(), SuperResolve(3), Deblur(gaussian_kernel(1))]), st.integers(1, 4), sizes, sizes)
def test_what_is_known_is_the_operators_result(task: Task, channels: int, height: int, width: int) -> None:
    scale = task.operator.scale
    clean = picture(channels, height - height % scale, width - width % scale)
    observation = task.simulate(clean, np.random.default_rng(0))
    known = slice(None) if observation.known is None else observation.known
    measured = task.operator(torch.from_numpy(clean)[None])[0].clamp(0, 1).numpy()
    np.testing.assert_array_equal(observation.pixels[:, known], measured[:, known])


@pytest.mark.parametrize(
    ("task", "name", "correlated"),
    [
        (Denoise(), "denoise", False),
        (Inpaint(), "inpaint", False),
        (SuperResolve(), "super-resolve", False),
        (Deblur(np.ones((3, 3))), "deblur", False),
        (Jpeg(), "jpeg", True),
    ],
)
def test_names_and_what_is_known_of_the_noise(task: Task, name: str, correlated: bool) -> None:
    assert (task.name, task.correlated_noise) == (name, correlated)


def test_operators() -> None:
    assert all(task.operator == Identity() for task in (Denoise(), Inpaint(), Jpeg()))
    assert SuperResolve(8, "box").operator == Downsample(8, "box")
    assert Deblur(np.ones((3, 3)), sigma=1).operator == Blur(np.ones((3, 3)))


def test_tasks_compare_by_what_they_are() -> None:
    assert Deblur(np.ones((3, 3))) == Deblur(2 * np.ones((3, 3)))
    assert len({Deblur(np.ones((3, 3))), Deblur(np.ones((1, 3))), Deblur(np.ones((3, 3)), sigma=1)}) == 3
    assert SuperResolve(4) == SuperResolve(4)
    assert SuperResolve(4) != SuperResolve(4, "box")


def test_a_task_is_made_of_its_own_settings() -> None:
    settings = {"sigma": None, "noise": "poisson", "peak": 4, "factor": 2, "downsampling": "box", "kernel": [[1, 2, 1]]}
    assert make_task("denoise", settings) == Denoise(25, "poisson", 4)
    assert make_task("super-resolve", settings) == SuperResolve(2, "box")
    assert make_task("deblur", settings) == Deblur(np.array([[1, 2, 1]]))
    assert make_task("deblur", {**settings, "sigma": 3, "kernel": "gaussian 1"}) == Deblur(gaussian_kernel(1), 3)


def test_commands_that_only_list_runs_can_read_traits_without_torch() -> None:
    code = "import sys; from workers.tasks import TASKS; assert 'torch' not in sys.modules, len(TASKS)"
    subprocess.run([sys.executable, "-c", code], check=True)
