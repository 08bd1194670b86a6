"""What the search is worth, in tables made from a pool of fits (`benchmarks.pool`).

Every way to choose networks is tried on the same fits, so that ways differ in what they choose and in nothing else. A
picture counts once its fits are all there. References only judge. Tables: the ways of choosing, with their costs;
variance by network, picture and draw; what an early held-out error says of the end; racing; stacking by the number of
members; what the papers' metric adds; and for inpainting which pixels are compared.

    python -m benchmarks.worth --folder DIR --tasks denoise-25 inpaint
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.common import print_table
from benchmarks.images import LEARNT_ON
from benchmarks.pool import RANDOM, networks, parser_of
from benchmarks.scenes import Figures, Scene
from orchestrator.figures.learnt import learn_models, predict
from orchestrator.figures.portfolio import PastFit, greedy
from workers.features import features_of
from workers.networks.priors import NAS_DIP, draws_of
from workers.quality import psnr

RUNGS = (25, 50, 75, 100, 150, 200, 300)
RANDOM_MEMBERS = 3
PRICE = 0.5
"""In dB, of the lists that ship (`orchestrator.figures.portfolio.greedy`)."""

ALL = "all 16"
_MOST_SUBSETS = 70

Way = Callable[[Scene], Sequence[tuple[str, ...]]]
"""What a way of choosing would fit of a scene: one set of networks, or several that it is the mean of."""


def random_of(width: int) -> tuple[str, ...]:
    """The networks of a pool that were drawn at random."""
    return networks(width)[-RANDOM:]


def portfolio(scenes: Sequence[Scene], size: int, price: float = PRICE) -> list[str]:
    """Networks in the order in which they add most to the mean over scenes of the best PSNR so far, less a price."""
    pool = sorted(name for name in scenes[0].psnr if "-draw-" not in name)
    values = np.array([[scene.psnr[name] for name in pool] for scene in scenes])
    costs = np.mean([[scene.cost([name])[0] for name in pool] for scene in scenes], axis=0)
    return [pool[place] for place, _ in greedy(values, costs, size, price=price)]


def by_metric(scene: Scene, names: Iterable[str], size: int) -> tuple[str, ...]:
    """The networks of least metric."""
    return tuple(sorted(names, key=lambda name: scene.scores[name])[:size])


def by_learnt(scene: Scene, names: Sequence[str], size: int, learnt: Sequence[Scene]) -> tuple[str, ...]:
    """The networks that the metric ``learnt`` puts first, by the fits of other pictures."""
    others = [each for each in learnt if each.picture != scene.picture]
    fits = [
        PastFit("any", None, other.picture, name, np.nan, float(fit["held_out_error"]), np.nan)
        for other in others
        for name, fit in other.fits.items()
    ]
    model = learn_models(fits)[-1]
    predicted = {name: predict(model.weights, features_of(name) or {}) for name in names}
    return tuple(sorted(names, key=lambda name: -predicted[name])[:size])


def raced(scene: Scene, names: Sequence[str], rung: int, survivors: int) -> tuple[str, ...]:
    """The networks that a race keeps: those of least held-out error after so many iterations."""
    return tuple(sorted(names, key=lambda name: scene.error_at(name, rung))[:survivors])


def race_cost(scene: Scene, names: Sequence[str], rung: int, survivors: Sequence[str]) -> tuple[float, float]:
    """The cost of a race: whole fits of the survivors, and the others up to the rung."""
    total = np.array(scene.cost(survivors))
    for name in set(names) - set(survivors):
        share = min(1.0, rung / float(scene.fits[name]["iterations"]))
        total += share * np.array(scene.cost([name]))
    return float(total[0]), float(total[1])


def interval(values: Sequence[float]) -> str:
    """Mean and 95 % interval by Student's t."""
    mean, count = fmean(values), len(values)
    if count < 2:
        return f"{mean:+.2f}"
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return f"{mean:+.2f} ({mean - half:+.2f} to {mean + half:+.2f})"


def ways_of(width: int, learnt: Sequence[Scene]) -> dict[str, Way]:
    """The ways of choosing, by name. A portfolio is learnt on other pictures than the scene's."""
    random = random_of(width)
    nas_dip, inpaint = tuple(NAS_DIP.values()), NAS_DIP["inpaint"]

    def from_portfolio(size: int, price: float = PRICE) -> Way:
        def chosen(scene: Scene) -> list[tuple[str, ...]]:
            return [tuple(portfolio([each for each in learnt if each.picture != scene.picture], size, price))]

        return chosen

    return {
        "dip": lambda _: [("dip",)],
        "seeds of dip, 3": lambda _: [draws_of("dip", 3)],
        "seeds of nas-dip-86, 2": lambda _: [draws_of(inpaint, 2)],
        "nas-dip, 3": lambda _: [nas_dip],
        f"random, {RANDOM_MEMBERS} of 8": lambda _: list(combinations(random, RANDOM_MEMBERS)),
        f"isnas-dip-blind, {RANDOM_MEMBERS} of 8": lambda scene: [by_metric(scene, random, RANDOM_MEMBERS)],
        f"learnt, {RANDOM_MEMBERS} of 8": lambda scene: [by_learnt(scene, random, RANDOM_MEMBERS, learnt)],
        f"race of 8, {RANDOM_MEMBERS} go on at 100": lambda scene: [raced(scene, random, 100, RANDOM_MEMBERS)],
        "portfolio, 1": from_portfolio(1),
        "portfolio, 2": from_portfolio(2),
        "portfolio, 3": from_portfolio(3),
        "portfolio, 4": from_portfolio(4),
        "portfolio without a price, 3": from_portfolio(3, 0.0),
        ALL: lambda scene: [tuple(scene.fits)],
    }


def mean_figures(scene: Scene, sets: Sequence[tuple[str, ...]]) -> Figures:
    """The mean of the figures over several sets."""
    found = [scene.combined(names) for names in sets]
    return {way: fmean(each[way] for each in found) for way in found[0]}


def choosing(scenes: Sequence[Scene], learnt: Sequence[Scene], width: int) -> None:
    """PSNR and cost of every way of choosing, and paired differences."""
    found: dict[str, list[Figures]] = {}
    random = random_of(width)
    for name, way in ways_of(width, learnt).items():
        for scene in scenes:
            sets = way(scene)
            figures = mean_figures(scene, sets)
            costs = [scene.cost(names) for names in sets]
            if name.startswith("race"):
                costs = [race_cost(scene, random, 100, sets[0])]
            figures["cost"], figures["seconds"] = (fmean(part) for part in zip(*costs, strict=True))
            found.setdefault(name, []).append(figures)
    reference = [figures["pick"] for figures in found["nas-dip, 3"]]
    floor = [scene.classical for scene in scenes]
    rows = [["classical", "", "", f"{fmean(floor):.2f}", "", "", f"{fmean(floor):.2f}", "", ""]]
    for name, figures in found.items():
        means = [f"{fmean(each[way] for each in figures):.2f}" for way in ("pick", "mean", "stack", "delivered")]
        over = [each["delivered"] - least for each, least in zip(figures, floor, strict=True)]
        ahead = [each["stack"] - base for each, base in zip(figures, reference, strict=True)]
        cost, seconds = (fmean(each[what] for each in figures) for what in ("cost", "seconds"))
        rows.append([name, f"{cost:.2f}", f"{seconds:.0f}", *means, interval(over), interval(ahead)])
    header = ["way", "10^12 multiply-adds", "CPU s", "pick", "mean", "stack", "delivered"]
    print_table([*header, "delivered over classical", "stack over the pick of nas-dip"], rows)
    near = []
    for name, figures in found.items():
        pairs = list(zip(figures, found[ALL], strict=True))
        shares = [f"{fmean(each[what] / whole[what] for each, whole in pairs):.0%}" for what in ("cost", "seconds")]
        near.append([name, *shares, interval([each["delivered"] - whole["delivered"] for each, whole in pairs])])
    print_table(["way", "share of all's multiply-adds", "of its seconds", f"delivered over {ALL}"], near)


def variance(scenes: Sequence[Scene]) -> None:
    """Standard deviations, in dB, of the effects of network, network by picture with draw, and draw alone."""
    single = [name for name in scenes[0].psnr if "-draw-" not in name]
    values = np.array([[scene.psnr[name] for name in single] for scene in scenes])

    def components(some: NDArray[np.float64]) -> tuple[float, float, float]:
        pictures, count = some.shape
        rest = some - some.mean(0) - some.mean(1)[:, None] + some.mean()
        left = float(np.square(rest).sum() / ((pictures - 1) * (count - 1)))
        network = max(0.0, float(some.mean(0).var(ddof=1)) - left / pictures)
        picture = max(0.0, float(some.mean(1).var(ddof=1)) - left / count)
        return float(np.sqrt(picture)), float(np.sqrt(network)), float(np.sqrt(left))

    best = np.argsort(-values.mean(0))[:8]
    draws = [draws_of("dip", 3), draws_of(NAS_DIP["inpaint"], 2)]
    spread = [np.var([scene.psnr[name] for name in each], ddof=1) for scene in scenes for each in draws]
    rows = [
        [what, *(f"{value:.2f}" for value in components(some)), f"{np.sqrt(np.mean(spread)):.2f}"]
        for what, some in ((f"all {len(single)} networks", values), ("the best eight", values[:, best]))
    ]
    print_table(["standard deviation, dB", "picture", "network", "network x picture, with draw", "draw alone"], rows)
    order = np.argsort(-values.mean(0))
    ranks = np.argsort(np.argsort(-values, axis=1), axis=1) + 1
    rows = [
        [single[at], f"{values[:, at].mean():.2f}", f"{ranks[:, at].min()} to {ranks[:, at].max()}"] for at in order
    ]
    print_table(["network", "PSNR", "ranks"], rows)


def tau(scenes: Sequence[Scene]) -> None:
    """Kendall's tau of the held-out error after n iterations with the final PSNR, over all fits of a picture."""
    row = []
    for rung in RUNGS:
        values = []
        for scene in scenes:
            names = list(scene.psnr)
            errors = [scene.error_at(name, rung) for name in names]
            values.append(float(stats.kendalltau(errors, [scene.psnr[name] for name in names]).statistic))
        row.append(interval(values))
    print_table(["after", *(str(rung) for rung in RUNGS)], [["tau", *row]])


def budgets(scenes: Sequence[Scene], width: int) -> None:
    """Regret, in dB of the pick against the best of the eight by reference: random K, and races."""
    random = random_of(width)
    rows = []
    plans: list[tuple[str, Callable[[Scene], tuple[float, float]]]] = []

    def of_random(count: int) -> Callable[[Scene], tuple[float, float]]:
        def outcome(scene: Scene) -> tuple[float, float]:
            sets = list(combinations(random, count))[:_MOST_SUBSETS]
            picks = [min(names, key=lambda name: float(scene.fits[name]["held_out_error"])) for names in sets]
            return fmean(scene.psnr[name] for name in picks), fmean(scene.cost(names)[0] for names in sets)

        return outcome

    def of_race(rung: int, survivors: int) -> Callable[[Scene], tuple[float, float]]:
        def outcome(scene: Scene) -> tuple[float, float]:
            left = raced(scene, random, rung, survivors)
            pick = min(left, key=lambda name: float(scene.fits[name]["held_out_error"]))
            return scene.psnr[pick], race_cost(scene, random, rung, left)[0]

        return outcome

    plans += [(f"random, {count}", of_random(count)) for count in (1, 2, 3, 4, 6, 8)]
    plans += [(f"race of 8, {left} go on at {rung}", of_race(rung, left)) for left in (1, 3) for rung in RUNGS[:-2]]
    for name, plan in plans:
        outcomes = [plan(scene) for scene in scenes]
        regret = [
            max(scene.psnr[each] for each in random) - got for scene, (got, _) in zip(scenes, outcomes, strict=True)
        ]
        rows.append([name, f"{fmean(cost for _, cost in outcomes):.2f}", f"{fmean(regret):.2f}", f"{max(regret):.2f}"])
    print_table(["", "10^12 multiply-adds", "regret, dB", "most"], rows)


def stacking(scenes: Sequence[Scene]) -> None:
    """The stack's gain over pick and mean by the number of members, and how far its own estimate is off."""
    rows = []
    for count in (2, 3, 4, 6, 8, 16):
        found = []
        for scene in scenes:
            sets = list(combinations(scene.fits, count))
            random = np.random.default_rng(count)
            chosen = [sets[place] for place in random.permutation(len(sets))[:_MOST_SUBSETS]]
            found.append(mean_figures(scene, chosen))
        over_pick = [each["stack"] - each["pick"] for each in found]
        over_mean = [each["stack"] - each["mean"] for each in found]
        cells = [str(count), f"{fmean(each['stack'] for each in found):.2f}", interval(over_pick), interval(over_mean)]
        if "estimated" in found[0]:
            cells.append(interval([each["estimated"] - each["stack at stop"] for each in found]))
        rows.append(cells)
    print_table(["members", "stack", "over the pick", "over the mean", "its estimate, less the truth"], rows)


def metric_in(scenes: Sequence[Scene], learnt: Sequence[Scene]) -> None:
    """What the papers' metric adds: the portfolio's candidates in its own order, and in the metric's."""
    rows = []
    for size in (1, 2, 3):
        own, ordered = [], []
        for scene in scenes:
            others = [each for each in learnt if each.picture != scene.picture]
            listed = [name for name in portfolio(others, 8) if name in scene.scores]
            own.append(scene.combined(listed[:size])["pick"])
            ordered.append(scene.combined(by_metric(scene, listed, size))["pick"])
        gains = [after - before for before, after in zip(own, ordered, strict=True)]
        rows.append([str(size), f"{fmean(own):.2f}", f"{fmean(ordered):.2f}", interval(gains)])
    print_table(["fits", "in the portfolio's order", "in the metric's", "difference"], rows)


def regions(scenes: Sequence[Scene], learnt: Sequence[Scene]) -> None:
    """Inpainting: PSNR of the missing pixels alone, of the image with known pixels kept, of the whole output."""

    def missing(scene: Scene, image: NDArray[np.floating]) -> float:
        known = scene.observation.known
        assert known is not None  # noqa: S101 - only inpainting comes here
        unknown = ~np.broadcast_to(known, image.shape)
        return -10 * float(np.log10(np.square(image - scene.clean, dtype=np.float64)[unknown].mean()))

    rows = []
    for name in ("dip", *portfolio(learnt, 2)):
        outputs = [(scene, scene.fits[name]["delivered"]) for scene in scenes]
        means = [
            fmean(missing(scene, image) for scene, image in outputs),
            fmean(scene.shown(image) for scene, image in outputs),
            fmean(psnr(image, scene.clean) for scene, image in outputs),
        ]
        rows.append([name, *(f"{mean:.2f}" for mean in means)])
    best = [(scene, min(scene.filters, key=scene.risk).delivered) for scene in scenes]
    means = [fmean(missing(scene, image) for scene, image in best), fmean(scene.classical for scene in scenes)]
    rows.append(["classical", *(f"{mean:.2f}" for mean in means), ""])
    print_table(["", "missing pixels alone", "known pixels kept", "the whole output"], rows)


def main() -> None:
    """Print every table of every task whose pictures are there."""
    parser = parser_of(__doc__)
    parser.add_argument("--all-pictures", action="store_true", help="test on every picture; a portfolio leaves it out")
    options = parser.parse_args()
    for task in options.tasks:
        scenes = [Scene(options, task, picture) for picture in options.pictures]
        scenes = [scene for scene in scenes if len(scene.fits) == len(networks(options.width))]
        learnt = [scene for scene in scenes if scene.picture in LEARNT_ON]
        tested = scenes if options.all_pictures else [scene for scene in scenes if scene.picture not in LEARNT_ON]
        print(
            f"## {task}\n\nLearnt on {[scene.picture for scene in learnt]}, tested on"
            f" {[scene.picture for scene in tested]}.\n"
        )
        if len(learnt) < 2 or not tested:
            continue
        print(f"Portfolio: {', '.join(portfolio(learnt, 4))}\n")
        choosing(tested, learnt, options.width)
        metric_in(tested, learnt)
        if task == "inpaint":
            regions(tested, learnt)
        if len(scenes) > 1:
            print(f"All {len(scenes)} pictures:\n")
            variance(scenes)
            tau(scenes)
            budgets(scenes, options.width)
            stacking(scenes)


if __name__ == "__main__":
    main()
