"""One pruning chain as in the paper (arXiv 2410.24187): an image of 512 px, 128 channels, 16
rounds of 3,000 iterations.

    python -m benchmarks.lottery_paper --image f16.png --device cuda

The image is clean; it is degraded here (denoising: sigma 25; inpainting: half of the pixels missing), and tickets are
found on the degraded image (``--target clean``: as in the paper). Every round is fitted dense or pruned, with all its
iterations, and stopped blind by held-out pixels. Next to its PSNR stand the best PSNR of the fit, which only the clean
image shows, and the last.

This needs a GPU: about a quarter of an hour for a chain on a large one. Needs `workers`, torch, numpy, scipy and
scikit-image; no Ray.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import io
from skimage.transform import resize

from benchmarks.common import machine, table
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.lottery.joint import JointFit
from workers.lottery.masks import Masks, apply, kept_after, prunable, sparsity
from workers.lottery.pruning import at_random, by_magnitude
from workers.networks import Network, prior_of
from workers.objective import Measurement, Objective
from workers.operators import Identity
from workers.quality import PsnrObserver, psnr
from workers.seeds import generator_of
from workers.stopping import held_out_mask
from workers.tasks import Denoise, Inpaint


def clean_picture(path: Path, side: int) -> NDArray[np.float32]:
    """(C, side, side) in [0, 1]; grey images have one channel."""
    pixels = io.imread(path)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels[..., :3]
    pixels = pixels / 255.0
    if pixels.shape[:2] != (side, side):
        pixels = resize(pixels, (side, side), anti_aliasing=True)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


class Chain:
    """One image, one initialisation, one method."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.clean = clean_picture(options.image, options.side)
        random = np.random.default_rng(options.seed)
        task = Denoise(25) if options.task == "denoise" else Inpaint(0.5)
        observed = task.simulate(self.clean, random)
        hidden = held_out_mask(options.side, options.side, 0.05, random, observed.known)
        self.measurement = Measurement(observed.pixels, hidden, observed.known)
        self.settings = FitSettings(iterations=options.iterations, patience=options.iterations)

    def initial(self) -> Network:
        """The network with the weights that every round begins with."""
        weights = generator_of("fit weights", self.options.seed)
        return prior_of("dip").build(len(self.clean), self.options.width, input_channels=32, generator=weights)

    def fitted(self, masks: Masks | None, number: int) -> tuple[Network, list[str]]:
        """The network of a round after its fit, and the figures."""
        network = self.initial()
        total = sparsity(network, masks or {})
        if masks is not None:
            apply(network, masks)
        observer = PsnrObserver(self.clean, self.options.device)
        fit = Fit(
            network,
            self.measurement,
            Identity(),
            self.settings,
            seed=self.options.seed + number,
            device=self.options.device,
            observers=[observer],
        )
        began = time.perf_counter()
        while not fit.finished:
            fit.advance(100)
        result, curve = fit.result(), observer.curve()
        seconds = time.perf_counter() - began
        blind = psnr(result.output, self.clean)
        figures = [f"{total:.2%}", f"{blind:.2f}", f"{max(curve):.2f}", f"{curve[-1]:.2f}", str(result.stop_iteration)]
        return network, [str(number), *figures, f"{seconds:.0f}"]

    def on_clean(self, masks: Masks | None, number: int) -> Network:
        """The network of a round after it was fitted to the clean image, to be pruned by its weights."""
        network = self.initial()
        if masks is not None:
            apply(network, masks)
        nothing = np.zeros(self.clean.shape[1:], dtype=np.bool_)
        clean = Measurement(self.clean, nothing)
        seed, device = self.options.seed + number, self.options.device
        objective = Objective(network, clean, Identity(), input_noise=1 / 30, seed=seed, device=device)
        JointFit(network, [objective], learning_rate=0.01, device=device).advance(self.options.iterations)
        return network

    def next_masks(self, fitted: Network, masks: Masks | None, number: int) -> Masks:
        """The masks of a round."""
        weights = sum(layer.weight.numel() for layer in prunable(fitted).values())
        keep = kept_after(weights, 0.2, number)
        if self.options.method == "random":
            return at_random(fitted, keep, (), self.options.seed)
        finder = fitted if self.options.target == "observed" else self.on_clean(masks, number)
        return by_magnitude(finder, masks, keep)


def main() -> None:
    """Go through the rounds and print each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, required=True, help="a clean picture, grey or RGB, 8 bit")
    parser.add_argument("--task", choices=["denoise", "inpaint"], default="denoise")
    parser.add_argument("--method", choices=["imp", "random"], default="imp")
    parser.add_argument("--target", choices=["observed", "clean"], default="observed", help="what imp prunes by")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--width", type=int, default=128, help="channels of every scale (default 128)")
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=3000, help="of each round (default 3,000)")
    parser.add_argument("--seed", type=int, default=0, help="of noise, hidden pixels and initial weights")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{machine(options.device, options.threads)}; {options.image.name} {options.side} px, width {options.width}\n"
    )
    chain, masks, rows = Chain(options), None, []
    for number in range(options.rounds + 1):
        try:
            fitted, row = chain.fitted(masks, number)
        except FitDivergedError as error:
            print(f"round {number}: {error}")
            break
        rows.append(row)
        print(" ".join(row), flush=True)
        masks = chain.next_masks(fitted, masks, number + 1)
    header = ("round", "sparsity", "blind", "oracle", "last", "stopped at", "seconds")
    print(f"\n{options.method}, {options.task}, masks found on the {options.target} image\n")
    print(table(header, rows))


if __name__ == "__main__":
    main()
