"""The numbers in which networks are computed; a CPU knows bfloat16 by the same autocast as a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workers.tape import Tape
from tests.workers.test_deterministic import make_fit
from workers.fitting import FitSettings
from workers.networks.steps import Step
from workers.precision import Precision, convolutions_in

SETTINGS = FitSettings(iterations=8, patience=8, step=Step.GRAPH)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("before", [True, False])
def test_float32_forbids_tf32_for_a_while_and_nothing_else_allows_it(before: bool) -> None:
    usual = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = before
    try:
        for precision in Precision:
            with convolutions_in(precision):
                assert torch.backends.cudnn.allow_tf32 == (before and precision is not Precision.FP32)
            assert torch.backends.cudnn.allow_tf32 == before
    finally:
        torch.backends.cudnn.allow_tf32 = usual


@pytest.mark.parametrize("prior", ["deep-decoder-8", "111-0011111011011011010100001"])
def test_bfloat16_computes_the_network_alone_and_costs_little(prior: str) -> None:
    fits = [make_fit(prior, settings=replace(SETTINGS, precision=each)) for each in (Precision.FP32, Precision.BF16)]
    seen: list[torch.dtype] = []

    def note(module: torch.nn.Module, given: object, output: Tensor) -> None:
        seen.append(output.dtype)

    convolution = next(each for each in fits[1].network.modules() if isinstance(each, torch.nn.Conv2d))
    convolution.register_forward_hook(note)
    for fit in fits:
        fit.advance(8)
    assert set(seen) == {torch.bfloat16}
    curves = [np.array(fit.result().held_out_curve) for fit in fits]
    assert fits[1].result().output.dtype == np.float32
    assert (curves[0] != curves[1]).any()
    np.testing.assert_allclose(curves[1], curves[0], rtol=0.15)


def test_a_recorded_fit_in_bfloat16_is_the_fit_byte_for_byte() -> None:
    settings = replace(SETTINGS, precision=Precision.BF16)
    started, recorded = (make_fit("deep-decoder-8", settings=settings, recorder=each) for each in (None, Tape()))
    for fit in (started, recorded):
        fit.advance(8)
    assert recorded.steps.failure is None
    assert recorded.result().output.tobytes() == started.result().output.tobytes()
