import io
import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from orchestrator.errors import UserMistakeError
from orchestrator.figures.portfolio import PastFit, Pool, band_of, greedy, learn, read_fits, to_plain

NAN = math.nan
Values = NDArray[np.float64]

PSNRS = st.integers(1, 7).flatmap(
    lambda networks: st.lists(
        st.lists(st.integers(15, 35).map(float), min_size=networks, max_size=networks), min_size=1, max_size=6
    )
)
"""Whole numbers of dB by case and network: their gains differ by more than what counts as equal, or not at all."""


def costs(psnr: Values) -> Values:
    return np.full(psnr.shape[1], NAN)


def worth(psnr: Values, members: tuple[int, ...]) -> float:
    """What a list adds to the worst network of each case, in dB."""
    return float((psnr[:, list(members)].max(axis=1) - psnr.min(axis=1)).mean())


def fit(image: str, network: str, psnr: float, **others: object) -> PastFit:
    known = PastFit("denoise", 25.0, image, network, psnr, 10 ** (-psnr / 10), NAN)
    return replace(known, **others)  # type: ignore[arg-type]


def table_of(rows: list[dict[str, object]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


# The order


@given(PSNRS)
def test_gains_add_up_fall_and_are_within_a_known_factor_of_the_best_list(values: list[list[float]]) -> None:
    psnr = np.array(values)
    order = greedy(psnr, costs(psnr), psnr.shape[1])
    assert sorted(at for at, _ in order) == list(range(psnr.shape[1]))
    gains = [gain for _, gain in order]
    assert all(later <= gain + 1e-9 for gain, later in itertools.pairwise(gains))
    for size in range(1, len(order) + 1):
        members = tuple(at for at, _ in order[:size])
        assert sum(gains[:size]) == pytest.approx(worth(psnr, members))
        best = max(worth(psnr, others) for others in itertools.combinations(range(psnr.shape[1]), size))
        assert worth(psnr, members) >= (1 - 1 / math.e) * best - 1e-9


@given(PSNRS, st.randoms(use_true_random=False), st.floats(-5, 5))
def test_neither_the_order_of_fits_nor_how_hard_an_image_is_decides(
    values: list[list[float]], shuffled: random.Random, harder: float
) -> None:
    fits = [fit(f"i{row}", f"n{column}", psnr) for row, own in enumerate(values) for column, psnr in enumerate(own)]
    others = [replace(each, psnr=each.psnr + harder) if each.image == "i0" else each for each in fits]
    shuffled.shuffle(others)
    lists = [learn(each, size=4)[0].networks for each in (fits, others)]
    assert [name for name, _ in lists[0]] == [name for name, _ in lists[1]]


def test_the_next_network_is_good_where_the_first_is_not() -> None:
    # The second best on average is never better than the first.
    psnr = np.array([[30.0, 29.5, 20.0], [30.0, 29.5, 20.0], [25.0, 24.5, 28.0]])
    order = greedy(psnr, costs(psnr), 3)
    assert [at for at, _ in order] == [0, 2, 1]
    assert [gain for _, gain in order] == pytest.approx([(10 + 10 + 0.5) / 3, 1.0, 0.0])


def test_of_equal_gains_the_cheaper_goes_first_and_what_raises_nothing_follows_by_its_mean() -> None:
    psnr = np.array([[28.0, 28.0, 27.0, 20.0]])
    assert [at for at, _ in greedy(psnr, np.array([2.0, 1.0, 9.0, 0.1]), 4)] == [1, 0, 2, 3]
    assert [at for at, _ in greedy(psnr, costs(psnr), 4)] == [0, 1, 2, 3]
    assert [at for at, _ in greedy(psnr, np.array([2.0, NAN, 9.0, 0.1]), 1)] == [0]


def test_a_price_puts_a_cheap_network_before_a_dear_one_that_gains_little_more() -> None:
    # Costs of 2, 0.5 and 0.5 of the average: 0.75 dB between the first two at a price of 0.5 dB.
    psnr, cost = np.array([[28.0, 27.5, 20.0]]), np.array([4.0, 1.0, 1.0])
    assert [at for at, _ in greedy(psnr, cost, 3, price=0.5)] == [1, 0, 2]
    assert [at for at, _ in greedy(psnr, cost, 3, price=0.3)] == [0, 1, 2]
    # Then what the dear one adds, half a dB, must be worth its price too; or else a good mean must.
    assert [at for at, _ in greedy(psnr, cost, 3, price=6.0)] == [1, 2, 0]


def test_gains_are_told_without_the_price() -> None:
    order = greedy(np.array([[28.0, 27.5, 20.0]]), np.array([4.0, 1.0, 1.0]), 2, price=0.5)
    assert [gain for _, gain in order] == pytest.approx([7.5, 0.5])


def test_a_network_without_a_fit_counts_as_the_worst() -> None:
    psnr = np.array([[NAN, 24.0, 23.0], [30.0, 26.0, 25.0]])
    assert greedy(psnr, costs(psnr), 1) == [(0, pytest.approx(2.5))]
    psnr = np.array([[NAN, 28.0, 23.0], [30.0, 29.0, 25.0]])
    assert greedy(psnr, costs(psnr), 1) == [(1, pytest.approx(4.5))]


# What is learnt


def test_each_task_and_band_of_noise_has_its_list_and_all_together_have_one() -> None:
    fits = [
        *(fit("a", name, psnr, sigma=15.0) for name, psnr in (("dip", 30.0), ("x", 29.0))),
        *(fit("a", name, psnr, sigma=50.0) for name, psnr in (("dip", 22.0), ("x", 24.0))),
        *(fit("b", name, psnr, task="inpaint", sigma=None) for name, psnr in (("dip", 22.0), ("x", 29.0))),
    ]
    lists = learn(fits, size=1)
    found = [(each.task, each.noise, each.images, each.fits, [name for name, _ in each.networks]) for each in lists]
    assert found == [
        ("denoise", (0.0, 20.0), ("a",), 2, ["dip"]),
        ("denoise", (35.0, 255.0), ("a",), 2, ["x"]),
        ("inpaint", None, ("b",), 2, ["x"]),
        ("any", None, ("a", "b"), 6, ["x"]),
    ]


def test_levels_of_noise_fall_into_bands_that_meet() -> None:
    levels = {None: None, 0.0: None, 5.0: 0.0, 19.9: 0.0, 20.0: 20.0, 25.0: 20.0, 35.0: 35.0, 50.0: 35.0, 255.0: 35.0}
    bands = {level: band_of(level) for level in levels}
    assert {level: band and band[0] for level, band in bands.items()} == levels


def test_draws_of_a_network_are_one_network_of_their_mean() -> None:
    rows = [
        {"image": "a", "candidate": name, "psnr": psnr}
        for name, psnr in (("dip", 20.0), ("dip-draw-2", 30.0), ("nas-dip-158-1111101111001110001100001", 26.0))
    ]
    fits = read_fits(table_of(rows), "t", task="denoise", sigma=None)
    pool = Pool.of(fits)
    assert pool.networks == ("dip", "nas-dip-158-1111101111001110001100001")
    assert pool.psnr.tolist() == [[25.0, 26.0]]
    assert learn(fits, size=1)[0].networks[0][0].startswith("nas-dip")


def test_a_picture_is_tried_with_the_list_of_the_others_whatever_the_task() -> None:
    # On each picture another network is the best, and what is learnt on one picture misleads on the other.
    best = {"a": {"x": 30.0, "y": 20.0}, "b": {"x": 20.0, "y": 30.0}}
    fits = [fit(image, name, psnr) for image, own in best.items() for name, psnr in own.items()]
    assert learn(fits, size=2)[0].left_out == (20.0, 30.0)
    assert learn(fits, size=2)[0].best == 30.0
    # The same pictures with another task: neither is learnt from, for it is the same picture.
    more = [replace(each, task="inpaint", sigma=None) for each in fits]
    assert learn([*fits, *more], size=2)[-1].left_out == (20.0, 30.0)
    # Of a single picture there are no others.
    assert learn(fits[:2], size=2)[0].left_out == ()


def test_the_pick_has_the_least_held_out_error_whatever_its_psnr() -> None:
    fits = [
        fit(image, name, psnr, held_out_error=error)
        for image in ("a", "b")
        for name, psnr, error in (("x", 30.0, 0.2), ("y", 28.0, 0.1))
    ]
    assert learn(fits, size=2)[0].left_out == (30.0, 28.0)


def test_what_was_written_says_where_it_comes_from_in_hundredths() -> None:
    (learnt, _) = learn([fit("a", "dip", 30.0), fit("a", "x", 29.123456)], size=2)
    entry = {
        "task": "denoise",
        "noise": [20.0, 35.0],
        "images": ["a"],
        "fits": 2,
        "left_out": [],
        "best": 30.0,
        "networks": [{"name": "dip", "gain": 0.877}, {"name": "x", "gain": 0.0}],
    }
    assert to_plain([learnt], "these") == {"source": "these", "portfolios": [entry]}


# Tables


def test_a_table_tells_task_and_noise_itself_or_is_told() -> None:
    row: dict[str, object] = {"image": "a", "candidate": "dip", "psnr": 30.0}
    (told,) = read_fits(table_of([row]), "t", task="deblur", sigma=5.0)
    assert (told.task, told.sigma, told.psnr) == ("deblur", 5.0, 30.0)
    assert math.isnan(told.cost)
    assert math.isnan(told.held_out_error)
    whole = {**row, "task": "inpaint", "sigma": None, "held_out_error": 0.1, "multiply_adds": 7}
    (own,) = read_fits(table_of([whole]), "t", task="deblur", sigma=5.0)
    assert own == PastFit("inpaint", None, "a", "dip", 30.0, 0.1, 7.0)


@pytest.mark.parametrize(
    ("data", "task", "message"),
    [
        (b"no parquet", None, "t: no Parquet file"),
        (table_of([{"image": "a"}]), "denoise", "t: no table of fits: it has no column candidate, psnr"),
        (table_of([{"image": "a", "candidate": "dip", "psnr": 1.0}]), None, "t: it has no column task; say by --task"),
        (
            table_of([{"image": "a", "candidate": "dip", "psnr": 1.0, "task": "sharpen"}]),
            None,
            "t: there is no task sharpen; there are denoise, ",
        ),
        (table_of([{"image": "a", "candidate": "dip", "psnr": "high"}]), "denoise", "t: a figure in it is no number"),
    ],
)
def test_what_is_no_table_of_fits_is_refused_in_a_line(data: bytes, task: str | None, message: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        read_fits(data, "t", task=task, sigma=None)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_nothing_is_learnt_without_references_nor_by_costs_that_are_not_known() -> None:
    with pytest.raises(UserMistakeError, match="no fit has a PSNR"):
        learn([fit("a", "dip", NAN)], size=3)
    with pytest.raises(UserMistakeError, match="no multiply_adds"):
        learn([fit("a", "dip", 30.0)], size=3, price=0.1)
