from pathlib import Path

import numpy as np
import pytest

from workers.metrics import ENTRY_POINTS, LEARNT, RANDOM, TASK_LOSS, metric_names, resolve_metric, uses_image
from workers.spectra import LOW_PASS_METRICS, METRICS, metric

RANDOM_STATE = np.random.default_rng(0)
DEGRADED = RANDOM_STATE.random((3, 64, 64), dtype=np.float32)
OUTPUT = RANDOM_STATE.random((3, 64, 64), dtype=np.float32)


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of modules that can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", METRICS)
def test_the_spectral_metrics_are_found_by_name(name: str) -> None:
    assert resolve_metric(name)(DEGRADED, OUTPUT) == metric(name)(DEGRADED, OUTPUT)


def test_the_task_loss_is_the_mean_squared_difference() -> None:
    expected = np.square(DEGRADED.astype(np.float64) - OUTPUT).mean()
    assert resolve_metric(TASK_LOSS)(DEGRADED, OUTPUT) == pytest.approx(expected, rel=1e-6)


def test_a_metric_can_be_an_object_of_a_module(modules: Path) -> None:
    (modules / "their_metrics.py").write_text(
        "class Metrics:\n    @staticmethod\n    def gap(degraded, output):\n        return abs(degraded -"
        " output).max()\n"
    )
    assert resolve_metric("their_metrics:Metrics.gap")(DEGRADED, OUTPUT) == np.abs(DEGRADED - OUTPUT).max()


def test_a_metric_can_be_an_entry_point_of_a_package(modules: Path) -> None:
    (modules / "offered_metrics.py").write_text("def gap(degraded, output):\n    return 7.0\n")
    folder = modules / "offered_metrics-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: offered-metrics\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(f"[{ENTRY_POINTS}]\nlargest gap = offered_metrics:gap\n")
    assert metric_names()[-1] == "largest gap"
    assert resolve_metric("largest gap")(DEGRADED, OUTPUT) == 7


def test_an_unknown_name_is_refused_with_the_nearest_and_with_all_there_are() -> None:
    with pytest.raises(
        ValueError, match=r"did you mean 'psd db strip mse'\?; there are: psd db mse, .*task loss, random"
    ):
        resolve_metric("psd db strip mes")
    with pytest.raises(ValueError, match="no metric is called 'sharpness'; there are"):
        resolve_metric("sharpness")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_module:metric", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("math:no_such_function", "AttributeError"),
        ("not a module:metric", "ValueError"),
        ("broken_metrics:metric", "ZeroDivisionError"),
        ("math:pi", "is float, which cannot be called"),
        ("math:", "is module, which cannot be called"),
    ],
)
def test_what_cannot_be_loaded_or_called_is_refused_on_one_line(name: str, reason: str, modules: Path) -> None:
    (modules / "broken_metrics.py").write_text("1 / 0\n")
    with pytest.raises(ValueError, match=f"the metric '{name}'.*{reason}") as caught:
        resolve_metric(name)
    assert "\n" not in str(caught.value)


def test_random_is_a_name_but_no_function() -> None:
    assert RANDOM in metric_names()
    with pytest.raises(ValueError, match="nothing to call"):
        resolve_metric(RANDOM)


def test_only_the_low_pass_metrics_random_and_learnt_do_not_look_at_the_image() -> None:
    assert {name for name in metric_names() if not uses_image(name)} == {*LOW_PASS_METRICS, RANDOM, LEARNT}
    assert uses_image("math:dist")
