"""A fit as data: what is asked for and what is known of it afterwards. Light, for processes that compute nothing."""

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.ingest import InputImage

if TYPE_CHECKING:
    from workers.views import ViewName


@dataclass(frozen=True)
class FitJob:
    """One image x one candidate x one view: a few small words, as a trial's settings should be."""

    image: InputImage
    arm: str
    view: "ViewName"
    candidate: str


@dataclass(frozen=True)
class Evaluation:
    """What only a clean reference can tell, in dB; kept apart from everything that is chosen by."""

    psnr: float
    psnr_oracle_stop: float


@dataclass(frozen=True)
class FitRecord:
    """What is known of a fit that ended.

    A ``failed`` one says why in ``reason``. ``held_out_error`` is the least mean squared error on the hidden pixels, reached
    at ``stop_iteration``; ``seconds`` the time spent computing, over all attempts that left a checkpoint.
    """

    candidate: str
    view: "ViewName"
    state: Literal["done", "failed"]
    reason: str | None = None
    held_out_error: float | None = None
    stop_iteration: int | None = None
    iterations: int | None = None
    parameters: int | None = None
    seconds: float = 0.0
    evaluation: Evaluation | None = None

    def to_json(self) -> bytes:
        """Plain JSON."""
        return json.dumps(asdict(self), allow_nan=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "FitRecord":
        """The record back."""
        fields = json.loads(data)
        evaluation = fields.pop("evaluation")
        return cls(**fields, evaluation=None if evaluation is None else Evaluation(**evaluation))
