from typing import Any

import pytest

from orchestrator.run.progress import Stage
from orchestrator.schedule import telemetry
from orchestrator.schedule.queue import QueueStanding
from orchestrator.schedule.telemetry import Gauges

USAGE = {"machine_hours": 2.5, "cpu_hours": 40.0, "gpu_hours": 0.75, "fit_gpu_hours": 0.5}
IDLE = QueueStanding(0, 0.0, {}, 0)


class Gauge:
    """A gauge of Ray's: it refuses values whose tags are not those that were declared."""

    published: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] = ()) -> None:
        assert description.endswith(".")
        self._name, self._keys = name, tag_keys

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self._keys)
        self.published[self._name, tuple(sorted(tags.items()))] = value


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> dict[Any, float]:
    monkeypatch.setattr(Gauge, "published", {}, raising=False)
    monkeypatch.setattr(telemetry, "Gauge", Gauge)
    return Gauge.published


def told(published: dict[Any, float], name: str) -> dict[str, float]:
    """A gauge's values by its tags, without the run's name, which all of them have."""
    found = {}
    for (gauge, tags), value in published.items():
        if gauge == name:
            assert ("run", "r1") in tags
            found[" ".join(text for tag, text in tags if tag != "run")] = value
    return found


def test_how_a_run_goes_is_published(published: dict[Any, float]) -> None:
    stages = [Stage("bank", 7, 9), Stage("score", 5, 6, 1), Stage("cohort", 20, 60, 4), Stage("full size", 3, 12)]
    standing = QueueStanding(running=4, gpus_in_use=0.5, pending={0.125: 3, 1.0: 2}, waiting=10)
    Gauges("r1").show([*stages, Stage("images", 1, 6)], standing, USAGE)
    assert told(published, "dip_images") == {"done": 1, "total": 6}
    assert told(published, "dip_fits") == {
        "cohort done": 20,
        "cohort total": 60,
        "full done": 3,
        "full total": 12,
    }
    assert told(published, "dip_running_fits") == {"": 4}
    assert told(published, "dip_waiting_fits") == {"": 15}
    assert told(published, "dip_gpu_hours") == {"": 0.75}
    assert told(published, "dip_machine_hours") == {"": 2.5}
    assert len(published) == 10


def test_what_is_shown_later_replaces_what_was_shown(published: dict[Any, float]) -> None:
    gauges = Gauges("r1")
    gauges.show([Stage("images", 1, 6)], QueueStanding(4, 1.0, {1.0: 2}, 3), USAGE)
    gauges.show([Stage("images", 6, 6)], IDLE, {**USAGE, "gpu_hours": 1.5})
    assert told(published, "dip_images") == {"done": 6, "total": 6}
    assert told(published, "dip_running_fits") == told(published, "dip_waiting_fits") == {"": 0}
    assert told(published, "dip_gpu_hours") == {"": 1.5}
    assert told(published, "dip_fits") == {}


def test_two_runs_are_told_apart(published: dict[Any, float]) -> None:
    for run, done in (("r1", 1), ("r2", 2)):
        Gauges(run).show([Stage("images", done, 6)], IDLE, USAGE)
    done = {tags: value for (name, tags), value in published.items() if name == "dip_images"}
    assert done[("run", "r1"), ("state", "done")] == 1
    assert done[("run", "r2"), ("state", "done")] == 2


def test_ray_takes_these_gauges() -> None:
    # With Ray's own gauges, which keep their values until somebody asks for them.
    stages = [Stage("cohort", 1, 2), Stage("full size", 0, 1), Stage("images", 0, 1)]
    Gauges("r1").show(stages, IDLE, USAGE)
