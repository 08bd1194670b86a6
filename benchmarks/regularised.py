"""Whether a regulariser in the loss of a fit pays: total variation, and a plugged denoiser.

Fits of the same networks from the same starts as in `benchmarks.pool`, with a term added to the loss:

- ``tv w``: w times the anisotropic total variation, the mean absolute difference of neighbours;
- ``red w``: w times the mean squared difference of the output to a denoised copy of the running average, made anew
  every 10 iterations by scikit-image's non-local means (after RED: Romano et al. 2017, arXiv 1611.02862).

Stopped and revealed like any fit, by held-out pixels; PSNR against the clean picture, paired with the fit without. The
plain fits are those of the pool's folder, if they are there.

    python -m benchmarks.regularised --folder DIR
"""

import argparse
import json
from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch
from skimage.restoration import denoise_nl_means, estimate_sigma
from torch import Tensor

from benchmarks.common import machine, print_table
from benchmarks.pool import TASKS, observed, parser_of
from workers.fitting import Fit, FitSettings
from workers.networks.priors import prior_of
from workers.quality import psnr
from workers.seeds import generator_of, seed_of

NETWORKS = ("dip", "107-0110010001110110101000000")
EVERY = 10
Term = Callable[[Tensor], Tensor]


def total_variation(output: Tensor) -> Tensor:
    """The mean absolute difference of neighbours, down and across."""
    return output.diff(dim=2).abs().mean() + output.diff(dim=3).abs().mean()


class Denoised:
    """The mean squared difference to a denoised copy of the running average, which is made anew now and then."""

    def __init__(self) -> None:
        self._average: Tensor | None = None
        self._copy: Tensor | None = None
        self._seen = 0

    def __call__(self, output: Tensor) -> Tensor:
        """The term of an output; 0 before the first copy."""
        if self._average is not None and self._seen % EVERY == 0:
            image = self._average[0].numpy().transpose(1, 2, 0).astype(np.float64)
            sigma = float(np.mean(estimate_sigma(image, channel_axis=2)))
            smooth = denoise_nl_means(image, h=0.8 * max(sigma, 1e-3), sigma=sigma, fast_mode=True, channel_axis=2)
            self._copy = torch.from_numpy(smooth.transpose(2, 0, 1).astype(np.float32))[None]
        self._seen += 1
        return output.new_zeros(()) if self._copy is None else (output - self._copy).square().mean()

    def observe(self, average: Tensor) -> None:
        """Take in the running average."""
        self._average = average


class Watch:
    """Hands a fit's running average on to a plugged denoiser."""

    def __init__(self, denoised: Denoised) -> None:
        self._denoised = denoised

    def __call__(self, average: Tensor) -> Tensor:
        """Take in an average (1, C, H, W); there is no figure of it."""
        self._denoised.observe(average)
        return average.new_zeros(())

    def keep(self, figures: Tensor) -> None:
        """Nothing is kept."""

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: these fits are not interrupted."""
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Nothing likewise."""


def main() -> None:
    """Fit what is missing, and print."""
    parser = parser_of(__doc__)
    parser.set_defaults(tasks=["denoise-25", "inpaint"], pictures=["cat", "coffee"])
    parser.add_argument("--iterations", type=int, default=300)
    parser.add_argument("--ways", nargs="+", default=["none", "tv 0.01", "tv 0.03", "red 0.1"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{machine('cpu', 1)}; {options.side} px, width {options.width}\n", flush=True)
    for task in options.tasks:
        found: dict[str, list[float]] = {}
        for picture in options.pictures:
            for network in NETWORKS:
                for way in options.ways:
                    path = options.folder / f"{task}_{picture}_{network}_{way.replace(' ', '-')}.json"
                    if not path.exists():
                        value = fitted(options, task, picture, network, way)
                        path.write_text(json.dumps(value))
                    found.setdefault(way, []).append(json.loads(path.read_text()))
        plain = found[options.ways[0]]
        rows = []
        for way, values in found.items():
            gains = [value - base for value, base in zip(values, plain, strict=True)]
            rows.append(
                [way, f"{fmean(values):.2f}", f"{fmean(gains):+.2f}", f"{min(gains):+.2f} to {max(gains):+.2f}"]
            )
        print(f"{task}: {len(plain)} fits\n")
        print_table(["", "PSNR", "gain", "range"], rows)


def fitted(options: argparse.Namespace, task: str, picture: str, network: str, way: str) -> float:
    """PSNR of a fit's delivered image."""
    clean, observation, measurement = observed(task, picture, options.side)
    built = prior_of(network).build(
        len(clean), options.width, input_channels=3, generator=generator_of("pool weights", picture, network)
    )
    kind, _, weight = way.partition(" ")
    denoised = Denoised()
    fit = Fit(
        built,
        measurement,
        TASKS[task].operator,
        FitSettings(options.iterations, patience=60, average=0.98),
        seed=seed_of("pool fit", task, picture, network),
        observers=[Watch(denoised)] if kind == "red" else [],
    )
    terms: dict[str, Term] = {"tv": total_variation, "red": denoised}
    if kind in terms:
        _add(fit._objective, terms[kind], float(weight))
    while not fit.finished:
        fit.advance(25)
    reveal = fit.reveal()
    assert reveal is not None  # noqa: S101 - every fit here hides pixels
    if kind in terms:
        _add(reveal._objective, terms[kind], float(weight))
    reveal.advance(reveal.iterations)
    output = reveal.output()
    assert output is not None  # noqa: S101 - none of these diverges
    known = observation.known
    return psnr(output if known is None else np.where(known, observation.pixels, output), clean)


def _add(objective: object, term: Term, weight: float) -> None:
    """Add a term to an objective's loss."""
    plain = objective.loss  # type: ignore[attr-defined]
    objective.loss = lambda output: plain(output) + weight * term(output)  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
