import io
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.arms.candidates import candidates_of
from orchestrator.fit.problem import Problem
from orchestrator.run.layout import image_key
from orchestrator.score.bank import bank_of
from orchestrator.score.score import Scored, explored, noise_level, score_image
from orchestrator.settings import Config
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.score.given import fill_bank
from workers.fingerprints import compute_bank, image_fingerprint, score_bank
from workers.names import PriorName
from workers.tasks import Observation


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def scores_of(bench: Bench) -> dict[str, list[Any]]:
    """Read the table of scores by column."""
    columns: dict[str, list[Any]] = pq.read_table(
        bench.store.local_path(bench.context.layout.scores(bench.image.id))
    ).to_pydict()
    return columns


def only(cohorts: dict[str, list[Scored]]) -> list[Scored]:
    """Return the cohort of the run's only arm."""
    (cohort,) = cohorts.values()
    return cohort


@pytest.mark.parametrize("metric", ["psd db strip mse", "psd strip hist emd", "task loss"])
@pytest.mark.parametrize("task", ["denoise", "super-resolve", "deblur"])
def test_an_image_is_scored_by_the_metric_and_the_table_left_in_the_store(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, metric: str, task: str
) -> None:
    config = make_config(score={"metric": metric}, task={"name": task, "factor": 2}, cohort={"size": 2})
    bench = make_bench(config, encoded(noise_seed=1))
    fill_bank(bench)
    cohorts = score_image(bench.context, bench.image)
    spec = bank_of(config, bench.image)
    assert spec is not None
    fingerprint = image_fingerprint(Problem(bench.context, bench.image).observation.pixels, spec)
    expected = score_bank(compute_bank(candidates_of(config), spec, config.task.make().operator), fingerprint, metric)
    order = np.argsort(expected)
    assert cohorts == {"isnas-dip-blind": [Scored(PriorName(CANDIDATES[at]), float(expected[at])) for at in order[:2]]}
    assert scores_of(bench) == {"candidate": list(CANDIDATES), metric: expected.tolist()}


def test_every_arm_has_its_cohort_and_every_metric_its_column(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(
        arms=[
            "isnas-dip-blind",
            {"name": "low-pass", "metric": "psd 99_per_bw", "size": 2},
            "random",
            "dip",
            {"name": "two", "networks": ["deep-decoder-64", CANDIDATES[2]]},
        ],
        score={"also": ["psd strip hist emd"]},
    )
    bench = make_bench(config, encoded(noise_seed=1))
    fill_bank(bench)
    cohorts = score_image(bench.context, bench.image)
    table = scores_of(bench)
    assert list(table) == ["candidate", "psd db strip mse", "psd 99_per_bw", "random", "psd strip hist emd"]
    assert list(cohorts) == ["isnas-dip-blind", "low-pass", "random", "dip", "two"]
    for arm, metric, size in (
        ("isnas-dip-blind", "psd db strip mse", 3),
        ("low-pass", "psd 99_per_bw", 2),
        ("random", "random", 3),
    ):
        scores = dict(zip(CANDIDATES, table[metric], strict=True))
        best = sorted(CANDIDATES, key=lambda candidate: scores[candidate])[:size]
        assert cohorts[arm] == [Scored(PriorName(candidate), scores[candidate]) for candidate in best]
    assert cohorts["dip"] == [Scored(PriorName("dip"), 0.0)]
    assert cohorts["two"] == [Scored(PriorName("deep-decoder-64"), 0.0), Scored(PriorName(CANDIDATES[2]), 1.0)]


def test_an_arm_scores_no_otherwise_for_the_others_beside_it(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    alone = make_bench(make_config(), encoded(noise_seed=1), store="alone")
    arms = ["random", "isnas-dip-blind", {"name": "loss", "metric": "task loss"}]
    among = make_bench(make_config(arms=arms), encoded(noise_seed=1), store="among")
    cohorts = []
    for bench in (alone, among):
        fill_bank(bench)
        cohorts.append(score_image(bench.context, bench.image)["isnas-dip-blind"])
    assert cohorts[0] == cohorts[1]


def test_networks_by_name_need_no_scores(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    config = make_config(arms=["nas-dip", "deep-decoder"])
    bench = make_bench(config, encoded())
    assert bank_of(config, bench.image) is None
    cohorts = score_image(bench.context, bench.image)
    assert [str(scored.name) for scored in cohorts["deep-decoder"]] == ["deep-decoder-64", "deep-decoder-128"]
    assert [scored.score for scored in cohorts["nas-dip"]] == [0.0, 1.0, 2.0]
    assert not bench.store.exists(bench.context.layout.scores(bench.image.id))


@pytest.mark.parametrize(("sigma", "network"), [(10, "dip"), (25, "dip-inpaint"), (60, "deep-decoder-64")])
def test_a_portfolio_s_cohort_follows_the_noise_that_the_image_itself_shows(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, sigma: int, network: str
) -> None:
    bands = {(0, 17): "dip", (17, 40): "dip-inpaint", (40, 255): "deep-decoder-64"}
    lists = [{"task": "denoise", "noise": band, "networks": [name, CANDIDATES[0]]} for band, name in bands.items()]
    config = make_config(
        arms=[{"name": "mine", "like": "portfolio", "portfolio": lists}], task={"sigma": sigma}, cohort={"size": 2}
    )
    bench = make_bench(config, encoded(64, 64), simulate=True)
    assert [str(each.name) for each in only(score_image(bench.context, bench.image))] == [network, CANDIDATES[0]]
    level = noise_level(Problem(bench.context, bench.image).observation)
    assert level == pytest.approx(sigma, rel=0.3)


MODEL = {"task": "any", "weights": {"upsampling bicubic": 2.0, "skips": -1.0}}


def learnt_config(make_config: MakeConfig, explore: float, **others: Any) -> Config:
    score = {"metric": "learnt", "learnt": [MODEL], "candidates": 200, "explore": explore}
    return make_config(score=score, cohort={"size": 8}, **others)


def test_what_was_learnt_ranks_without_a_bank_and_part_of_a_cohort_is_drawn(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    cohorts = {}
    for share, seed in ((0.0, 0), (0.25, 0), (0.25, 1)):
        bench = make_bench(learnt_config(make_config, share, seed=seed), encoded(), store=f"{share}-{seed}")
        assert bank_of(bench.context.config, bench.image) is None
        cohort = only(score_image(bench.context, bench.image))
        # The table of scores is in the store now, and the cohort is drawn as before.
        assert only(score_image(bench.context, bench.image)) == cohort
        cohorts[share, seed] = cohort
        scores = dict(zip(*(scores_of(bench)[name] for name in ("candidate", "learnt")), strict=True))
        assert all(each.score == scores[str(each.name)] for each in cohort)
    best, some, other = ([str(each.name) for each in cohort] for cohort in cohorts.values())
    assert best == sorted(scores, key=scores.__getitem__)[:8]
    assert best[:6] == some[:6] == other[:6]
    assert some[6:] != other[6:]
    assert len({*some}) == 8


@given(st.integers(1, 30), st.integers(1, 40), st.floats(0, 1), st.integers(0, 99))
def test_a_cohort_that_explores_has_its_size_and_its_best(count: int, size: int, share: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    order, drawn = random.permutation(count), random.random(count).astype(np.float32)
    cohort = explored(order, size, share, drawn).tolist()
    assert len(cohort) == len({*cohort}) == min(size, count)
    known = min(count, size - round(share * size))
    assert cohort[:known] == order[:known].tolist()
    assert cohort[known:] == sorted(cohort[known:], key=lambda at: drawn[at])


def test_an_image_of_one_pixel_shows_no_noise() -> None:
    assert noise_level(Observation(np.zeros((3, 1, 1), np.float32))) is None


def test_more_than_there_are_cannot_be_kept(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(cohort={"size": 50}), encoded())
    fill_bank(bench)
    assert len(only(score_image(bench.context, bench.image))) == 3


def test_a_score_that_is_not_a_number_comes_last(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    keys = fill_bank(bench)
    best, *others = [str(scored.name) for scored in only(score_image(bench.context, bench.image))]
    number, place = divmod(CANDIDATES.index(best), bench.context.config.score.chunk)
    part = np.load(bench.store.local_path(keys[number]))
    part["psd db strip spread"][place] = np.nan
    file = io.BytesIO()
    np.save(file, part)
    bench.store.put(keys[number], file.getvalue())
    bench.store.delete(bench.context.layout.scores(bench.image.id))
    scored = only(score_image(bench.context, bench.image))
    assert [str(one.name) for one in scored] == [*others, best]
    assert np.isnan(scored[-1].score)


def test_a_random_score_needs_neither_bank_nor_pixels(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(arms=["random"], score={"candidates": 20}, cohort={"size": 20})
    bench = make_bench(config, encoded())
    bench.store.delete(image_key(bench.image.file))
    assert bank_of(config, bench.image) is None
    first = only(score_image(bench.context, bench.image))
    assert first == only(score_image(bench.context, bench.image))
    assert [one.score for one in first] == sorted(one.score for one in first)
    assert all(0 <= one.score < 1 for one in first)
    other = score_image(bench.context, replace(bench.image, id="other"))
    bench.store.delete(bench.context.layout.scores(bench.image.id))
    reseeded = score_image(replace(bench.context, config=config.model_copy(update={"seed": 1})), bench.image)
    orders = {tuple(one.name for one in scored) for scored in (first, only(other), only(reseeded))}
    assert len(orders) == 3
    assert list(bench.store.keys("fingerprints")) == []


def test_scores_that_are_recorded_stand(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded())
    keys = fill_bank(bench)
    first = score_image(bench.context, bench.image)
    for key in keys:
        bench.store.delete(key)
    assert score_image(bench.context, bench.image) == first


def test_candidates_whose_part_of_the_bank_is_missing_come_last(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    keys = fill_bank(bench)
    best = str(only(score_image(bench.context, bench.image))[0].name)
    bench.store.delete(bench.context.layout.scores(bench.image.id))
    number = CANDIDATES.index(best) // bench.context.config.score.chunk
    bench.store.delete(keys[number])
    scored = only(score_image(bench.context, bench.image, {keys[number]}))
    assert len(scored) == len(CANDIDATES)
    assert [np.isnan(one.score) for one in scored] == sorted(np.isnan(one.score) for one in scored)
    assert np.isnan(next(one.score for one in scored if str(one.name) == best))
