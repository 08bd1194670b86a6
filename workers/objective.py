"""The objective of a fit: a measured image, seen through the degradation, and a noise input of its own.

This module knows the loss; `workers.fitting` minimises it and decides when to stop. Networks are pruned by the same
loss (`workers.lottery`), so the search for a mask sees no hidden pixel either.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.networks import Network, noise_input
from workers.operators import Operator
from workers.seeds import generator_of
from workers.stopping import held_out_mask
from workers.views import pad, padded_side

_MOST_HIDDEN = 0.2


@dataclass(frozen=True)
class Measurement:
    """The data that a fit may see: the measured image and which of its pixels are hidden from the loss.

    ``pixels`` is (C, h, w) in [0, 1], ``held_out`` (h, w) true where hidden, ``known`` (h, w) true where measured
    (None: everywhere); hidden pixels are known ones. All have the measurement's own size; the fit pads them by
    reflection, so a hidden pixel's mirror images are hidden too. Of an image that is measured as a whole ``pixels`` is
    (P, 1, m), and nothing is padded.
    """

    pixels: NDArray[np.float32]
    held_out: NDArray[np.bool_]
    known: NDArray[np.bool_] | None = None

    @classmethod
    def hiding(
        cls,
        pixels: NDArray[np.float32],
        known: NDArray[np.bool_] | None,
        random: np.random.Generator,
        *,
        share: float = 0.05,
        fewest: int = 1000,
        shaped: bool = False,
    ) -> Self:
        """A measurement whose hidden pixels are drawn at random.

        Args:
            pixels: (C, h, w).
            known: (h, w), true where measured; None where everything is.
            random: decides which pixels are hidden.
            share: the share of the known pixels that is hidden, in (0, 1).
            fewest: the least number of hidden pixels, up to a fifth of the known ones; fewer leave
                the choice of a network to chance.
            shaped: hide pixels in the shape of what is missing, see `workers.stopping.held_out_mask`.
        """
        height, width = pixels.shape[1:]
        observed = height * width if known is None else int(known.sum())
        share = max(share, min(_MOST_HIDDEN, fewest / max(1, observed)))
        return cls(pixels, held_out_mask(height, width, share, random, known, shaped=shaped), known)


class Objective:
    """The loss of one image, on a device.

    Attributes:
        size: (1, C, H, W) of the restored image, padded to what networks accept.
        inside: (H, W) of the restored image without what was padded.
        generator: draws the noise of every step, on the device.
    """

    def __init__(
        self,
        network: Network,
        measurement: Measurement,
        operator: Operator,
        *,
        input_noise: float,
        seed: int,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.measurement = measurement
        self._operator = operator
        self._input_noise = input_noise
        scale = operator.scale
        self._target = self._padded(measurement.pixels)[None]
        channels, *self.inside = operator.whole or (len(measurement.pixels), *measurement.pixels.shape[1:])
        height, width = (scale * padded_side(side, scale) for side in self.inside)
        self.inside = [scale * side for side in self.inside]
        self.size = (1, channels, height, width)
        self._loss_weight, self._monitor_weight = self._weights()
        self.generator = generator_of("fit noise", seed, device=self.device)
        self._input = noise_input(*network.input_shape(height, width), generator_of("fit input", seed)).to(self.device)

    def _padded(self, values: NDArray[Any]) -> Tensor:
        """Values (C, h, w) of the measurement, extended as networks need them; not those of the image as a whole."""
        extended = values if self._operator.whole else pad(values, scale=self._operator.scale)
        return torch.from_numpy(extended).to(self.device)

    def _weights(self) -> tuple[Tensor, Tensor]:
        """Per-pixel weights whose sum with squared differences is the mean over the kept,
        and over the hidden, pixels.
        """
        measurement = self.measurement
        hidden = self._padded(measurement.held_out[None])
        known = torch.ones_like(hidden) if measurement.known is None else self._padded(measurement.known[None])
        height, width = measurement.pixels.shape[1:]
        inside = torch.zeros_like(hidden)
        inside[:, :height, :width] = True
        # Beyond the edge the mirrored measurement equals that of a mirrored image, unless the operator has a direction.
        given = known if self._operator.symmetric else known & inside
        channels = self._target.shape[1]
        kept = (given & ~hidden).float()
        # An image of one pixel has nothing to hold out, so its fitted error is watched.
        watched = ((hidden if hidden.any() else known) & inside).float()
        return kept / (kept.sum() * channels), watched / (watched.sum() * channels)

    def input(self) -> Tensor:
        """The noise input with fresh noise added, as at every step: (1, C', H, W)."""
        noise = torch.empty_like(self._input).normal_(0, self._input_noise, generator=self.generator)
        return self._input + noise

    def loss(self, output: Tensor) -> Tensor:
        """Mean squared difference of an output (1, C, H, W), as it would be measured, to the kept pixels: a scalar; of
        several outputs the sum of theirs."""
        return ((self._operator(output) - self._target).square() * self._loss_weight).sum()

    def held_out_error(self, output: Tensor) -> Tensor:
        """The same on the hidden pixels."""
        return ((self._operator(output) - self._target).square() * self._monitor_weight).sum()

    def judged(self, outputs: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """The best of several outputs (N, C, H, W): its number (1,), its hidden error, itself (1, C, H, W).

        There is no number where there is one output alone.
        """
        if len(outputs) == 1:
            return None, self.held_out_error(outputs), outputs
        errors = ((self._operator(outputs) - self._target).square() * self._monitor_weight).sum((1, 2, 3))
        # One that has diverged is not the best while another is left.
        member = errors.nan_to_num(nan=torch.inf).argmin().view(1)
        return member, errors[member[0]], outputs.index_select(0, member)

    def seen(self, output: Tensor) -> NDArray[np.float32]:
        """An output as it would have been measured: (C, h, w)."""
        height, width = self.measurement.pixels.shape[1:]
        seen: NDArray[np.float32] = self._operator(output)[0, :, :height, :width].cpu().numpy()
        return seen

    def state_dict(self) -> Tensor:
        """The state of the noise; all else is a function of the arguments."""
        return self.generator.get_state()

    def load_state_dict(self, state: Tensor) -> None:
        """Go on from a `state_dict`."""
        self.generator.set_state(state.cpu())

    def renew_generator(self, state: Tensor) -> None:
        """Draw from another generator in this state."""
        self.generator = torch.Generator(self.device)
        self.load_state_dict(state)
