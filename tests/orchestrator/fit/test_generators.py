from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from orchestrator.errors import DamagedError, UserMistakeError
from orchestrator.fit import fit
from orchestrator.fit.arrays import read_arrays
from orchestrator.fit.cost import prior_cost
from orchestrator.fit.generators import put_generators
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.fit.subject import prior_subject
from tests import toy_generator
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.names import PriorName


class CrashError(Exception):
    """A process that ends in the middle of a fit."""


def bench_of(make: MakeBench, make_config: MakeConfig, encoded: Encoded, folder: Path, store: str = "store") -> Bench:
    settings = toy_generator.settings(folder, ["generator:toy", "adapted-generator:toy"], latent_share=0.4)
    config = make_config(**settings, fit={"iterations": 10, "patience": 10, "block": 2, "reveal": 0.5})
    bench = make(config, encoded(), simulate=True, store=store)
    put_generators(bench.store, bench.context.layout, config)
    return bench


def fitted(bench: Bench, name: str, crash: int | None = None) -> tuple[FitRecord, bytes]:
    torch.set_num_threads(1)
    context, job = bench.context, FitJob(bench.image, "full", PriorName(name), None)

    def told(iteration: int, error: float) -> None:
        if iteration == crash:
            raise CrashError

    subject = partial(prior_subject, context, job.image, job.view, PriorName(name))
    times = iter(range(0, 10**6, 100))
    fit.run_fit(context, job, subject, on_progress=told, clock=lambda: next(times))
    keys = fit_keys(context, job)
    record = read_record(bench.store, keys)
    assert record is not None
    return replace(record, seconds=0), read_arrays(bench.store, keys, record).output.tobytes()


@pytest.mark.parametrize("name", ["generator:toy", "adapted-generator:toy"])
def test_a_generator_is_fitted_and_one_that_crashed_ends_byte_equal(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, tmp_path: Path, name: str
) -> None:
    calm, broken = (bench_of(make_bench, make_config, encoded, tmp_path, store) for store in ("calm", "broken"))
    # What a run was begun with does not change with the user's file.
    (tmp_path / "toy.safetensors").unlink()
    record, output = fitted(calm, name)
    assert record.parameters == 3 + (360 if name.startswith("adapted") else 0)
    assert np.isfinite(np.frombuffer(output, np.float32)).all()
    for crash in (2, 4, 6, 10):
        with pytest.raises(CrashError):
            fitted(broken, name, crash)
    assert fitted(broken, name) == (record, output)


def test_a_file_that_is_another_than_the_settings_say_is_no_part_of_a_run(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, tmp_path: Path
) -> None:
    bench = bench_of(make_bench, make_config, encoded, tmp_path)
    context = bench.context
    key = context.layout.generator("toy")
    assert bench.store.get(key) == (tmp_path / "toy.safetensors").read_bytes()
    bench.store.delete(key)
    (tmp_path / "toy.safetensors").write_bytes(b"another")
    with pytest.raises(UserMistakeError, match="has another content than the settings say"):
        put_generators(bench.store, context.layout, context.config)
    (tmp_path / "toy.safetensors").unlink()
    with pytest.raises(UserMistakeError, match=r"generator toy: .*there is no such file"):
        put_generators(bench.store, context.layout, context.config)
    bench.store.put(key, b"another")
    with pytest.raises(DamagedError, match="not the one that the run was begun with"):
        prior_subject(context, bench.image, "full", PriorName("generator:toy"))


def test_its_cost_is_its_own_whatever_the_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, tmp_path: Path
) -> None:
    bench = bench_of(make_bench, make_config, encoded, tmp_path)
    config = bench.context.config
    cost = prior_cost(config, bench.image, "full", PriorName("generator:toy"))
    assert cost == config.generators[0].multiply_adds > 0
