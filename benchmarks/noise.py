"""How often correlated noise is found in a residual, and how often independent noise passes for it.

A residual is noise and a third of a picture's fine structure: four colour and eight grey pictures of scikit-image, at
64, 96 and 256 px, sigma 5 to 50, several draws each. ``python -m benchmarks.noise`` prints a table.
"""

import argparse
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage import data
from skimage.transform import resize

from benchmarks.common import print_table
from benchmarks.images import PARTS
from workers.correlation import CORRELATED, residual_correlation
from workers.noise import noise_variance

Array = NDArray[np.float64]
GREY = ("brick", "camera", "clock", "coins", "grass", "gravel", "moon", "page")
SIDES, SIGMAS = (64, 96, 256), (5, 10, 25, 50)


def _white(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    return random.standard_normal(shape)


def _blurred(shape: tuple[int, ...], random: np.random.Generator, blur: float) -> Array:
    noise = gaussian_filter(random.standard_normal(shape), (0, blur, blur))
    return noise / float(noise.std())


def _mixed(of: Callable[[tuple[int, ...], np.random.Generator], Array], share: float) -> Callable[..., Array]:
    """Noise whose variance is so much of a kind, and the rest of it independent."""
    return lambda shape, random: np.sqrt(share) * of(shape, random) + np.sqrt(1 - share) * _white(shape, random)


def _rows(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    return _white((1, shape[1], 1), random)


def _columns(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    return _white((1, 1, shape[2]), random)


def _four_apart(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    noise = _white((*shape[:2], shape[2] + 4), random)
    return (noise[:, :, 4:] + noise[:, :, :-4]) / np.sqrt(2)


KINDS: dict[str, Callable[..., Array]] = {
    "independent": _white,
    "rows, 90 % of the variance": _mixed(_rows, 0.9),
    "rows, 50 %": _mixed(_rows, 0.5),
    "rows, 30 %": _mixed(_rows, 0.3),
    "columns, 50 %": _mixed(_columns, 0.5),
    "blotches (blur 2 px), 80 %": _mixed(lambda *each: _blurred(*each, blur=2), 0.8),
    "correlated by 0.5 at a lag of 4": _four_apart,
    "blurred by 0.7 px": lambda *each: _blurred(*each, blur=0.7),
}


def pictures(side: int) -> dict[str, Array]:
    """Clean pictures (C, side, side) by name."""
    made = {name: part() for name, part in PARTS.items()} | {name: getattr(data, name)()[..., None] for name in GREY}
    clean = {}
    for name, pixels in made.items():
        least = min(pixels.shape[:2])
        clean[name] = resize(pixels[:least, :least] / 255, (side, side), anti_aliasing=True).transpose(2, 0, 1)
    return clean


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=4, help="draws of noise for each picture, size and sigma")
    options = parser.parse_args()
    left_over = {
        (side, name): (clean - gaussian_filter(clean, (0, 1, 1))) / 3
        for side in SIDES
        for name, clean in pictures(side).items()
    }
    lines = []
    for kind, noise_of in KINDS.items():
        found: dict[int, list[tuple[bool, bool]]] = {sigma: [] for sigma in SIGMAS}
        ratios = []
        for (side, name), structure in left_over.items():
            for sigma in SIGMAS:
                for draw in range(options.draws):
                    random = np.random.default_rng([side, sigma, draw, *name.encode()])
                    residual = structure + noise_of(structure.shape, random) * sigma / 255
                    seen = [
                        (residual_correlation(residual, neighbours_only=near) or 0.0) > CORRELATED
                        for near in (True, False)
                    ]
                    found[sigma].append((seen[0], seen[1]))
                    if sigma == 25:
                        estimate = noise_variance(residual)
                        ratios.append(np.sqrt(estimate.value) * 255 if estimate else np.nan)
        shares = [f"{100 * np.mean([now for _, now in found[sigma]]):.0f}" for sigma in SIGMAS]
        before = 100 * np.mean([near for each in found.values() for near, _ in each])
        lines.append([kind, f"{before:.0f}", *shares, f"{np.median(ratios):.1f}"])
    heads = [f"sigma {sigma}" for sigma in SIGMAS]
    print_table(["noise", "neighbours only, all sigma", *heads, "sigma estimated for 25, median"], lines)


if __name__ == "__main__":
    main()
