"""Write the demo's two clean pictures into a folder: parts of scikit-image's astronaut and cat, 96 pixels square."""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data
from skimage.transform import resize

SIDE = 96


def main() -> None:
    """Write the pictures into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("astronaut", data.astronaut()[:256, 100:356]), ("cat", data.chelsea()[20:276, 80:336])):
        small = resize(part, (SIDE, SIDE), anti_aliasing=True)
        Image.fromarray(np.rint(small * 255).astype(np.uint8)).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
