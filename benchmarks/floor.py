"""How well a run tells whether its fit or a classical filter is the better image, and what its mistakes cost.

Fits of one network are stopped early, later and late, so that some are worse than the filters and some better. Each is
compared with the best filter by three rules: the error on hidden pixels of both, for which the filter's image is made
without them; the fit's held-out error less the noise against the filter's risk over all pixels (SURE); and as a run
does it, on the same hidden pixels, with the filter's optimism added (`workers.stacking.HeldOut`). References only judge
the rules. Fits are kept in the folder, so a second call goes on.

    python -m benchmarks.floor --folder DIR

Needs `workers`, torch, numpy, scipy and scikit-image; no Ray.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import machine, print_table
from benchmarks.images import PARTS, clean_picture
from workers.classical import Given, Member, restore_classically
from workers.fitting import Fit, FitSettings
from workers.networks.priors import prior_of
from workers.objective import Measurement
from workers.quality import psnr
from workers.seeds import generator_of, seed_of
from workers.stacking import HeldOut, best_of, stacked
from workers.tasks import Denoise, Inpaint, Task

TASKS: Mapping[str, Task] = {
    "denoise 15": Denoise(15),
    "denoise 25": Denoise(25),
    "denoise 50": Denoise(50),
    "inpaint 50 %": Inpaint(0.5),
}
STOPS = (75, 150, 300)
RULES = ("both unseen", "risks", "as a run")
Arrays = Mapping[str, np.ndarray]


def outputs_of(folder: Path, task: str, picture: str, side: int) -> tuple[Measurement, np.ndarray]:
    """The measurement, and the network's outputs where it was stopped after so many iterations."""
    random = np.random.default_rng(seed_of("floor", task, picture))
    observed = TASKS[task].simulate(clean_picture(picture, side), random)
    measurement = Measurement.hiding(observed.pixels, observed.known, random)
    path = folder / f"{task.replace(' ', '-').replace('%', 'percent')}_{picture}_{side}.npy"
    if path.exists():
        return measurement, np.load(path)
    built = prior_of(TASKS[task].prior).build(3, 32, input_channels=32, generator=generator_of("floor", picture))
    settings = FitSettings(max(STOPS), patience=max(STOPS), average=0.98)
    fit = Fit(built, measurement, TASKS[task].operator, settings, seed=seed_of("floor fit", task, picture))
    outputs = []
    for stop in STOPS:
        fit.advance(stop - fit.iteration)
        outputs.append(fit.result().output)
    np.save(path, np.stack(outputs))
    return measurement, np.stack(outputs)


def judged(
    task: Task, measurement: Measurement, output: np.ndarray, clean: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """For a fit and the best filter: by how much each rule prefers the fit, in dB; and PSNR of everything."""
    pixels, hidden = measurement.pixels, measurement.held_out
    observation = type(task.simulate(clean, np.random.default_rng(0)))(pixels, measurement.known)
    estimate = task.estimated_noise(observation, output)
    noise = 0.0 if estimate is None else estimate.value
    variance = None if estimate is None else noise
    members, _ = restore_classically(Given(observation, hidden, task, variance, seed))
    blind, _ = restore_classically(Given(observation, hidden, task, None, seed))

    def error(image: np.ndarray) -> float:
        return float(np.square(image - pixels, dtype=np.float64)[:, hidden].mean())

    def risk(member: Member) -> float:
        if variance is None:
            return error(member.judged)
        return float(np.square(member.delivered - pixels, dtype=np.float64).mean()) + 2 * noise * member.divergence

    best = min(members, key=risk)
    # These fits hide pixels to the end, so a run compares them with what filters deliver.
    filtered = [member.as_delivered(variance) for member in members]
    restored = np.stack([output[:, hidden], *(image[:, hidden] for image, _ in filtered)])
    optimism = np.array([0.0, *(each for _, each in filtered)])

    def combined(way: object, some: slice) -> tuple[np.ndarray, float]:
        found = HeldOut(restored[some], pixels[:, hidden], np.random.default_rng(seed), optimism[some])
        made = found.combined(best_of if way == "best" else stacked)
        return made.weights, np.inf if made.error is None else made.error.value

    _, own = combined("best", slice(1))
    _, classical = combined("best", slice(1, None))
    weights, together = combined("stack", slice(None))

    def shown(image: np.ndarray) -> float:
        put_back = image if measurement.known is None else np.where(measurement.known, pixels, image)
        return psnr(put_back.astype(np.float32), clean)

    images = np.stack([output, *(member.delivered for member in members)])
    figures = {"fit": shown(output), "filter": shown(best.delivered)}
    figures["stack"] = shown(np.tensordot(weights, images, 1))
    errors = {"fit": own, "filter": classical, "stack": together}
    figures["delivered"] = figures[min(errors, key=lambda way: errors[way])]
    prefers = {
        "both unseen": min(error(member.judged) for member in blind) - error(output),
        "risks": risk(best) - error(output),
        "as a run": classical - own,
    }
    return prefers, figures


def lines_of(options: argparse.Namespace, task: str) -> Iterator[tuple[dict[str, float], dict[str, float]]]:
    """Each fit of a task against the filters."""
    for picture in options.pictures:
        clean = clean_picture(picture, options.side)
        measurement, outputs = outputs_of(options.folder, task, picture, options.side)
        for number, output in enumerate(outputs):
            yield judged(TASKS[task], measurement, output, clean, seed_of("floor rule", picture, number))


def summary(found: Sequence[tuple[dict[str, float], dict[str, float]]]) -> list[str]:
    """How often each rule chose the truly better one, what its mistakes cost on average over all, and mean PSNR."""
    cells = []
    for rule in RULES:
        gaps = [figures["fit"] - figures["filter"] for _, figures in found]
        right = [(prefers[rule] > 0) == (gap > 0) for (prefers, _), gap in zip(found, gaps, strict=True)]
        lost = sum(abs(gap) for gap, good in zip(gaps, right, strict=True) if not good) / len(found)
        cells.append(f"{sum(right)} of {len(found)}, {lost:.2f}")
    means = [f"{np.mean([figures[way] for _, figures in found]):.2f}" for way in ("fit", "filter", "stack")]
    delivered = [figures["delivered"] for _, figures in found]
    below = max(figures["filter"] - figures["delivered"] for _, figures in found)
    return [str(len(found)), *cells, *means, f"{np.mean(delivered):.2f}", f"{max(0.0, below):.2f}"]


def main() -> None:
    """Fit what is missing, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where finished fits are kept")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--pictures", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--side", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"{machine('cpu', 1)}; {options.side} px, width 32, stopped after {STOPS} iterations\n")
    head = ["task", "fits", *RULES, "fit", "best filter", "stack", "delivered", "most below the filter"]
    print_table(head, [[task, *summary(list(lines_of(options, task)))] for task in options.tasks])


if __name__ == "__main__":
    main()
