"""Shared by the tests of scoring."""

from orchestrator.arms.candidates import candidates_of
from orchestrator.score.bank import bank_of, bank_parts, compute_part
from tests.orchestrator.conftest import Bench


def fill_bank(bench: Bench) -> list[str]:
    """Compute the parts that are missing, as a run does; returns their keys."""
    config = bench.context.config
    spec = bank_of(config, bench.image)
    assert spec is not None
    missing = [part for part in bank_parts(config, spec, candidates_of(config)) if not bench.store.exists(part.key)]
    for part in missing:
        compute_part(bench.store, part, config, "cpu")
    return [part.key for part in missing]
