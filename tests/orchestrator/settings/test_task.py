import inspect
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from orchestrator.settings import Task, resolve
from orchestrator.settings.task import TaskName
from tests.orchestrator.conftest import MakeConfig
from tests.orchestrator.settings.given import mistakes, written
from workers.operators import Blur, Downsample, Identity, gaussian_kernel, motion_kernel
from workers.tasks import TASKS, CompressedSensing, Deblur, Denoise, Inpaint, Jpeg, SuperResolve
from workers.tasks.deblur import kernel_of


def test_an_interval_of_noise_ascends() -> None:
    assert resolve("quickstart", ["task.sigma=[5, 50]"]).task.sigma == (5, 50)
    assert mistakes("task.sigma=[50, 5]") == ["task.sigma: the interval's ends must ascend"]


def test_a_kernel_is_named_or_given_as_numbers_or_read_from_a_file(tmp_path: Path) -> None:
    rows = [[0.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 0.0]]
    text = written(tmp_path, "0 1 0\n1, 2, 1\n\n0 1 0", "kernel.txt")
    np.save(tmp_path / "kernel.npy", np.array(rows, dtype=np.int16))
    for value in (rows, text, tmp_path / "kernel.npy"):
        kernel = resolve("quickstart", [f"task.kernel={value}"]).task.kernel
        assert kernel == rows
    np.testing.assert_array_equal(kernel_of(rows), rows)
    np.testing.assert_array_equal(kernel_of(Task().kernel), gaussian_kernel(1.6))
    np.testing.assert_array_equal(kernel_of("motion 9 45"), motion_kernel(9, 45))


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("gaussian", "gaussian 0", "gaussian nan")),
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("gaussian 101", "motion 9", "motion 0.4 3")),
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("motion 9 4 5", "motion 9 inf")),
        ("no-such-file", "is neither a kernel's name nor a file of numbers"),
        ("''", "is neither a kernel's name nor a file of numbers"),
        ("[[1, 1], [1, 1]]", "two odd sides, not the shape (2, 2)"),
        ("[[1, 2, 1], [1]]", "rows of equal length"),
        ("[]", "rows of equal length"),
        ("[[-1]]", "must sum to more than 0"),
        ("[[a]]", "task.kernel.0.0: input should be a valid number"),
        ("3", "not 3"),
    ],
)
def test_a_kernel_that_cannot_be_used_is_refused(kernel: str, why: str) -> None:
    (line,) = mistakes(f"task.kernel={kernel}")
    assert line.startswith("task.kernel")
    assert why in line


@pytest.mark.parametrize("content", [b"", b"1 2\n3", b"1 x", b"\xff\xfe", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["kernel.npy", "kernel.txt"])
def test_a_file_that_holds_no_kernel_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (line,) = mistakes(f"task.kernel={tmp_path / name}")
    assert line.startswith("task.kernel: ")


def test_the_image_grows_by_the_factor_in_super_resolution_alone() -> None:
    assert resolve("quickstart", ["task.factor=8"]).task.scale == 1
    assert resolve("quickstart", ["task.factor=8", "task.name=super-resolve"]).task.scale == 8


@pytest.mark.parametrize(
    ("settings", "task"),
    [
        ({"name": "denoise"}, Denoise(25)),
        ({"name": "denoise", "sigma": [5, 50]}, Denoise((5, 50))),
        ({"name": "denoise", "noise": "poisson", "peak": 7}, Denoise(25, "poisson", 7)),
        ({"name": "inpaint", "missing": 0.25}, Inpaint(0.25)),
        ({"name": "super-resolve", "factor": 8, "downsampling": "box"}, SuperResolve(8, "box")),
        ({"name": "deblur"}, Deblur(gaussian_kernel(1.6), 0)),
        ({"name": "deblur", "kernel": "motion 9 45", "sigma": 3}, Deblur(motion_kernel(9, 45), 3)),
        ({"name": "deblur", "kernel": [[1, 2, 4]]}, Deblur(np.array([[1, 2, 4]]))),
        ({"name": "jpeg", "quality": 30}, Jpeg(30)),
        ({"name": "compressed-sensing", "measurements": 500}, CompressedSensing(500)),
        (
            {"name": "compressed-sensing", "measurements": 9, "matrix": "dct", "matrix_seed": 2, "sigma": 5},
            CompressedSensing(9, "dct", 2, 5),
        ),
    ],
)
def test_the_settings_name_the_task(make_config: MakeConfig, settings: dict[str, Any], task: object) -> None:
    assert make_config(task=settings).task.make() == task


def test_the_operator_is_the_tasks(make_config: MakeConfig) -> None:
    assert make_config().task.make().operator == Identity()
    assert make_config(task={"name": "super-resolve", "factor": 3}).task.make().operator == Downsample(3)
    kernel = [[0, 1, 2]]
    assert make_config(task={"name": "deblur", "kernel": kernel}).task.make().operator == Blur(np.array(kernel))


def test_compressed_sensing_needs_a_number_of_measurements() -> None:
    assert mistakes("task.name=compressed-sensing") == [
        "task.measurements: compressed sensing needs a number of them (--measurements M)"
    ]
    assert mistakes("task.name=compressed-sensing", "task.measurements=0")[0].startswith("task.measurements: ")


def test_every_task_has_its_name_in_the_settings_and_its_arguments_too() -> None:
    assert set(get_args(TaskName)) == set(TASKS)
    for kind in TASKS.values():
        assert set(inspect.signature(kind).parameters) <= set(Task.model_fields)
