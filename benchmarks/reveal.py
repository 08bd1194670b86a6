"""What hidden pixels cost a restored image, and what brings them back.

A fit hides some pixels, which decide when it stops. Then nothing is left to decide, and they may be used. Compared, in
PSNR on the clean picture, of the same network from the same start:

- ``none``: the output at the blind stop n.
- ``handed back``: hidden pixels are averaged with what was measured there, weighted by their errors; no iteration.
- ``revealed s``: the fit goes on with all pixels for the share s of n iterations (`workers.reveal`).
- ``refit``: another fit with all pixels, from the start to n; with the same draw of weights and noise, or another one.
- ``second``: another draw that hides other pixels and stops by them.
- ``both revealed``: the mean of two draws, each revealed for a quarter; the second hides the same pixels, or others.

Finished ones are kept in the folder, so a second call goes on.

    python -m benchmarks.reveal --folder DIR

Needs `workers`, torch, numpy and scikit-image; no Ray.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, print_table
from benchmarks.images import PARTS, clean_picture
from workers.fitting import Fit, FitSettings
from workers.networks.priors import prior_of
from workers.noise import noise_variance
from workers.objective import Measurement
from workers.quality import psnr
from workers.seeds import generator_of, seed_of
from workers.tasks import Denoise, Inpaint, SuperResolve, Task

TASKS: Mapping[str, Task] = {
    "denoise": Denoise(25),
    "denoise-50": Denoise(50),
    "inpaint": Inpaint(0.5),
    "super-resolve": SuperResolve(2),
}
NETWORKS = (
    "dip",
    "nas-dip-86-1100001100101100101100101",
    "107-0110010001110110101000000",
    "50-1101101100000010101101000",
)
SHARES = (0.0625, 0.125, 0.25, 0.375, 0.5, 0.75)
SHARE = 0.25
"""That of a run (`FitSettings.reveal`)."""


class Subject:
    """One picture, degraded, and one network that is fitted to it."""

    def __init__(self, options: argparse.Namespace, task: str, picture: str, network: str) -> None:
        self._options, self._words = options, (task, picture, network)
        self.operator = TASKS[task].operator
        self.clean = clean_picture(picture, options.side)
        self._random = np.random.default_rng(seed_of("reveal", task, picture))
        self._observed = TASKS[task].simulate(self.clean, self._random)
        self.first = Measurement.hiding(self._observed.pixels, self._observed.known, self._random)

    def others_hidden(self) -> Measurement:
        """The measurement with as many other pixels hidden."""
        known = np.ones(self.first.held_out.shape, bool) if self.first.known is None else self.first.known
        hidden = Measurement.hiding(self._observed.pixels, known & ~self.first.held_out, self._random).held_out
        return replace(self.first, held_out=hidden)

    def none_hidden(self) -> Measurement:
        """The measurement with all pixels to see."""
        return replace(self.first, held_out=np.zeros_like(self.first.held_out))

    def fit(self, measurement: Measurement, draw: str = "first", iterations: int | None = None) -> Fit:
        """A finished fit; of so many iterations, whatever its rule says, if they are given."""
        options = self._options
        network = prior_of(self._words[2]).build(
            3, options.width, input_channels=3, generator=generator_of("reveal weights", *self._words[1:], draw)
        )
        settings = FitSettings(
            iterations or options.iterations,
            patience=iterations or options.patience,
            average=0.98,
            reveal=max(SHARES) if iterations is None else 0.0,
        )
        fit = Fit(network, measurement, self.operator, settings, seed=seed_of("reveal fit", *self._words, draw))
        while not fit.finished:
            fit.advance(25)
        return fit


def compared(options: argparse.Namespace, task: str, picture: str, network: str) -> dict[str, float]:
    """The PSNR of every way, and the iteration of the stop."""
    path = options.folder / f"{task}_{picture}_{network}_{options.side}.json"
    if path.exists():
        found: dict[str, float] = json.loads(path.read_text())
        return found
    subject = Subject(options, task, picture, network)
    fit = subject.fit(subject.first)
    result = fit.result()
    stop = result.stop_iteration
    outputs = {"none": result.output}
    same_size = subject.operator.scale == 1
    given = result.output
    if same_size:
        given = outputs["handed back"] = handed_back(result.output, subject.first, result.held_out_error)
    outputs |= {f"revealed {share:g}": output for share, output in all_revealed(fit, stop)}
    for way, draw in (("refit", "first"), ("refit, other draw", "second")):
        refit = subject.fit(subject.none_hidden(), draw, stop)
        # Nothing is hidden, so the rule watches the fitted error, and the last output is the best.
        outputs[way] = refit.result().output
        outputs[f"{way}, mean with handed back"] = (outputs[way] + given) / 2
    seconds = {"the same pixels hidden": subject.first, "other pixels hidden": subject.others_hidden()}
    for way, other in seconds.items():
        fit = subject.fit(other, "second")
        second = fit.result()
        if way == "other pixels hidden":
            given_too = handed_back(second.output, other, second.held_out_error) if same_size else second.output
            outputs["second, mean of handed back"] = (given + given_too) / 2
        outputs[f"both revealed, {way}"] = (outputs[f"revealed {SHARE:g}"] + revealed(fit, second.stop_iteration)) / 2
    figures = {"stop": float(stop), "iterations": float(result.iterations)}
    figures |= {way: psnr(output, subject.clean) for way, output in outputs.items()}
    path.with_suffix(".part").write_text(json.dumps(figures))
    path.with_suffix(".part").rename(path)
    return figures


def all_revealed(fit: Fit, stop: int) -> Iterator[tuple[float, np.ndarray]]:
    """The output of a fit that goes on with all pixels, after each share of the iterations to its stop."""
    reveal = fit.reveal()
    assert reveal is not None  # noqa: S101 - every fit here hides pixels
    for share in SHARES:
        reveal.advance(max(1, round(share * stop)) - reveal.iteration)
        output = reveal.output()
        assert output is not None  # noqa: S101 - none of these diverges
        yield share, output


def revealed(fit: Fit, stop: int) -> np.ndarray:
    """The output of a fit that goes on for the share of a run."""
    return next(output for share, output in all_revealed(fit, stop) if share == SHARE)


def handed_back(output: np.ndarray, measurement: Measurement, error: float | None) -> np.ndarray:
    """Hidden pixels averaged with what was measured there, by the inverse of their errors."""
    noise = noise_variance(measurement.pixels - output)
    variance = 0.0 if noise is None else noise.value
    true = max((error or 0.0) - variance, 0.1 * variance)
    weight = true / (true + variance) if true + variance > 0 else 1.0
    return np.where(measurement.held_out, (1 - weight) * output + weight * measurement.pixels, output)


def table(found: Sequence[Mapping[str, float]]) -> None:
    """The mean PSNR of every way, its gain over none, and the gain's range."""
    rows = []
    for way in found[0]:
        if way not in ("stop", "iterations"):
            gains = np.array([one[way] - one["none"] for one in found])
            mean = np.mean([one[way] for one in found])
            rows.append([way, f"{mean:.2f}", f"{gains.mean():+.2f}", f"{gains.min():+.2f} to {gains.max():+.2f}"])
    print_table(["", "PSNR", "gain", "range"], rows)


def main() -> None:
    """Fit what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where finished figures are kept")
    parser.add_argument("--tasks", nargs="+", default=["denoise", "inpaint"], choices=TASKS)
    parser.add_argument("--pictures", nargs="+", default=["cat", "astronaut", "coffee"], choices=PARTS)
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--iterations", type=int, default=400)
    parser.add_argument("--patience", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{machine('cpu', 1)}; {options.side} px, width {options.width}\n")
    for task in options.tasks:
        found = [
            compared(options, task, picture, network) for picture in options.pictures for network in options.networks
        ]
        print(f"{task}: {len(found)} fits\n")
        table(found)


if __name__ == "__main__":
    main()
