"""A generator so small that it is no test of patience, and its file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

LATENT = 3
HEIGHT, WIDTH = 40, 48


class Toy(nn.Module):
    """Three latents to smooth images of 40 x 48 in [0, 1]."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.mix = nn.Linear(LATENT, 3 * 5 * (width // 8))
        self.width = width // 8

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(N, 3) to (N, 3, 40, 48)."""
        coarse = self.mix(z).view(-1, 3, 5, self.width).sigmoid()
        return nn.functional.interpolate(coarse, scale_factor=8, mode="bilinear", align_corners=False)


def toy() -> Toy:
    """The module that the file's weights fit."""
    torch.manual_seed(1)
    return Toy()


def wider() -> nn.Module:
    """One that they do not fit."""
    return Toy(2 * WIDTH)


class Flat(Toy):
    """No images: it leaves out their height."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return super().forward(z)[:, :, 0]


def flat() -> nn.Module:
    """One that the weights fit, and that makes no images."""
    return Flat()


def written(folder: Path) -> str:
    """The file of weights."""
    path = folder / "toy.safetensors"
    state = torch.random.get_rng_state()
    save_file(toy().state_dict(), path)
    torch.random.set_rng_state(state)
    return str(path)


def settings(folder: Path, networks: Sequence[str] = ("generator:toy",), **changes: Any) -> dict[str, Any]:
    """Settings of a run with it."""
    generator = {"name": "toy", "file": written(folder), "factory": "tests.toy_generator:toy", "latent": LATENT}
    return {
        "task": {"name": "compressed-sensing", "measurements": 200},
        "generators": [{**generator, "restarts": 2, **changes}],
        "arms": [{"name": "csgm", "networks": list(networks)}],
    }
