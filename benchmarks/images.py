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


def write_images(folder: Path, side: int) -> None:
    """Four colour pictures of ``side`` pixels, as PNG files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        small = resize(part(), (side, side), anti_aliasing=True)
        Image.fromarray(np.rint(small * 255).astype(np.uint8)).save(folder / f"{name}.png")


def clean_picture(name: str, side: int) -> np.ndarray:
    """A clean RGB picture (3, side, side) in [0, 1]."""
    small = resize(PARTS[name](), (side, side), anti_aliasing=True)
    return (np.rint(small * 255) / 255).transpose(2, 0, 1).astype(np.float32)
