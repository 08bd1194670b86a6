"""The benchmarks' clean pictures: parts of some that come with scikit-image, made small."""

from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from skimage.transform import resize

PARTS = {
    "astronaut": lambda: data.astronaut()[:256, 100:356],
    "cat": lambda: data.chelsea()[20:276, 80:336],
    "coffee": lambda: data.coffee()[60:316, 150:406],
    "tissue": lambda: data.immunohistochemistry()[100:356, 100:356],
}
MANY = {
    **PARTS,
    "retina": lambda: data.retina()[500:756, 300:556],
    "rocket": lambda: data.rocket()[60:316, 200:456],
    "hubble": lambda: data.hubble_deep_field()[200:456, 300:556],
    "motorcycle": lambda: data.stereo_motorcycle()[0][160:416, 240:496],
    "camera": lambda: data.camera()[40:296, 130:386],
    "coins": lambda: data.coins()[:256, :256],
    "brick": lambda: data.brick()[:256, :256],
    "moon": lambda: data.moon()[100:356, 200:456],
}
"""Twelve pictures; the last four are grey."""

LEARNT_ON = ("cat", "astronaut", "coffee", "tissue", "retina", "rocket", "camera", "brick")
"""The pictures that a portfolio is learnt on; the others test it."""


def write_images(folder: Path, side: int) -> None:
    """Four colour pictures of ``side`` pixels, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        small = resize(part(), (side, side), anti_aliasing=True)
        Image.fromarray(np.rint(small * 255).astype(np.uint8)).save(folder / f"{name}.png")


def clean_picture(name: str, side: int) -> np.ndarray:
    """A clean picture (C, side, side) in [0, 1], of 3 channels or 1."""
    small = np.rint(resize(MANY[name](), (side, side), anti_aliasing=True) * 255) / 255
    return np.moveaxis(np.atleast_3d(small), 2, 0).astype(np.float32)
