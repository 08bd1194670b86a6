import io
import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from orchestrator.layout import BankLayout
from orchestrator.problem import load_degraded
from orchestrator.scoring import Scored, bank_of, bank_parts, candidates_of, compute_part, score_image
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.fingerprints import compute_bank, image_fingerprint, score_bank


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def fill_bank(bench: Bench) -> list[str]:
    """Compute the parts that are missing, as a run does; returns their keys."""
    config = bench.context.config
    spec = bank_of(config, bench.image)
    assert spec is not None
    missing = [part for part in bank_parts(config, spec, candidates_of(config)) if not bench.store.exists(part.key)]
    for part in missing:
        compute_part(bench.store, part, "cpu")
    return [part.key for part in missing]


def test_the_candidates_are_those_listed_or_as_many_as_wanted(make_config: MakeConfig) -> None:
    assert [candidate.id for candidate in candidates_of(make_config())] == list(CANDIDATES)
    few, many = (candidates_of(make_config(score={"candidates": count, "seed": 4})) for count in (5, 9))
    assert (len(few), many[:5]) == (5, few)
    assert candidates_of(make_config(score={"candidates": 5, "seed": 5})) != few


def test_a_bank_follows_the_settings_and_the_images_channels_but_not_its_exact_size(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    small = make_bench(make_config(), encoded(40, 48)).image
    large = replace(small, height=90, width=70)
    assert bank_of(make_config(), small) == bank_of(make_config(), large)
    assert bank_of(make_config(), small) != bank_of(make_config(), replace(small, channels=1))
    assert bank_of(make_config(), small) != bank_of(make_config(), replace(small, height=300, width=300))
    assert bank_of(make_config(), small) != bank_of(make_config(score={"draws": 2}), small)
    native = bank_of(make_config(score={"view": "native"}), large)
    assert native is not None
    assert (native.height, native.width) == (96, 96)


def test_every_candidate_is_in_one_part_of_the_size_that_is_set(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(score={"candidates": 7, "chunk": 3})
    spec = bank_of(config, make_bench(config, encoded()).image)
    assert spec is not None
    parts = bank_parts(config, spec, candidates_of(config))
    assert [len(part.candidates) for part in parts] == [3, 3, 1]
    assert [text for part in parts for text in part.candidates] == [c.id for c in candidates_of(config)]
    assert len({part.key for part in parts}) == 3


def test_the_parts_are_computed_once_and_serve_all_images_of_all_runs(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    keys = fill_bank(bench)
    assert len(keys) == 2
    before = {key: bench.store.get(key) for key in bench.store.keys("fingerprints")}
    other = Bench(replace(bench.context, run="second"), replace(bench.image, id="other", height=50))
    bench.store.put(other.context.layout.input(other.image.file), encoded(50, 48))
    assert fill_bank(other) == []
    score_image(bench.context, bench.image, 3)
    score_image(other.context, other.image, 3)
    assert {key: bench.store.get(key) for key in bench.store.keys("fingerprints")} == before


def test_a_part_says_what_it_was_made_of_and_is_the_same_when_it_is_made_again(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    key = fill_bank(bench)[0]
    spec = bank_of(bench.context.config, bench.image)
    assert spec is not None
    assert json.loads(bench.store.get(BankLayout(spec).key)) == BankLayout(spec).description
    first = bench.store.get(key)
    bench.store.delete(key)
    torch.manual_seed(99)
    assert fill_bank(bench) == [key]
    assert bench.store.get(key) == first


def test_a_longer_list_of_candidates_takes_the_full_parts_that_are_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    five = make_bench(make_config(score={"candidates": 5, "chunk": 2}), encoded())
    assert len(fill_bank(five)) == 3
    seven = Bench(replace(five.context, config=make_config(score={"candidates": 7, "chunk": 2})), five.image)
    assert len(fill_bank(seven)) == 2


@pytest.mark.parametrize("metric", ["psd db strip mse", "psd strip hist emd"])
def test_an_image_is_scored_by_the_metric_and_the_table_left_in_the_store(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, metric: str
) -> None:
    config = make_config(score={"metric": metric})
    bench = make_bench(config, encoded(noise_seed=1))
    fill_bank(bench)
    best = score_image(bench.context, bench.image, 2)
    spec = bank_of(config, bench.image)
    assert spec is not None
    fingerprint = image_fingerprint(load_degraded(bench.context, bench.image), spec.height, spec.width)
    expected = score_bank(compute_bank(candidates_of(config), spec), fingerprint, metric)
    order = np.argsort(expected)
    assert best == [Scored(CANDIDATES[at], float(expected[at])) for at in order[:2]]
    table = pq.read_table(bench.store.local_path(bench.context.layout.scores(bench.image.id))).to_pydict()
    assert table["candidate"] == list(CANDIDATES)
    assert table["score"] == expected.tolist()
    assert [CANDIDATES[table["rank"].index(rank)] for rank in (1, 2, 3)] == [CANDIDATES[at] for at in order]


def test_more_than_there_are_cannot_be_kept(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded())
    fill_bank(bench)
    assert len(score_image(bench.context, bench.image, 50)) == 3


def test_a_score_that_is_not_a_number_comes_last(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    keys = fill_bank(bench)
    best, *others = [scored.candidate for scored in score_image(bench.context, bench.image, 3)]
    number, place = divmod(CANDIDATES.index(best), bench.context.config.score.chunk)
    part = np.load(bench.store.local_path(keys[number]))
    part["spread"][place] = np.nan
    file = io.BytesIO()
    np.save(file, part)
    bench.store.put(keys[number], file.getvalue())
    scored = score_image(bench.context, bench.image, 3)
    assert [one.candidate for one in scored] == [*others, best]
    assert np.isnan(scored[-1].score)
    table = pq.read_table(bench.store.local_path(bench.context.layout.scores(bench.image.id))).to_pydict()
    assert table["rank"][CANDIDATES.index(best)] == 3


def test_a_random_score_needs_neither_bank_nor_pixels(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(score={"metric": "random", "candidates": 20})
    bench = make_bench(config, encoded())
    bench.store.delete(bench.context.layout.input(bench.image.file))
    assert bank_of(config, bench.image) is None
    first = score_image(bench.context, bench.image, 20)
    assert first == score_image(bench.context, bench.image, 20)
    assert [one.score for one in first] == sorted(one.score for one in first)
    assert all(0 <= one.score < 1 for one in first)
    other = score_image(bench.context, replace(bench.image, id="other"), 20)
    reseeded = score_image(replace(bench.context, config=config.model_copy(update={"seed": 1})), bench.image, 20)
    orders = {tuple(one.candidate for one in scored) for scored in (first, other, reseeded)}
    assert len(orders) == 3
    assert list(bench.store.keys("fingerprints")) == []
