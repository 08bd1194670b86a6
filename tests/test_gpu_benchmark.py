"""`benchmarks.gpu` times a fit as the project makes it; here on a CPU, where nothing is recorded. Nothing is timed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import gpu
from benchmarks.fit import measurement, picture
from benchmarks.gpu_fits import NETWORKS
from benchmarks.gpu_step import StaticFit
from workers.fitting import Fit, FitSettings
from workers.networks import Network, prior_of
from workers.operators import Identity
from workers.seeds import generator_of


def network() -> Network:
    return prior_of("dip").build(3, 4, input_channels=3, generator=generator_of("weights"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("misled", [False, True])
def test_a_static_fit_is_the_fit_bit_for_bit(misled: bool) -> None:
    measured = measurement(picture(64))
    if misled:  # The hidden pixels contradict the image, so the rule stops the fit, and later iterations do not count.
        measured = replace(measured, pixels=np.where(measured.held_out, 1 - measured.pixels, measured.pixels))
    theirs = Fit(network(), measured, Identity(), FitSettings(iterations=40, patience=5), seed=5)
    theirs.advance(40)
    ours = StaticFit(network(), measured, set(), device="cpu", seed=5, patience=5)
    ours.record().advance(37)
    result = theirs.result()
    assert (result.iterations < 40) is misled
    np.testing.assert_array_equal(ours.curve[: result.iterations].numpy(), np.float32(result.held_out_curve))
    assert int(ours.stopping.best_iteration) == result.stop_iteration
    np.testing.assert_array_equal(ours.stopping.best_output[0].numpy(), result.output)


def test_sections_that_the_file_has_are_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        sys, "argv", ["gpu", "--device", "cpu", "--tiny", "--out", str(tmp_path), "--sections", "memory"]
    )
    gpu.main()
    shown = capsys.readouterr().out
    kept = json.loads((tmp_path / "gpu.json").read_text())
    assert {row["network"] for row in kept["sections"]["memory"]} == set(NETWORKS)
    assert "| px | network | planned |" in shown
    gpu.main()
    assert "planned" not in capsys.readouterr().out
