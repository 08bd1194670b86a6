from pathlib import Path

import pytest

from orchestrator.config import Config
from orchestrator.cpus import cpu_count
from orchestrator.errors import UserMistakeError
from orchestrator.layout import RunLayout
from orchestrator.plan import Plan, make_plan
from orchestrator.resources import Machine
from orchestrator.run import check_run_name
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    path = tmp_path / "images"
    path.mkdir()
    for name in ("a.png", "b.png"):
        (path / name).write_bytes(encoded(9, 7))
    (path / "notes.txt").write_text("x")
    return path


def planned(store: LocalStore, folder: Path, config: Config) -> Plan:
    return make_plan(store, config, folder)


def test_a_plan_knows_the_images_and_writes_nothing(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    plan = make_plan(store, make_config(), folder, run="mine")
    assert plan.run == "mine"
    assert [image.name for image in plan.images] == ["a.png", "b.png"]
    assert [rejected.name for rejected in plan.rejected] == ["notes.txt"]
    assert not plan.simulate
    assert not Path(store.url).exists()


def test_a_run_without_a_name_is_given_one(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    assert check_run_name(planned(store, folder, make_config()).run)


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, (3, 3, 2, 10)),
        ({"cohort": {"size": 2}}, (3, 2, 2, 8)),
        ({"cohort": {"size": 50}}, (3, 3, 2, 10)),
        ({"score": {"candidates": 40}}, (40, 3, 2, 10)),
        ({"pick": {"full_fits": 9}}, (3, 3, 3, 12)),
        ({"cohort": {"view": "full"}}, (3, 3, 0, 6)),
        ({"score": {"candidates": 1}}, (1, 1, 1, 4)),
    ],
)
def test_the_trials_are_counted(
    store: LocalStore,
    folder: Path,
    make_config: MakeConfig,
    changes: dict[str, object],
    counts: tuple[int, int, int, int],
) -> None:
    plan = planned(store, folder, make_config(**changes))
    assert (plan.candidates, plan.cohort_size, plan.full_fits, plan.trials) == counts


def test_a_name_that_is_taken_is_refused(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    store.put(RunLayout("mine").record, b"{}")
    with pytest.raises(UserMistakeError, match=r"--run mine: .* has a run of this name"):
        make_plan(store, make_config(), folder, run="mine")
    assert make_plan(store, make_config(), folder, run="mine2").run == "mine2"


def test_a_name_that_cannot_be_one_is_refused(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    with pytest.raises(UserMistakeError, match="letters, digits"):
        make_plan(store, make_config(), folder, run="../mine")


def test_images_larger_than_is_set_are_rejected(store: LocalStore, folder: Path, make_config: MakeConfig) -> None:
    with pytest.raises(UserMistakeError, match="none of its 3 files"):
        planned(store, folder, make_config(ingest={"max_pixels": 62}))
    assert len(planned(store, folder, make_config(ingest={"max_pixels": 63})).images) == 2


def test_references_and_simulation_reach_the_images(
    store: LocalStore, folder: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    simulated = make_plan(store, make_config(), folder, simulate=True)
    assert simulated.simulate
    assert all(image.reference == image.file for image in simulated.images)
    referenced = make_plan(store, make_config(), folder, references=folder)
    assert [upload.reference_path for upload in referenced.uploads] == [folder / "a.png", folder / "b.png"]


def test_this_process_may_use_a_cpu() -> None:
    assert cpu_count() >= 1


def test_an_image_that_would_not_fit_into_memory_is_rejected_before_anything_runs(
    store: LocalStore, tmp_path: Path, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = tmp_path / "mixed"
    images.mkdir()
    for name, side in (("small", 64), ("large", 640)):
        (images / f"{name}.png").write_bytes(encoded(side, side))
    monkeypatch.setattr("orchestrator.plan.this_machine", lambda: Machine(cpus=1, memory=64 * 2**20))
    plan = make_plan(store, make_config(), images)
    assert [image.name for image in plan.images] == ["small.png"]
    assert plan.rejected[0].name == "large.png"
    assert "too large" in plan.rejected[0].reason
    (images / "small.png").unlink()
    with pytest.raises(UserMistakeError, match=r"large\.png"):
        make_plan(store, make_config(), images)
