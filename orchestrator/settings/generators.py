"""Trained generators, the priors of compressed sensing that are not random networks."""

import hashlib
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationInfo, field_validator, model_validator

from orchestrator.settings.section import Section
from orchestrator.settings.trust import Stored, may_import
from workers.names import DRAW

if TYPE_CHECKING:
    from workers.generators import Facts

Side = Annotated[int, Field(ge=1)]


class Generator(Section):
    """A trained generator. Its file is looked at once, where the user gives it; what was found goes with the run."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$",
        description="for the networks generator:NAME and adapted-generator:NAME",
    )
    file: str = Field(
        description="its weights (safetensors, or a state dict of torch.save), or a program of torch.export or"
        " TorchScript, which holds its weights"
    )
    factory: str | None = Field(
        None,
        description="makes the module that the weights fit: your 'module:object'; null: for a program",
    )
    latent: Side | Annotated[list[Side], Field(min_length=1)] = Field(description="the shape of its latent z")
    range: tuple[float, float] | None = Field(
        None,
        description="its values at black and white; null: [-1, 1] if any is negative, else [0, 1]",
    )
    restarts: int = Field(4, ge=1, le=64, description="how many latents are sought side by side")
    latent_share: float = Field(
        0.5, gt=0, lt=1, description="adapted: the share of fit.iterations after which the weights are fitted too"
    )
    rate: float = Field(0.05, gt=0, description="the learning rate of z")
    weights_rate: float = Field(1e-4, gt=0, description="adapted: the learning rate of the weights")
    sha256: str | None = Field(None, description="found in the file: its SHA-256")
    shape: tuple[int, int, int] | None = Field(None, description="found: channels, height and width of its images")
    kept_bytes: int = Field(0, ge=0, description="found: memory that a step of a fit keeps for its gradients")
    multiply_adds: int = Field(0, ge=0, description="found: multiply-adds of a step of a fit")

    @field_validator("name")
    @classmethod
    def _is_no_draw(cls, name: str) -> str:
        if DRAW.fullmatch(name):
            raise ValueError(f"{name} would name another draw of a network; give it a name without -draw-N at its end")
        return name

    @model_validator(mode="after")
    def _look(self, info: ValidationInfo) -> typing.Self:
        """Load the generator, unless it has been looked at already."""
        looked_at = None not in (self.sha256, self.shape, self.range)
        if not may_import(self.factory or self.file, info.context) or looked_at:
            return self
        if isinstance(info.context, Stored):
            raise ValueError("the run's record does not say what its file holds")
        from workers.generators import cost_of, facts_of, load_generator  # noqa: PLC0415 - torch

        try:
            data = read_file(self.file)
            module = load_generator(data, self.factory)
            given = [self.latent] if isinstance(self.latent, int) else self.latent
            facts = facts_of(module, given, self.range)
            cost = cost_of(module, facts, self.restarts)
        except (OSError, ValueError) as error:
            raise ValueError(f"generator {self.name}: {self.file}: {error}") from None
        found = {
            "latent": list(facts.latent),
            "range": (facts.low, facts.high),
            "sha256": hashlib.sha256(data).hexdigest(),
            "shape": facts.shape,
            "kept_bytes": cost.kept_bytes,
            "multiply_adds": cost.multiply_adds,
        }
        return self.model_copy(update=found)

    @property
    def facts(self) -> "Facts":
        """What was found of its images."""
        from workers.generators import Facts  # noqa: PLC0415 - torch

        latent = [self.latent] if isinstance(self.latent, int) else self.latent
        assert self.range is not None  # noqa: S101 - it was found
        assert self.shape is not None  # noqa: S101 - likewise
        return Facts(tuple(latent), self.shape, *self.range)

    @property
    def per_pixel(self) -> float:
        """Bytes that a step of a fit keeps, for each pixel of its images."""
        _, height, width = self.facts.shape
        return self.kept_bytes / (height * width)

    def why_not(self, shape: tuple[int, int, int]) -> str | None:
        """Why it is no prior of an image of the shape (C, H, W); None if it is one."""
        if self.shape is None or shape == self.shape:
            return None
        mine, theirs = (
            f"{width}x{height} pixels in {'grey' if depth == 1 else 'colour'}"
            for depth, height, width in (self.shape, shape)
        )
        return f"the generator {self.name} makes images of {mine}, and this one has {theirs}"


def read_file(file: str) -> bytes:
    """The content of a generator's file.

    Raises:
        OSError: it cannot be read; the message is short.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise OSError("there is no such file")
    return path.read_bytes()
