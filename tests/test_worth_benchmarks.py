"""The pool of fits and what is made of it run; tiny, and nobody looks at the figures."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import pool, regularised
from benchmarks.scenes import Scene

NETWORKS = ("dip", "28-1101111101010110011101100")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(pool, "networks", lambda width: NETWORKS)
    monkeypatch.setattr(regularised, "NETWORKS", NETWORKS[:1])


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    words = ["--folder", str(tmp_path / "pool"), "--pictures", "cat", "--width", "8", "--side", "32"]
    return [*words, "--iterations", "3"]


def test_fits_are_kept_and_listed_and_combined(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["pool", *words, "--tasks", "denoise-25"])
    pool.main()
    assert "denoise-25 cat dip" in capsys.readouterr().out
    pool.main()
    assert "denoise-25 cat dip" not in capsys.readouterr().out
    options = pool.parser_of(None).parse_args(words[:-2])
    (first, second) = pool.kept(options, "denoise-25", "cat").values()
    assert first["output"].shape == second["delivered"].shape == (3, 32, 32)
    assert len(first["psnr_curve"]) == int(first["iterations"]) - 1 == 3
    scene = Scene(options, "denoise-25", "cat")
    figures = scene.combined(NETWORKS)
    assert {"pick", "mean", "stack", "delivered"} <= figures.keys()
    assert np.isfinite(list(figures.values())).all()


def test_a_loss_with_a_plugged_denoiser_is_fitted(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["regularised", *words, "--tasks", "denoise-25", "--ways", "none", "red 0.1"])
    regularised.main()
    assert "| red 0.1 |" in capsys.readouterr().out
