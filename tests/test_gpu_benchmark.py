"""`benchmarks.gpu` times a fit as the project makes it; here on a CPU, where nothing is recorded. Nothing is timed."""

import json
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_fits import NETWORKS, agreement


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_every_way_runs_here_and_they_agree_to_rounding() -> None:
    setting = gpu.Setting("cpu", tiny=True, image=None)
    rows = list(agreement(setting))
    assert {row["network"] for row in rows} == set(NETWORKS[:2])
    # On a CPU nothing is recorded, so two fits are one.
    assert all(row["20 iterations"] == 0 for row in rows)


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
