import re

import pytest
import torch

from orchestrator.errors import FitOutOfMemoryError
from orchestrator.fit.job import FitJob
from orchestrator.fit.memory import share_of_memory
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import PriorName


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(noise_seed=1), encoded())


def job_of(bench: Bench) -> FitJob:
    return FitJob(bench.image, "full", PriorName(CANDIDATES[0]))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
    ids=["Python", "CUDA", "CPU"],
)
def test_want_of_memory_is_told_with_the_size_that_would_fit(bench: Bench, error: Exception) -> None:
    with pytest.raises(FitOutOfMemoryError) as caught, share_of_memory(bench.context, job_of(bench)):
        raise error
    match = re.fullmatch(
        r"out of memory: fitting 48x40 pixels takes about [\d.]+ GB, and [\d.]+ GB are free; (\d+)x\1 pixels would fit,"
        r" or a lower network\.width",
        str(caught.value),
    )
    assert match
    # The size that did not fit is no advice.
    assert int(match[1]) ** 2 < 48 * 40


def test_other_errors_are_not_taken_for_want_of_memory(bench: Bench) -> None:
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    with pytest.raises(RuntimeError, match="illegal memory access"), share_of_memory(bench.context, job_of(bench)):
        raise error
