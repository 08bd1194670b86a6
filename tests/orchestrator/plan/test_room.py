from pathlib import Path

from orchestrator.arms.candidates import candidates_of
from orchestrator.plan.make import make_plan
from orchestrator.plan.room import store_bytes
from orchestrator.run.inputs import Source
from orchestrator.score.bank import bank_of, bank_parts, compute_part
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import CANDIDATES, MakeConfig


def test_every_output_that_is_kept_counts(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    values = 40 * 48 * 3

    def taken(**changes: object) -> int:
        config = make_config(score={"metric": "random", "candidates": list(CANDIDATES)}, **changes)
        return store_bytes(make_plan(store, config, Source(str(folder))), store)

    crops = {"view": "crop", "size": 4}
    none, full, every = (
        taken(cohort=crops, pick={"full_fits": 2}, keep={"fits": kept}) for kept in ("none", "full", "all")
    )
    curves = 16 * make_config().fit.iterations
    assert full - none == 2 * (3 * 4 * values + curves)
    # The cohort's fits are of padded crops, and have no output that has seen all pixels.
    assert every - full == 3 * (2 * 4 * 64 * 64 * 3 + curves)
    assert taken(fit={"reveal": 0.0}, keep={"fits": "full"}) < taken(keep={"fits": "full"})
    larger = taken(task={"name": "super-resolve", "factor": 4}, cohort=crops, pick={"full_fits": 2})
    assert larger - full > 15 * 2 * 3 * 4 * values
    assert not Path(store.url).exists()


def test_a_bank_counts_until_it_is_there(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    config = make_config(score={"candidates": [CANDIDATES[0]]})
    plan = make_plan(store, config, Source(str(folder)))
    spec = bank_of(config, plan.images[0])
    assert spec is not None
    before = store_bytes(plan, store)
    parts = bank_parts(config, spec, candidates_of(config))
    for part in parts:
        compute_part(store, part, config, "cpu")
    size = sum(len(store.get(part.key)) for part in parts)
    assert size <= before - store_bytes(plan, store) <= 1.2 * size
