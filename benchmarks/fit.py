"""Milliseconds per iteration of a fit, next to a plain loop, in the same run.

The plain loop is how the research code fits: fp32, contiguous memory, PyTorch's default Adam, and at every step a copy
of the output to the host and its PSNR there. Ours does the same arithmetic and also the running average, the held-out
error, the outputs' moving variance and the stopping rules. Both are timed in turn, several times, on the same networks
and images. With `--deterministic` ours is timed next to ours with `fit.deterministic`. On a CPU ours computes its steps
in the way that a fit would take (`workers.networks.trial`). With `--json` the result is a list of `network`, `width`,
`side`, `plain_ms`, `ours_ms` and `floor_ms` (`benchmarks.step_floor`). `benchmarks.survey` does this for all cells.

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import cache, partial
from statistics import median

import numpy as np
import torch
from skimage import data
from skimage.transform import resize

from benchmarks.common import machine, print_table, spread
from benchmarks.step_floor import floors_ms, medians
from workers.fitting import Fit, FitSettings
from workers.networks import Network, noise_input, prior_of
from workers.networks.steps import Step, usual_step
from workers.networks.trial import fastest_step, is_worth_a_trial
from workers.objective import Measurement
from workers.operators import Identity
from workers.quality import psnr
from workers.seeds import generator_of
from workers.space import Candidate, sample_candidates
from workers.stopping import held_out_mask
from workers.tasks import Denoise


@cache
def picture(side: int) -> np.ndarray:
    """A clean RGB picture (3, side, side) in [0, 1] that comes with scikit-image."""
    return resize(data.astronaut(), (side, side), anti_aliasing=True).transpose(2, 0, 1).astype(np.float32)


def measurement(clean: np.ndarray, seed: int = 0) -> Measurement:
    """The picture with noise of sigma 25, a twentieth of its pixels held out."""
    random = np.random.default_rng(seed)
    noisy = Denoise(25).simulate(clean, random).pixels
    return Measurement(noisy, held_out_mask(*noisy.shape[1:], 0.05, random))


def our_fit(
    prior: str, side: int, width: int, device: str, *, deterministic: bool = False, step: Step | None = None
) -> Callable[[int], None]:
    """A function that runs a number of iterations of ours, by default in the way that a long fit takes."""
    network = prior_of(prior).build(3, width, input_channels=3, generator=generator_of("benchmark"))
    step = step or chosen_step(network, side, device)
    settings = FitSettings(iterations=10**9, patience=10**9, deterministic=deterministic, step=step)
    fit = Fit(network, measurement(picture(side)), Identity(), settings, seed=0, device=device)

    def run(iterations: int) -> None:
        fit.advance(iterations)

    return run


def chosen_step(network: Network, side: int, device: str) -> Step:
    """The way that a long fit takes."""
    tried = device == "cpu" and is_worth_a_trial(network, side, side)
    return fastest_step(network, side, side) if tried else usual_step(device)


def plain_loop(prior: str, side: int, width: int, device: str) -> Callable[[int], None]:
    """A function that runs a number of iterations of the plain loop."""
    clean = picture(side)
    target = torch.from_numpy(measurement(clean).pixels)[None].to(device)
    network = prior_of(prior).build(3, width, input_channels=3, generator=generator_of("benchmark")).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    fixed = noise_input(*network.input_shape(side, side), generator_of("benchmark input")).to(device)
    best = 0.0

    def run(iterations: int) -> None:
        nonlocal best
        for _ in range(iterations):
            optimizer.zero_grad()
            output = network(fixed + torch.randn_like(fixed) / 30)
            loss = torch.nn.functional.mse_loss(output, target)
            loss.backward()
            optimizer.step()
            best = max(best, psnr(output.detach().cpu().numpy()[0], clean))

    return run


def milliseconds(run: Callable[[int], None], iterations: int, device: str) -> float:
    """Wall-clock time per iteration."""
    started = time.perf_counter()
    run(iterations)
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return (time.perf_counter() - started) / iterations * 1000


def row_of(prior: str, options: argparse.Namespace, side: int) -> dict[str, object]:
    """The figures of a network at a size."""
    makers = (plain_loop, our_fit)
    runs = [make(prior, side, options.width, "cpu") for make in makers]
    plain, ours = medians(runs, options.iterations, options.rounds)
    floor = max(floors_ms(prior, options.width, side))
    figures = {"plain_ms": plain, "ours_ms": ours, "floor_ms": floor}
    return {
        "network": prior,
        "width": options.width,
        "side": side,
        **{name: round(ms, 2) for name, ms in figures.items()},
    }


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1, as in a run)")
    parser.add_argument("--width", type=int, default=128, help="channels of every scale (default 128)")
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128], help="image sides in pixels")
    parser.add_argument("--networks", type=int, default=5, help="how many candidates (default 5)")
    parser.add_argument("--rounds", type=int, default=5, help="timed rounds of each, in turn (default 5)")
    parser.add_argument("--iterations", type=int, default=10, help="iterations a round (default 10)")
    parser.add_argument(
        "--deterministic", action="store_true", help="next to ours with fit.deterministic, not the plain loop"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects, and nothing else; on a CPU only")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    known = Candidate.parse("158-1111101111001110001100001")  # NAS-DIP's network for denoising
    candidates = [known, *sample_candidates(options.networks - 1, seed=0, width=options.width)]
    if options.json:
        print(json.dumps([row_of(each.id, options, side) for side in options.sides for each in candidates]))
        return
    other = partial(our_fit, deterministic=True) if options.deterministic else plain_loop
    name = "deterministic" if options.deterministic else "plain loop"
    print(f"{machine(options.device, options.threads)}; width {options.width}, RGB\n")
    for side in options.sides:
        rows, ratios = [], []
        for candidate in candidates:
            runs = [make(candidate.id, side, options.width, options.device) for make in (our_fit, other)]
            for run in runs:
                milliseconds(run, 3, options.device)
            rounds = [
                [milliseconds(run, options.iterations, options.device) for run in runs] for _ in range(options.rounds)
            ]
            ours, others = zip(*rounds, strict=True)
            ratio = median(b / a for a, b in rounds)
            ratios.append(ratio)
            rows.append([f"`{candidate}`", spread(ours), spread(others), f"{ratio:.2f}"])
        print(f"{side} x {side} px, ms per iteration, median (range) of {options.rounds} rounds\n")
        print_table(["network", "ours", name, f"{name} / ours"], rows)
        print(f"median ratio over networks: {median(ratios):.2f}\n")


if __name__ == "__main__":
    main()
