import csv
import io
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kendalltau

from orchestrator.collect.fits import Fitted
from orchestrator.collect.packed import pack
from orchestrator.figures import study
from orchestrator.figures.study import (
    HELD_OUT,
    CohortSize,
    Table,
    Tau,
    cohort_sizes_of,
    expected_best,
    mean_tau,
    read_table,
    resampled_taus,
    study_of,
    tau_of,
    taus_of,
    write_study,
)
from orchestrator.fit.record import Evaluation, FitRecord
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout
from orchestrator.store import Store, open_store
from workers.names import PriorName

LAYOUT = RunLayout("s")
NAN = math.nan
Values = NDArray[np.float64]


def floats(*values: float) -> Values:
    return np.array(values, dtype=np.float64)


def table(images: dict[str, Values], errors: dict[str, Values] | None = None, **scores: dict[str, Values]) -> Table:
    """A table by the best PSNRs of each image; stopped blind they are 1 dB lower, and so is the error unless given."""
    errors = {name: -best for name, best in images.items()} if errors is None else errors
    best = np.concatenate([*images.values()])
    return Table(
        image=np.array([name for name, own in images.items() for _ in own], dtype=np.str_),
        candidate=np.array([f"c{place}" for own in images.values() for place in range(len(own))], dtype=np.str_),
        psnr_oracle_stop=best,
        psnr=best - 1,
        held_out_error=np.concatenate([errors[name] for name in images]),
        scores={metric: np.concatenate([own[name] for name in images]) for metric, own in scores.items()},
    )


def of(taus: list[Tau], predictor: str, image: str | None) -> Tau:
    (found,) = [tau for tau in taus if (tau.predictor, tau.image) == (predictor, image)]
    return found


def curve(sizes: list[CohortSize], by: str | None) -> dict[int, float]:
    return {point.size: point.best for point in sizes if point.by == by}


# Kendall's tau


def test_tau_is_minus_one_where_lower_foretells_higher_exactly_and_counts_pairs_otherwise() -> None:
    best = floats(20, 21, 22, 23)
    assert tau_of(-best, best) == pytest.approx(-1)
    assert tau_of(np.exp(best), best) == pytest.approx(1)
    # One of the six pairs is the wrong way round.
    assert tau_of(floats(4, 3, 1, 2), best) == pytest.approx((1 - 5) / 6)


def test_tau_with_ties_is_tau_b() -> None:
    # Two pairs agree, none disagrees, one is tied in the predictor: 2 / sqrt(2 * 3).
    assert tau_of(floats(1, 1, 2), floats(1, 2, 3)) == pytest.approx(2 / math.sqrt(6))


def test_tau_leaves_out_what_is_not_known_and_is_unknown_where_nothing_varies() -> None:
    assert tau_of(floats(1, NAN, 2, 3, math.inf), floats(3, 9, 2, NAN, 0)) == pytest.approx(-1)
    assert math.isnan(tau_of(floats(1, 1, 1), floats(1, 2, 3)))
    assert math.isnan(tau_of(floats(1), floats(1)))
    assert math.isnan(tau_of(floats(NAN, 1), floats(1, NAN)))


def test_the_taus_are_those_of_each_image_and_their_mean_with_its_interval() -> None:
    random = np.random.default_rng(3)
    images = {name: random.normal(25, 2, 30) for name in ("a", "b", "c")}
    metric = {name: random.normal(0, 2, 30) - best for name, best in images.items()}
    taus = taus_of(table(images, metric=metric))
    expected = [kendalltau(metric[name], best).statistic for name, best in images.items()]
    assert [of(taus, "metric", name).tau for name in images] == pytest.approx(expected)
    mean, low, high = mean_tau(expected)
    overall = of(taus, "metric", None)
    assert (overall.tau, overall.low, overall.high) == pytest.approx((mean, low, high))
    assert (overall.candidates, of(taus, "metric", "b").candidates) == (90, 30)
    assert of(taus, HELD_OUT, None).tau == pytest.approx(-1)


def test_the_interval_of_an_image_holds_its_tau_is_repeatable_and_narrows_with_more_candidates() -> None:
    def tau(candidates: int) -> Tau:
        random = np.random.default_rng(5)
        best = random.normal(25, 2, candidates)
        found = taus_of(table({"a": best}, metric={"a": random.normal(0, 2, candidates) - best}))
        return of(found, "metric", "a")

    few, many = tau(15), tau(150)
    for found in (few, many):
        assert found.low is not None
        assert found.high is not None
        assert -1 <= found.low < found.tau < found.high <= 1
    assert few == tau(15)
    assert many.high - many.low < (few.high - few.low) / 2  # type: ignore[operator]


def test_the_interval_of_an_image_is_as_wide_as_theory_has_it() -> None:
    random = np.random.default_rng(11)
    n = 150
    found = of(taus_of(table({"a": random.normal(25, 2, n)}, metric={"a": random.normal(0, 1, n)})), "metric", "a")
    # The standard deviation of tau between two orders that have nothing to do with each other.
    deviation = math.sqrt(2 * (2 * n + 5) / (9 * n * (n - 1)))
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * deviation, rel=0.25)


def test_resampled_taus_are_those_of_the_samples_themselves() -> None:
    random = np.random.default_rng(5)
    best, predictor = random.integers(0, 9, 40).astype(float), random.integers(0, 9, 40).astype(float)
    predictor[[3, 17]] = NAN
    again = np.random.default_rng(0)
    each = [tau_of(predictor[at], best[at]) for at in (again.integers(0, 40, 40) for _ in range(20))]
    assert resampled_taus(predictor, best)[:20] == pytest.approx(each)
    assert np.isnan(resampled_taus(np.ones(3), floats(1, 2, 3))).all()


def test_pairs_of_many_candidates_are_counted_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(5)
    best, predictor = random.normal(size=(2, 50))
    whole = resampled_taus(predictor, best)
    monkeypatch.setattr(study, "_PAIRED_AT_ONCE", 7)
    assert resampled_taus(predictor, best) == pytest.approx(whole, nan_ok=True)


def test_the_rows_of_each_image_are_those_that_are_asked_for_one_by_one() -> None:
    found = table(
        {"a": floats(20, NAN), "b": floats(NAN, NAN), "c": floats(1, 2)}, metric={n: floats(1, 2) for n in "abc"}
    )
    assert [own.image.tolist() for own in found.by_image()] == [["a"], ["c", "c"]]
    for own in found.by_image():
        assert own.to_arrow() == found.of(str(own.image[0])).to_arrow()


def test_one_image_has_no_interval_over_images() -> None:
    overall = of(taus_of(table({"a": floats(20, 21, 22)})), HELD_OUT, None)
    assert overall.tau == pytest.approx(-1)
    assert (overall.low, overall.high) == (None, None)


def test_an_interval_over_images_ends_where_a_correlation_does() -> None:
    best = floats(20, 21, 22, 23)
    taus = taus_of(table({"a": best, "b": best}, errors={"a": -best, "b": floats(2, 1, 4, 3)}))
    overall = of(taus, HELD_OUT, None)
    assert overall.tau == pytest.approx((-1 + 1 / 3) / 2)
    # A mean of two images drawn anew is one of the two, or their mean.
    assert (overall.low, overall.high) == (-1, pytest.approx(1 / 3))


@given(st.lists(st.floats(-1, 1), min_size=2, max_size=12))
def test_no_interval_of_correlations_is_impossible(taus: list[float]) -> None:
    mean, low, high = mean_tau(taus)
    assert low is not None
    assert high is not None
    assert min(taus) - 1e-12 <= low <= mean + 1e-12
    assert mean - 1e-12 <= high <= max(taus) + 1e-12
    assert mean_tau(taus) == (mean, low, high)


def test_an_interval_over_images_covers_the_mean_of_all() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        _, low, high = mean_tau(np.clip(random.normal(-0.6, 0.2, 12), -1, 1).tolist())
        covered += low is not None and high is not None and low <= -0.6 <= high
    assert covered >= 175


def test_a_predictor_that_does_not_vary_on_an_image_is_left_out_of_the_mean() -> None:
    best = floats(20, 21, 22, 23)
    constant, known = np.zeros(4), -best
    taus = taus_of(
        table({"a": best, "b": best}, half={"a": constant, "b": known}, never={"a": constant, "b": constant})
    )
    assert of(taus, "half", None).tau == pytest.approx(-1)
    unknown = of(taus, "half", "a")
    assert (math.isnan(unknown.tau), unknown.low, unknown.high) == (True, None, None)
    assert [tau.image for tau in taus if tau.predictor == "never"] == ["a", "b"]


def test_failed_fits_do_not_count_and_an_image_with_one_fit_has_no_tau() -> None:
    best = floats(20, NAN, 22, 21)
    taus = taus_of(table({"a": best, "b": floats(NAN, 25, NAN, NAN)}, metric={"a": floats(3, 9, 1, 2), "b": best}))
    found = of(taus, "metric", "a")
    assert found.tau == pytest.approx(-1)
    assert found.candidates == 3
    assert all(tau.image != "b" for tau in taus)


# The result of K candidates


@given(st.lists(st.floats(5, 40), min_size=1, max_size=7), st.data())
def test_the_expected_best_is_the_mean_over_all_choices(values: list[float], data: st.DataObject) -> None:
    size = data.draw(st.integers(1, len(values)))
    every = [max(chosen) for chosen in itertools.combinations(values, size)]
    assert expected_best(np.array(values), size) == pytest.approx(math.fsum(every) / len(every))


def test_the_expected_best_of_many_is_exact_too() -> None:
    values = np.arange(522, dtype=np.float64)
    # The greatest of K among 0 to n - 1 is K (n + 1) / (K + 1) - 1 on average.
    for size in (1, 15, 261, 522):
        assert expected_best(values, size) == pytest.approx(size * 523 / (size + 1) - 1)


def test_a_shortlist_is_the_lowest_scores_and_the_curve_is_the_mean_over_images() -> None:
    images = {"a": floats(20, 24, 22), "b": floats(30, 31, 36)}
    score = {"a": floats(1, 2, 3), "b": floats(3, 2, 1)}
    sizes = cohort_sizes_of(table(images, metric=score))
    assert curve(sizes, "metric") == {1: (20 + 36) / 2, 2: (24 + 36) / 2, 3: (24 + 36) / 2}
    assert curve(sizes, None) == pytest.approx({1: (22 + 97 / 3) / 2, 2: (70 / 3 + 103 / 3) / 2, 3: 30})
    assert all(point.blind is None for point in sizes if point.by is None)


def test_the_blind_pick_has_the_least_held_out_error_of_the_shortlist() -> None:
    # The third has the least error of all but comes last on the shortlist; stopped blind a fit is 1 dB worse.
    errors = {"a": floats(0.3, 0.2, 0.1)}
    sizes = cohort_sizes_of(table({"a": floats(24, 22, 20)}, errors, metric={"a": floats(1, 2, 3)}))
    assert [point.blind for point in sizes if point.by == "metric"] == [23, 21, 19]
    assert curve(sizes, "metric") == {1: 24, 2: 24, 3: 24}


def test_without_held_out_errors_the_first_of_the_shortlist_is_picked() -> None:
    best, unknown = floats(24, 22, 26), floats(NAN, NAN, NAN)
    sizes = cohort_sizes_of(table({"a": best}, {"a": unknown}, metric={"a": floats(2, 1, 3)}))
    assert [point.blind for point in sizes if point.by == "metric"] == [21, 21, 21]
    some = cohort_sizes_of(table({"a": best}, {"a": floats(NAN, 0.5, NAN)}, metric={"a": floats(1, 2, 3)}))
    assert [point.blind for point in some if point.by == "metric"] == [23, 21, 21]


def test_a_score_that_is_no_number_comes_last_and_a_failed_fit_is_not_on_the_list() -> None:
    found = table({"a": floats(20, 21, 22, NAN)}, metric={"a": floats(NAN, 2, 3, 1)})
    assert curve(cohort_sizes_of(found), "metric") == {1: 21, 2: 22, 3: 22}


def test_sizes_grow_by_half_up_to_what_every_image_has() -> None:
    images = {"a": np.linspace(20, 30, 60), "b": np.linspace(20, 30, 41)}
    assert list(curve(cohort_sizes_of(table(images)), None)) == [1, 2, 3, 5, 7, 10, 15, 22, 33, 41]
    assert list(curve(cohort_sizes_of(table(images), sizes=(4, 41, 42)), None)) == [4, 41]
    assert list(curve(cohort_sizes_of(table({"a": floats(20)})), None)) == [1]


def test_an_image_whose_fits_all_failed_is_no_part_of_the_curve() -> None:
    found = table({"a": floats(NAN, NAN), "b": floats(20, 21)}, metric={"a": floats(1, 2), "b": floats(1, 2)})
    assert curve(cohort_sizes_of(found), "metric") == {1: 20, 2: 21}


# From the store and back


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def image(name: str) -> InputImage:
    return InputImage(name, f"{name}-id", name, None, name, 8, 12, 1)


def done(candidate: str, best: float, error: float | None, view: Any = "full") -> Fitted:
    record = FitRecord(
        PriorName(candidate), view, "done", held_out_error=error, evaluation=Evaluation(best - 1, best - 2, best)
    )
    return Fitted(record)


def put(store: Store, name: str, fits: list[Fitted], scores: dict[str, list[Any]]) -> None:
    store.put(LAYOUT.cohort(image(name).id), pack(fits))
    buffer = io.BytesIO()
    pq.write_table(pa.table(scores), buffer)
    store.put(LAYOUT.scores(image(name).id), buffer.getvalue())


def study_table(store: Store) -> Table:
    """A table of two images and one that is not finished; a fit failed, one is missing, and one is of another view."""
    scores: dict[str, list[Any]] = {
        "candidate": ["x", "y", "z"],
        "psd db strip mse": [1.0, 2.0, NAN],
        "task loss": [0.3, 0.2, 0.1],
    }
    failed = Fitted(FitRecord(PriorName("z"), "full", "failed", reason="the fit diverged"))
    put(store, "a.png", [done("y", 28, 0.1), done("x", 26, 0.2), failed, done("z", 40, 0.0, "crop")], scores)
    put(store, "b,\n1.png", [done("x", 31, 0.4), done("z", 30, None)], scores)
    images = [image("a.png"), image("not yet.png"), image("b,\n1.png")]
    return read_table(store, LAYOUT, images, task="denoise", sigma=25.0)


def test_the_table_has_a_row_for_every_candidate_of_every_image_that_is_done(store: Store) -> None:
    found = study_table(store)
    assert found.images == ["a.png", "b,\n1.png"]
    assert found.image.tolist() == ["a.png"] * 3 + ["b,\n1.png"] * 3
    assert found.candidate.tolist() == ["x", "y", "z"] * 2
    np.testing.assert_array_equal(found.psnr_oracle_stop, [26, 28, NAN, 31, NAN, 30])
    np.testing.assert_array_equal(found.psnr, [25, 27, NAN, 30, NAN, 29])
    np.testing.assert_array_equal(found.held_out_error, [0.2, 0.1, NAN, 0.4, NAN, NAN])
    assert list(found.scores) == ["psd db strip mse", "task loss"]
    np.testing.assert_array_equal(found.scores["psd db strip mse"], [1, 2, NAN] * 2)
    assert list(found.predictors) == [HELD_OUT, *found.scores]


def test_the_files_hold_the_table_as_it_is(store: Store) -> None:
    found = study_table(store)
    write_study(store, LAYOUT, found, study_of(found))
    again = pq.read_table(io.BytesIO(store.get(LAYOUT.study("table.parquet"))))
    assert again.schema.equals(found.to_arrow().schema)
    for column in again.column_names:
        np.testing.assert_array_equal(again[column].to_numpy(), found.to_arrow()[column].to_numpy())
    columns = ["image", "candidate", "psnr_oracle_stop", "psnr", "held_out_error", "multiply_adds"]
    columns += ["task", "sigma", "psd db strip mse", "task loss"]
    assert again.column_names == columns
    lines = list(csv.DictReader(io.StringIO(store.get(LAYOUT.study("table.csv")).decode(), newline="")))
    assert list(lines[0]) == columns
    assert [line["image"] for line in lines] == found.image.tolist()
    for column in ("psnr_oracle_stop", "held_out_error"):
        values = [float(line[column]) if line[column] else NAN for line in lines]
        np.testing.assert_array_equal(values, getattr(found, column))


def no_constant(name: str) -> float:
    raise AssertionError(f"{name} is not JSON")


def test_the_figures_are_json_with_null_for_what_is_unknown(store: Store) -> None:
    best = floats(20, 21, 22)
    found = table({"a": best, "b": floats(20, NAN, 22)}, constant={"a": np.zeros(3), "b": np.zeros(3)})
    write_study(store, LAYOUT, found, study_of(found))
    figures = json.loads(store.get(LAYOUT.study("study.json")), parse_constant=no_constant)
    assert (figures["images"], figures["candidates"]) == (2, 3)
    (unknown,) = [tau for tau in figures["taus"] if (tau["predictor"], tau["image"]) == ("constant", "a")]
    assert unknown == {"predictor": "constant", "image": "a", "candidates": 3, "tau": None, "low": None, "high": None}
    assert {"by": None, "size": 2, "best": pytest.approx((65 / 3 + 22) / 2), "blind": None} in figures["cohort_sizes"]


def test_a_study_of_which_nothing_is_done_is_empty(store: Store) -> None:
    found = read_table(store, LAYOUT, [image("a.png")])
    study = study_of(found)
    assert (study.images, study.candidates, study.taus, study.cohort_sizes) == (0, 0, [], [])
    write_study(store, LAYOUT, found, study)
    header = "image,candidate,psnr_oracle_stop,psnr,held_out_error,multiply_adds\n"
    assert store.get(LAYOUT.study("table.csv")).decode() == header
