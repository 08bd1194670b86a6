import json
from dataclasses import replace

import pytest
import torch

from orchestrator.arms.candidates import candidates_of
from orchestrator.run.layout import BankLayout, image_key
from orchestrator.score.bank import bank_of, bank_parts
from orchestrator.score.score import score_image
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from tests.orchestrator.score.given import fill_bank
from workers.fingerprints import CHEAP_METRICS


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


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
    bench.store.put(image_key(other.image.file), encoded(50, 48))
    assert fill_bank(other) == []
    score_image(bench.context, bench.image)
    score_image(other.context, other.image)
    assert {key: bench.store.get(key) for key in bench.store.keys("fingerprints")} == before


def test_a_part_says_what_it_was_made_of_and_is_the_same_when_it_is_made_again(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    key = fill_bank(bench)[0]
    spec = bank_of(bench.context.config, bench.image)
    assert spec is not None
    written = json.loads(bench.store.get(BankLayout(spec).key))
    assert written == BankLayout(spec).description | {"metrics": list(spec.metrics)}
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


def test_a_bank_gives_the_cheap_metrics_always_and_dear_ones_where_they_are_wanted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    image = make_bench(make_config(), encoded()).image
    plain, other, dear = (
        bank_of(make_config(score=score), image)
        for score in ({}, {"metric": "psd strip hist emd"}, {"also": ["task loss"]})
    )
    assert plain is not None
    assert plain == other
    assert plain.metrics == CHEAP_METRICS
    assert dear is not None
    assert dear.metrics == (*CHEAP_METRICS, "task loss")


def test_a_bank_is_made_of_what_the_task_measures(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    image = make_bench(make_config(), encoded()).image
    tasks = ({}, {"name": "inpaint"}, {"name": "jpeg"}, {"name": "super-resolve", "factor": 2}, {"name": "deblur"})
    plain, holes, jpeg, small, blurred = (bank_of(make_config(task=task), image) for task in tasks)
    assert plain == holes == jpeg
    assert plain is not None
    assert small is not None
    assert blurred is not None
    assert (plain.operator, small.operator, small.scale) == ("identity", "lanczos2 x2", 2)
    assert blurred.operator.startswith("blur ")
    # The image has 40 x 48 pixels.
    assert (plain.height, plain.width) == (64, 64)
    assert (small.height, small.width) == (64, 64)
    assert small.measurement == (3, 32, 32)
    native = bank_of(make_config(task=tasks[3], score={"view": "native"}), image)
    assert native is not None
    assert native.measurement == (3, 48, 48)
