"""Networks and images that are quickly fitted."""

import numpy as np
from torch import nn

from workers.networks import Network, build, prior_of
from workers.networks.dip import DipNetwork
from workers.objective import Measurement, Objective
from workers.operators import Identity
from workers.seeds import generator_of
from workers.space import Candidate
from workers.stopping import held_out_mask
from workers.tasks import Denoise

NOISE = 1 / 30


def dip() -> Network:
    return prior_of("dip").build(2, 8, input_channels=2, generator=generator_of("weights"))


def candidate() -> Network:
    return build(Candidate.parse("158-1111101111001110001100001"), 2, 2, 8, generator=generator_of("weights"))


def decoder(name: str = "weights", channels: int = 8) -> Network:
    """The quickest."""
    return prior_of(f"deep-decoder-{channels}").build(2, 8, input_channels=2, generator=generator_of(name))


NETWORKS = [dip, candidate]
EXEMPT = {DipNetwork: ["skips.0.*", "encoders.0.0"]}
"""Patterns of layers that can be left alone."""


def exempt(network: Network) -> list[str]:
    return EXEMPT.get(type(network), ["blocks.enc1.*"])


def measurement(seed: int = 0) -> Measurement:
    """Waves, with noise."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64] / (8 + 8 * random.random())
    clean = np.stack([0.5 + 0.4 * np.sin(rows + columns), 0.5 + 0.4 * np.cos(rows)]).astype(np.float32)
    return Measurement(Denoise(25).simulate(clean, random).pixels, held_out_mask(64, 64, 0.05, random))


def objective(network: Network, seed: int = 0, input_noise: float = NOISE) -> Objective:
    return Objective(network, measurement(seed), Identity(), input_noise=input_noise, seed=seed)


def weights(network: nn.Module) -> dict[str, bytes]:
    """Parameters, byte for byte."""
    return {name: value.detach().numpy().tobytes() for name, value in network.state_dict().items()}
