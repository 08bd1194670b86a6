"""The task: the degradation of the images."""

import os
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, model_validator

from orchestrator.settings.section import Section
from orchestrator.settings.trust import check_may_read

if TYPE_CHECKING:
    import workers.tasks

GreyLevels = Annotated[float, Field(ge=0, le=255)]
MatrixName = Literal["gaussian", "hadamard", "dct", "fourier"]
TaskName = Literal["denoise", "inpaint", "super-resolve", "deblur", "jpeg", "compressed-sensing"]


def _read_kernel(value: object, info: ValidationInfo) -> object:
    """Leave a kernel's name as it is; turn a file into rows of numbers, so that the
    settings of a run hold all of it.
    """
    from workers.tasks.deblur import KERNELS, kernel_of, named_kernel  # noqa: PLC0415 - --help needs no arrays

    if not isinstance(value, str) or named_kernel(value) is not None:
        return value
    if value.split()[:1] and value.split()[0] in KERNELS:
        kernel_of(value)
    check_may_read(value, info.context)
    path = Path(value)
    try:
        if os.path.exists(path) and not path.is_file():  # noqa: PTH110 - pathlib raises for a name that is too long
            raise ValueError("it is no regular file")
        if path.suffix == ".npy":
            import numpy as np  # noqa: PLC0415 - --help needs none

            return np.load(path, allow_pickle=False).astype(float).tolist()
        lines = path.read_text(encoding="utf-8").replace(",", " ").splitlines()
        return [[float(word) for word in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{value!r} is neither a kernel's name nor a file of numbers ({error})") from None


def _usable_kernel(kernel: str | list[list[float]]) -> str | list[list[float]]:
    from workers.tasks import Deblur  # noqa: PLC0415 - operators are made of torch, and few settings name a kernel

    Deblur(kernel)
    return kernel


class Task(Section):
    """The degradation of the images."""

    name: TaskName = Field("denoise", description="the degradation of the images")
    noise: Literal["gaussian", "poisson"] = Field(
        "gaussian", description="denoise: the kind of noise that --simulate adds; a fit never uses it"
    )
    sigma: GreyLevels | tuple[GreyLevels, GreyLevels] | None = Field(
        None,
        description="denoise, deblur, compressed-sensing: Gaussian noise that --simulate adds, in 8-bit grey levels;"
        " [low, high] draws a level for each image; null: 25 (denoise) or 0",
    )
    peak: float = Field(30, gt=0, description="denoise: photons in a white pixel where --simulate adds Poisson noise")
    missing: float = Field(0.5, ge=0, lt=1, description="inpaint: share of the pixels that --simulate removes")
    keep_known: bool = Field(
        True, description="inpaint: known pixels come back unchanged; false: as the network gives them"
    )
    factor: Literal[2, 3, 4, 8] = Field(4, description="super-resolve: how many times larger the restored image is")
    downsampling: Literal["lanczos2", "box", "bicubic"] = Field(
        "lanczos2", description="super-resolve: the filter that made the low-resolution image"
    )
    kernel: Annotated[str | list[list[float]], BeforeValidator(_read_kernel), AfterValidator(_usable_kernel)] = Field(
        "gaussian 1.6",
        description="deblur: the blur's kernel: 'gaussian SIGMA' or 'motion LENGTH DEGREES' in pixels, rows of numbers,"
        " or a .npy or text file of them",
    )
    measurements: int | None = Field(
        None, ge=1, description="compressed-sensing: how many values of an image are measured"
    )
    matrix: MatrixName = Field("gaussian", description="compressed-sensing: the kind of the measurement matrix")
    matrix_seed: int = Field(0, ge=0, description="compressed-sensing: the seed of the measurement matrix")
    quality: int = Field(10, ge=1, le=95, description="jpeg: the quality at which --simulate compresses")

    @model_validator(mode="after")
    def _levels_in_order(self) -> typing.Self:
        if isinstance(self.sigma, tuple) and self.sigma[0] > self.sigma[1]:
            raise ValueError("task.sigma: the interval's ends must ascend")
        return self

    @model_validator(mode="after")
    def _measured(self) -> typing.Self:
        if self.name == "compressed-sensing" and self.measurements is None:
            raise ValueError("task.measurements: compressed sensing needs a number of them (--measurements M)")
        return self

    @property
    def kind(self) -> "type[workers.tasks.Task]":
        """The task's class, which carries its traits."""
        from workers.tasks import TASKS  # noqa: PLC0415 - --help needs no arrays

        return TASKS[self.name]

    def make(self) -> "workers.tasks.Task":
        """The task as these settings describe it."""
        from workers.tasks import make_task  # noqa: PLC0415 - --help needs no arrays

        return make_task(self.name, dict(self))

    @property
    def scale(self) -> int:
        """Side of the restored image over side of the given one."""
        return self.factor if self.kind.enlarges else 1
