"""The cost of reduced precision in quality: PSNR of equal fits in fp32, TF32 and bfloat16.

The fits of a network and a seed begin with the same weights, noise and hidden pixels. On a GPU even two in fp32 differ,
because some gradients are added in no fixed order. Compare other differences with this distance, which is due to
chance. TF32 exists only on GPUs. Bfloat16 is autocast's: convolutions use it; weights and normalisation stay in fp32.

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
from collections.abc import Iterator, Sequence

import torch

from benchmarks.common import machine, print_table
from benchmarks.fit import measurement, picture
from benchmarks.gpu_common import Row, cell
from benchmarks.gpu_step import fit_of, set_switches
from workers.quality import psnr

PRECISIONS = {"fp32": "fp32", "fp32-again": "fp32", "tf32": "", "bf16": "bf16"}
"""Names to words of `benchmarks.gpu_step`."""
PRIORS = ("dip", "6-0001110011010100011001101")


def compare(
    priors: Sequence[str], seeds: int, precisions: Sequence[str], *, width: int, side: int, iterations: int, device: str
) -> Iterator[Row]:
    """Fit by fit."""
    clean = picture(side)
    for prior in priors:
        for seed in range(seeds):
            for precision in precisions:
                how = f"graph {PRECISIONS[precision]}"
                measured = measurement(clean, seed)
                fit = fit_of(prior, measured, width, device, how, seeds=[seed], iterations=iterations)
                while not fit.finished:
                    fit.advance(50)
                result = fit.result()
                yield {
                    "network": prior,
                    "seed": str(seed),
                    "precision": precision,
                    "PSNR where stopped": psnr(result.output, clean),
                    "stopped at": str(result.stop_iteration),
                    "held-out error": result.held_out_error,
                    "PSNR of the last": psnr(fit.state_dict()["average"][0].cpu().numpy(), clean),
                }
    set_switches(set())


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1, as in a run)")
    parser.add_argument("--width", type=int, default=128, help="channels of every scale (default 128)")
    parser.add_argument("--side", type=int, default=128, help="image side in pixels (default 128)")
    parser.add_argument("--iterations", type=int, default=1000, help="of each fit (default 1,000)")
    parser.add_argument("--seeds", type=int, default=3, help="of weights, noise and hidden pixels (default 3)")
    parser.add_argument(
        "--networks", nargs="+", default=PRIORS, metavar="NAME", help="(default: DIP's and a candidate)"
    )
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS), metavar="PRECISION")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"{machine(options.device, options.threads)}; width {options.width}, RGB, {options.side} px,"
        f" {options.iterations:,} iterations\n"
    )
    rows = []
    for row in compare(
        options.networks,
        options.seeds,
        options.precisions,
        width=options.width,
        side=options.side,
        iterations=options.iterations,
        device=options.device,
    ):
        rows.append([cell(value) for value in row.values()])
        print(" ".join(rows[-1]), flush=True)
    print()
    print_table(list(row), rows)


if __name__ == "__main__":
    main()
