"""The time that a mask saves: milliseconds per iteration of a fit of DIP's network, dense, masked, and shrunk.

A mask alone saves nothing. `workers.lottery.shrink` takes out the channels that it has emptied, and their number
depends on how the mask was found. Three kinds are compared after several numbers of rounds, each of which removes a
fifth of the remaining weights:

- random: single weights, by chance;
- magnitude: the smallest after a fit of `--image-iterations`, from the initial weights anew in every round;
- filters: whole filters, in every layer the same share but at least one. It shows what a mask could save at this
  sparsity, not that an image could be restored with it.

The first table shows how much is left: multiplications by the weights that masks keep, as a kernel for sparse weights
would do them, and those that dense kernels do in the shrunk network. The second has the times. The three networks of a
row are timed in turn, several times, from the initial weights on.

In narrow networks few weights may leave no way from the input to the image. Then the shrunk network has one channel a
layer, or the fit diverges: such a row shows nothing about speed.

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.common import machine, print_table, spread
from benchmarks.fit import milliseconds, picture
from workers.fitting import Fit, FitDivergedError, FitSettings
from workers.lottery.masks import Masks, apply, kept_after, prunable, sparsity
from workers.lottery.pruning import at_random, by_magnitude
from workers.lottery.shrink import shrink
from workers.networks import Network, prior_of
from workers.objective import Measurement
from workers.operators import Identity
from workers.seeds import generator_of
from workers.stopping import held_out_mask
from workers.tasks import Denoise

ROUNDS = (1, 4, 8, 12, 16)
RATE = 0.2
PRIOR = prior_of("dip")


def initial(width: int, masks: Mapping[str, Tensor] | None = None) -> Network:
    """The untrained network for an RGB picture; always the same one."""
    network = PRIOR.build(3, width, input_channels=3, generator=generator_of("benchmark"))
    apply(network, masks or {})
    return network


def fit_of(network: Network, side: int, device: str) -> Fit:
    """A fit that does not end by itself."""
    random = np.random.default_rng(0)
    noisy = Denoise(25).simulate(picture(side), random).pixels
    measurement = Measurement(noisy, held_out_mask(side, side, 0.05, random))
    settings = FitSettings(iterations=10**9, patience=10**9)
    return Fit(network, measurement, Identity(), settings, seed=0, device=device)


def random_masks(width: int) -> Iterator[Masks]:
    """The masks of each round, by chance."""
    network = initial(width)
    for keep in weights_left(network):
        yield at_random(network, keep, (), 0)


def magnitude_masks(width: int, side: int, iterations: int, device: str) -> Iterator[Masks]:
    """The masks of each round, by magnitude."""
    masks = None
    for keep in weights_left(initial(width)):
        network = initial(width, masks)
        fit_of(network, side, device).advance(iterations)
        masks = by_magnitude(network, masks, keep, ())
        yield masks


def filter_masks(width: int) -> Iterator[Masks]:
    """The masks of each round, by whole filters."""
    convolutions = prunable(initial(width))
    total = sum(conv.weight.numel() for conv in convolutions.values())
    for keep in weights_left(initial(width)):
        masks = {name: torch.zeros_like(conv.weight, dtype=torch.bool) for name, conv in convolutions.items()}
        for name, mask in masks.items():
            filters = len(mask) if name == "output.0" else max(round(keep / total * len(mask)), 1)
            mask[:filters] = True
        yield masks


def weights_left(network: Network) -> list[int]:
    """How many weights are left after every round up to the last one."""
    total = sum(conv.weight.numel() for conv in prunable(network).values())
    return [kept_after(total, RATE, number) for number in range(1, max(ROUNDS) + 1)]


def output_pixels(width: int, side: int) -> dict[str, int]:
    """How many pixels every convolution computes."""
    pixels = {}

    def counter(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def count(_conv: nn.Module, _arriving: object, output: Tensor) -> None:
            pixels[name] = output.shape[2] * output.shape[3]

        return count

    network = PRIOR.declare(3, width, input_channels=3)
    for name, conv in prunable(network).items():
        conv.register_forward_hook(counter(name))
    network(torch.empty(1, *network.input_shape(side, side), device="meta"))
    return pixels


def left(masks: Masks, width: int, side: int) -> list[str]:
    """The first table's cells: sparsity, channels, and multiplications with masks and in the shrunk network."""
    dense, smaller = prunable(initial(width)), prunable(shrink(initial(width, masks)))
    pixels = output_pixels(width, side)
    channels = sum(conv.out_channels for conv in smaller.values()) / sum(conv.out_channels for conv in dense.values())
    everything = sum(conv.weight.numel() * pixels[name] for name, conv in dense.items())
    needed = sum(int(mask.sum()) * pixels[name] for name, mask in masks.items())
    done = sum(conv.weight.numel() * pixels[name] for name, conv in smaller.items())
    shares = (sparsity(initial(width), masks), channels, needed / everything, done / everything)
    return [f"{share:.2%}" for share in shares]


def times(masks: Masks, options: argparse.Namespace) -> list[str]:
    """The second table's cells."""
    networks = initial(options.width), initial(options.width, masks), shrink(initial(options.width, masks))
    runs = [fit_of(network, options.side, options.device).advance for network in networks]
    for run in runs:
        milliseconds(run, 3, options.device)
    rounds = [[milliseconds(run, options.iterations, options.device) for run in runs] for _ in range(options.rounds)]
    ratios = (median(dense / each[place] for dense, *each in rounds) for place in range(2))
    return [*(spread(series) for series in zip(*rounds, strict=True)), *(f"{ratio:.2f}" for ratio in ratios)]


def main() -> None:
    """Prune, shrink, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1, as in a run)")
    parser.add_argument("--width", type=int, default=128, help="channels of every scale (default 128)")
    parser.add_argument("--side", type=int, default=128, help="image side in pixels (default 128)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each network, in turn (default 5)")
    parser.add_argument("--iterations", type=int, default=10, help="iterations a timed round (default 10)")
    parser.add_argument(
        "--image-iterations", type=int, default=100, help="iterations of a fit before weights are pruned (default 100)"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine(options.device, options.threads)}; dip, width {options.width}, RGB, {options.side} px\n")
    kinds = {
        "random": random_masks(options.width),
        "magnitude": magnitude_masks(options.width, options.side, options.image_iterations, options.device),
        "filters": filter_masks(options.width),
    }
    sizes, speeds = [], []
    for kind, series in kinds.items():
        try:
            for number, masks in enumerate(series, start=1):
                if number in ROUNDS:
                    timed = times(masks, options)
                    sizes.append([kind, str(number), *left(masks, options.width, options.side)])
                    speeds.append([kind, str(number), *timed])
        except (
            FitDivergedError
        ) as error:  # in narrow networks: nothing but rounding is left where a mask has cut off a layer
            print(f"{kind}: no more rounds, {error}\n")
    print("What is left\n")
    header = [
        "masks",
        "rounds",
        "sparsity",
        "channels left",
        "multiplications by weights left",
        "by the shrunk network",
    ]
    print_table(header, sizes)
    print(f"ms per iteration, median (range) of {options.rounds} rounds\n")
    header = ["masks", "rounds", "dense", "masked", "shrunk", "dense / masked", "dense / shrunk"]
    print_table(header, speeds)


if __name__ == "__main__":
    main()
