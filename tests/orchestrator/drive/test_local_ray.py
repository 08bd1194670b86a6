import itertools
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

from orchestrator.drive import local_ray
from orchestrator.errors import RayLostError
from orchestrator.resources.share import Resources
from tests.orchestrator.resources.left import leave_behind


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets after how many questions Ray's node is there."""

    def there_after(questions: int) -> None:
        asked = itertools.count(1)

        def get_node(address: str, node: str) -> str:
            if next(asked) <= questions:
                raise RuntimeError(f"no node {node}")
            return f"{node} at {address}"

        monkeypatch.setattr(ray._private.services, "get_node", get_node)

    monkeypatch.setattr(local_ray, "_LOOK_AGAIN_S", 0.001)
    return there_after


def test_a_ray_that_starts_slowly_is_waited_for(node: Callable[[int], None]) -> None:
    node(40)
    before = ray._private.services.get_node
    with local_ray.patient_start():
        assert ray._private.services.get_node("here", node="n1") == "n1 at here"
    assert ray._private.services.get_node is before


def test_a_ray_that_does_not_start_is_given_up(node: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ray, "_START_S", 0.01)
    node(10**9)
    with local_ray.patient_start(), pytest.raises(RuntimeError, match="no node n1"):
        ray._private.services.get_node("here", "n1")


def test_workers_import_nothing_from_the_drivers_working_directory() -> None:
    job = local_ray.OurPlaces()
    # What Ray adds: the folder of the script, and the working directory.
    job._py_driver_sys_path.extend([sys.path[-1], "/where/others/write"])
    sent = job._serialize()
    assert sys.path[-1].encode() in sent
    assert b"/where/others/write" not in sent


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_that_goes_away_pauses_a_run_as_sigterm_does(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with local_ray.interruptible() as check:
        check()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
        with pytest.raises(KeyboardInterrupt):
            check()
    assert signal.getsignal(number) is before


def test_a_run_begun_with_nohup_does_not_hear_that_its_terminal_goes_away() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with local_ray.interruptible() as check:
            signal.raise_signal(signal.SIGHUP)
            check()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("dashboard", [True, False])
def test_a_ray_that_does_not_start_pauses_the_run_and_leaves_no_files_nor_those_of_killed_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, dashboard: bool
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    leave_behind(tmp_path, "ray")
    made: list[Path] = []

    def fails(**options: Any) -> None:
        made.append(Path(options["_temp_dir"]).parent)
        assert list(tmp_path.iterdir()) == made
        assert stat.S_IMODE(made[0].stat().st_mode) == 0o700
        raise ValueError("the dashboard\ndid not answer")

    monkeypatch.setattr(ray, "init", fails)
    with (
        pytest.raises(RayLostError, match=r"did not start on this machine \(ValueError: the dashboard did not") as lost,
        local_ray.local_ray(Resources(1, 1, "cpu", 0.0, 1e9), dashboard=dashboard),
    ):
        pass
    assert ("--no-dashboard" in str(lost.value)) is dashboard
    assert list(tmp_path.iterdir()) == []
