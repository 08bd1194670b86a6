"""The networks, and how one is fitted to an image."""

from typing import Annotated, Literal

from pydantic import Field

from orchestrator.settings.section import Section


class Network(Section):
    """The networks of the search space."""

    width: int = Field(128, ge=4, le=1024, multiple_of=4, description="channels of every scale")
    input_channels: Annotated[int, Field(ge=1, le=1024)] | Literal["image"] = Field(
        "image", description="depth of the noise input; 'image' takes the image's own number of channels (ISNAS-DIP)"
    )

    def input_depth(self, image_channels: int) -> int:
        """The noise input's channels for an image with ``image_channels`` channels."""
        return image_channels if self.input_channels == "image" else self.input_channels


class Fit(Section):
    """How a network is fitted to an image."""

    stopping: Literal["auto", "held-out", "es-wmv", "es-emv"] = Field(
        "auto",
        description="the rule that stops a fit: least error on held-out pixels, or least windowed or exponential moving"
        " variance of the outputs; 'auto': held-out, except es-emv for jpeg",
    )

    iterations: int = Field(3000, ge=1, description="most iterations")
    patience: int = Field(
        300, ge=1, description="stop after this many iterations without a lower value of the stopping rule"
    )
    held_out: float = Field(0.05, gt=0, le=0.5, description="share of the observed pixels that is hidden from the loss")
    held_out_pixels: int = Field(
        1000,
        ge=0,
        description="the least number of hidden pixels, up to a fifth of the observed ones: fewer leave the choice of"
        " a network to chance",
    )
    reveal: float = Field(
        0.25,
        ge=0,
        le=1,
        description="share of the iterations up to the stop for which a fit at full size goes on with all pixels, once"
        " hidden ones have decided everything; 0 for none",
    )
    tile: Annotated[int, Field(ge=32, multiple_of=32)] | Literal["auto", "none"] = Field(
        "auto",
        description="the side, in pixels of the restored image, of the tiles that a fit at full size is cut into; auto:"
        " the largest that fits into a trial's memory, where the image does not; none: such an image is rejected"
        " (docs/tasks.md)",
    )
    overlap: int = Field(
        64, ge=2, description="pixels of the restored image that neighbouring tiles share, up to half a tile"
    )
    average: float = Field(0.99, ge=0, lt=1, description="weight of the past in the running average of the outputs")
    learning_rate: float = Field(0.01, gt=0, le=1, description="of Adam")
    input_noise: float = Field(1 / 30, ge=0, description="standard deviation of the noise added to the input each step")
    deterministic: bool = Field(
        False,
        description="on a GPU, use only operations that add in a fixed order: equal bytes on equal GPUs with equal"
        " versions, but slower; a CPU always does (docs/reliability.md)",
    )
    step: Literal["auto", "torch", "channels-last", "contiguous", "winograd", "graph"] = Field(
        "auto",
        description="the way to compute a step; all agree to rounding. 'auto': on a CPU long fits try them out and"
        " record the fastest, so another run may come to other roundings, and short ones take channels-last; a GPU"
        " takes graph, and knows only that and torch (docs/performance.md)",
    )
    precision: Literal["tf32", "fp32", "bf16"] = Field(
        "tf32",
        description="on a GPU, the numbers of convolutions: TF32 as PyTorch has it, float32, or bfloat16 by autocast,"
        " which needs less memory; a CPU always computes in float32 (docs/gpu.md)",
    )
    block: int = Field(50, ge=1, description="iterations between two looks at the clock; changes no result")
    checkpoint_s: float = Field(60, gt=0, description="seconds of work between checkpoints")
