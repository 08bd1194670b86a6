"""Portfolios learnt from finished fits: lists of networks that together serve all images well.

The best networks of all are much alike, and the second of a list is of use only where the first is bad. So the next of
a list is always the network that most raises the mean over images of the best PSNR in the list. That mean is submodular
in the list, so no list of the same length is better by more than a factor of 1 / (1 - 1/e) (Nemhauser, Wolsey and
Fisher 1978).
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.errors import UserMistakeError
from orchestrator.settings.portfolio import ANY
from orchestrator.settings.task import TaskName
from workers.names import without_draw

BANDS = ((0.0, 20.0), (20.0, 35.0), (35.0, 255.0))
"""The bands of noise that have lists of their own, in 8-bit grey levels: around 15, 25 and 50."""

_GAIN = 0.001
"""The least gain in dB that is one; what two networks differ by less is chance."""
_NEEDED = ("image", "candidate", "psnr")


@dataclass(frozen=True)
class PastFit:
    """A finished fit.

    Attributes:
        task: the task that was fitted.
        sigma: the noise in 8-bit grey levels; None where it is not known.
        image: the picture's name.
        network: the prior's name, without the number of a draw.
        psnr: in dB, where it was stopped blind; NaN where the fit failed.
        held_out_error: by which it would be picked; NaN where it is not known.
        cost: its multiply-adds; NaN where they were not counted.
    """

    task: str
    sigma: float | None
    image: str
    network: str
    psnr: float
    held_out_error: float
    cost: float


@dataclass(frozen=True)
class Learnt:
    """A list of networks for a task and a band of noise.

    Attributes:
        task: the task, or ``any``.
        noise: the band in 8-bit grey levels; None for all images.
        images: the pictures that it was learnt on.
        fits: how many fits it was learnt from.
        networks: in order, each with what it adds to the mean of the best PSNR, in dB. The first one's gain is that
            over the image's worst network.
        left_out: mean PSNR in dB of the pick among the first 1, 2, ... networks, each picture's by the list that is
            learnt on the others.
        best: mean PSNR in dB of the image's best network: no choice could have more.
    """

    task: str
    noise: tuple[float, float] | None
    images: tuple[str, ...]
    fits: int
    networks: tuple[tuple[str, float], ...]
    left_out: tuple[float, ...]
    best: float


def read_fits(data: bytes, name: str, *, task: str | None, sigma: float | None) -> list[PastFit]:
    """The fits of a table (Parquet), such as a study's.

    Args:
        data: the file.
        name: its name in messages.
        task: the task of a table that has no column ``task``.
        sigma: the noise of a table that has no column ``sigma``; None where it is not known.

    Raises:
        UserMistakeError: it is no such table.
    """
    try:
        table = pq.read_table(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise UserMistakeError(f"{name}: no Parquet file ({str(error).splitlines()[0]})") from None
    missing = [column for column in _NEEDED if column not in table.column_names]
    if missing:
        raise UserMistakeError(f"{name}: no table of fits: it has no column {', '.join(missing)}")
    if "task" not in table.column_names and task is None:
        raise UserMistakeError(f"{name}: it has no column task; say by --task of which task its fits are")
    tasks = {str(each) for each in table["task"].unique().to_pylist()} if "task" in table.column_names else {task}
    if unknown := sorted(str(each) for each in tasks if each not in get_args(TaskName)):
        raise UserMistakeError(
            f"{name}: there is no task {', '.join(unknown)}; there are {', '.join(get_args(TaskName))}"
        )
    try:
        return [_fit_of(row, task, sigma) for row in table.to_pylist()]
    except (TypeError, ValueError):
        raise UserMistakeError(f"{name}: a figure in it is no number") from None


def _fit_of(row: Mapping[str, Any], task: str | None, sigma: float | None) -> PastFit:
    level = row.get("sigma", sigma)
    return PastFit(
        task=str(row.get("task", task)),
        sigma=None if level is None else float(level),
        image=str(row["image"]),
        network=without_draw(str(row["candidate"])),
        psnr=_number(row["psnr"]),
        held_out_error=_number(row.get("held_out_error")),
        cost=_number(row.get("multiply_adds")),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def learn(fits: Sequence[PastFit], *, size: int, price: float = 0.0) -> list[Learnt]:
    """The lists that these fits give: for every task and band of noise, and one for any task.

    Args:
        fits: of any tasks, in any order; the answer does not depend on it.
        size: the most networks of a list.
        price: in dB, of `greedy`.

    Raises:
        UserMistakeError: no fit has a PSNR, or costs are needed and not known.
    """
    usable = [fit for fit in fits if math.isfinite(fit.psnr)]
    if not usable:
        raise UserMistakeError("no fit has a PSNR: a portfolio is learnt from fits of pictures with clean references")
    if price and not all(math.isfinite(fit.cost) for fit in usable):
        raise UserMistakeError("the fits have no multiply_adds, so they have no price; leave out --price")
    groups: dict[tuple[str, tuple[float, float] | None], list[PastFit]] = {}
    for fit in usable:
        groups.setdefault((fit.task, band_of(fit.sigma)), []).append(fit)
    ordered = sorted(groups, key=lambda key: (key[0], key[1] or (-1.0, 0.0)))
    lists = [_learnt(task, noise, groups[task, noise], size, price) for task, noise in ordered]
    return [*lists, _learnt(ANY, None, usable, size, price)]


def band_of(sigma: float | None) -> tuple[float, float] | None:
    """The band of a level of noise, in 8-bit grey levels; None for an unknown one, and for none."""
    return None if not sigma else next((band for band in BANDS if band[0] <= sigma < band[1]), BANDS[-1])


def _learnt(task: str, noise: tuple[float, float] | None, fits: Sequence[PastFit], size: int, price: float) -> Learnt:
    pool = Pool.of(fits)
    order = pool.order(size, price=price)
    return Learnt(
        task,
        noise,
        tuple(sorted({image for *_, image in pool.cases})),
        len(fits),
        tuple((pool.networks[at], gain) for at, gain in order),
        pool.left_out(size, price=price),
        float(np.nanmax(pool.psnr, axis=1).mean()),
    )


@dataclass(frozen=True)
class Pool:
    """Fits as tables of cases by networks; NaN where there is no fit. A case is an image with a task and a noise.

    Draws of one network are its mean: which of them was the luckiest says nothing about another image.

    Attributes:
        cases: (task, noise, image), ascending.
        networks: their names, ascending.
        psnr, held_out_error: (cases, networks).
        cost: mean multiply-adds by network, NaN where not known.
    """

    cases: tuple[tuple[str, float, str], ...]
    networks: tuple[str, ...]
    psnr: NDArray[np.float64]
    held_out_error: NDArray[np.float64]
    cost: NDArray[np.float64]

    @classmethod
    def of(cls, fits: Iterable[PastFit]) -> "Pool":
        """The tables of fits that have a PSNR."""
        found: dict[tuple[tuple[str, float, str], str], list[PastFit]] = {}
        for fit in fits:
            case = (fit.task, -1.0 if fit.sigma is None else fit.sigma, fit.image)
            found.setdefault((case, fit.network), []).append(fit)
        cases = tuple(sorted({case for case, _ in found}))
        networks = tuple(sorted({network for _, network in found}))
        psnr, error = (np.full((len(cases), len(networks)), np.nan) for _ in range(2))
        costs: dict[str, list[float]] = {}
        rows, columns = ({key: at for at, key in enumerate(keys)} for keys in (cases, networks))
        for (case, network), draws in found.items():
            place = rows[case], columns[network]
            psnr[place] = math.fsum(sorted(fit.psnr for fit in draws)) / len(draws)
            error[place] = math.fsum(sorted(fit.held_out_error for fit in draws)) / len(draws)
            costs.setdefault(network, []).extend(fit.cost for fit in draws)
        cost = np.array([math.fsum(sorted(costs[network])) / len(costs[network]) for network in networks])
        return cls(cases, networks, psnr, error, cost)

    def order(self, size: int, *, price: float = 0.0) -> list[tuple[int, float]]:
        """The places of the networks of a list, in order, with the gain of each in dB."""
        return greedy(self.psnr, self.cost, size, price=price)

    def left_out(self, size: int, *, price: float = 0.0) -> tuple[float, ...]:
        """Mean PSNR of the pick among the first 1, 2, ... of a list that was learnt without the image's name."""
        found = []
        for image in sorted({case[2] for case in self.cases}):
            own = np.array([case[2] == image for case in self.cases])
            if own.all():
                return ()
            order = [at for at, _ in greedy(self.psnr[~own], self.cost, size, price=price)]
            found += [
                [_picked(psnr, error, order[:count]) for count in range(1, len(order) + 1)]
                for psnr, error in zip(self.psnr[own], self.held_out_error[own], strict=True)
            ]
        return tuple(float(value) for value in np.mean(found, axis=0)) if found else ()


def _picked(psnr: NDArray[np.float64], error: NDArray[np.float64], members: Sequence[int]) -> float:
    """PSNR of the member of least held-out error; of the first where no error is known, of the worst where no fit."""
    there = [at for at in members if math.isfinite(psnr[at])]
    if not there:
        return float(np.nanmin(psnr))
    return float(psnr[min(there, key=lambda at: error[at] if math.isfinite(error[at]) else math.inf)])


def greedy(
    psnr: NDArray[np.float64], cost: NDArray[np.float64], size: int, *, price: float = 0.0
) -> list[tuple[int, float]]:
    """Networks in the order in which each most raises the mean over cases of the best PSNR so far.

    A network without a fit on a case counts as the case's worst there. Networks that raise nothing follow by their mean
    PSNR, since a stack gains by good members. Gains and means are less the price. What differs by less than 0.001 dB is
    equal; then the cheaper network goes first, then the first by place.

    Args:
        psnr: (cases, networks) in dB, NaN where there is no fit.
        cost: multiply-adds by network, NaN where not known.
        size: how many are wanted.
        price: how many dB more a network must gain that costs as much as the networks do on average, than one for
            nothing. A dearer one must gain more in proportion.

    Returns:
        The places of the networks, with the gain of each in dB, at most ``size``.
    """
    worst = np.nanmin(psnr, axis=1, keepdims=True)
    values = np.where(np.isnan(psnr), worst, psnr) - worst
    dear = np.where(np.isnan(cost), math.inf, cost)
    prices = price * dear / float(np.nanmean(cost)) if price else np.zeros(len(dear))
    best, left = np.zeros(len(values)), list(range(values.shape[1]))
    order: list[tuple[int, float]] = []
    while left and len(order) < size:
        gains = {at: float(np.maximum(values[:, at] - best, 0).mean()) for at in left}
        worth = {at: gains[at] - float(prices[at]) for at in left}
        means = {at: float(values[:, at].mean() - prices[at]) for at in left}
        score = worth if max(worth.values()) >= _GAIN else means
        top = max(score.values())
        chosen = min((at for at in left if score[at] > top - _GAIN), key=lambda at: (dear[at], at))
        order.append((chosen, gains[chosen]))
        best = np.maximum(best, values[:, chosen])
        left.remove(chosen)
    return order


def to_plain(lists: Sequence[Learnt], source: str) -> dict[str, object]:
    """The table as it is written (`orchestrator.settings.portfolio` reads it)."""
    return {"source": source, "portfolios": [_entry(each) for each in lists]}


def _entry(learnt: Learnt) -> dict[str, object]:
    noise: Mapping[str, object] = {} if learnt.noise is None else {"noise": list(learnt.noise)}
    return {
        "task": learnt.task,
        **noise,
        "images": list(learnt.images),
        "fits": learnt.fits,
        "left_out": [round(value, 2) for value in learnt.left_out],
        "best": round(learnt.best, 2),
        "networks": [{"name": name, "gain": round(gain, 3)} for name, gain in learnt.networks],
    }
