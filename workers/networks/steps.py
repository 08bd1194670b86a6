"""The ways to compute a step of a fit. They agree to rounding and differ in speed."""

from enum import StrEnum


class Step(StrEnum):
    """A way to compute the steps of a fit, by the name that records keep; `workers.networks.layers` has what they do.

    Attributes:
        TORCH: PyTorch's own operation for every layer, on channels-last memory: the way of GPUs, and of earlier
            versions. In all others, what PyTorch does badly on CPUs is computed as matrix products.
        CHANNELS_LAST: on channels-last memory, but for the gradients of weights of large convolutions.
        CONTIGUOUS: on contiguous memory.
        WINOGRAD: as CHANNELS_LAST, with large convolutions of 3x3 by Winograd's algorithm.
        GRAPH: as TORCH; a GPU records a step and replays it (`workers.recording`).
    """

    TORCH = "torch"
    CHANNELS_LAST = "channels-last"
    CONTIGUOUS = "contiguous"
    WINOGRAD = "winograd"
    GRAPH = "graph"


def usual_step(device: str) -> Step:
    """The way that is taken where none was tried out: most small networks are fastest by it."""
    return Step.CHANNELS_LAST if device == "cpu" else Step.GRAPH
