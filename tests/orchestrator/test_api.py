import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from orchestrator import api
from orchestrator.errors import ConfigError, OrchestratorError, UserMistakeError
from orchestrator.plan.request import NewRun, OldRun, Request
from orchestrator.run.attempt import RunState
from orchestrator.run.record import RunRecord
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig, leave_run

RECORD = RunRecord("r1", "2026-01-31T14:25:01+00:00", 1, 0, False, {}, {}, state=RunState.FINISHED)


@pytest.fixture
def images(tmp_path: Path, encoded: Encoded) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(9, 7))
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Request, dict[str, Any]]]:
    """The requests, and where; nothing is started."""
    asked: list[tuple[Request, dict[str, Any]]] = []
    monkeypatch.setattr(api, "_start", lambda request, **where: asked.append((request, where)))
    return asked


def test_importing_the_package_and_its_interface_is_light() -> None:
    code = (
        "import sys, orchestrator\n"
        "assert not {'pydantic', 'orchestrator.api'} & set(sys.modules)\n"
        "orchestrator.submit, orchestrator.Run\n"
        "assert not {'torch', 'ray', 'pyarrow', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_the_package_offers_the_interface_and_nothing_else() -> None:
    assert all(
        getattr(orchestrator, name) is getattr(api, name) for name in orchestrator.__all__ if name != "__version__"
    )
    assert {*orchestrator.__all__} <= {*dir(orchestrator)}
    with pytest.raises(AttributeError, match="no attribute 'submitt'"):
        _ = orchestrator.submitt  # type: ignore[attr-defined]


def test_arguments_become_settings_and_a_source(
    images: Path, started: list[tuple[Request, dict[str, Any]]], tmp_path: Path
) -> None:
    api.submit(
        images,
        simulate=True,
        arms=["dip", "random"],
        task="deblur",
        kernel=[[0.25, 0.5, 0.25]],
        sigma=(1, 2),
        effort="quick",
        settings={"fit.iterations": 7, "network.input_channels": "image"},
        store=tmp_path / "store",
        run="mine",
        background=False,
        dashboard=True,
    )
    ((request, where),) = started
    assert where == {"background": False, "dashboard": True}
    assert isinstance(request, NewRun)
    assert (request.run, request.command, request.simulate) == ("mine", "submit", True)
    assert request.source.images == str(images)
    plan = request.plan()
    assert (plan.config.task.name, plan.config.task.kernel, plan.config.task.sigma) == (
        "deblur",
        [[0.25, 0.5, 0.25]],
        (1, 2),
    )
    assert [arm.name for arm in plan.arms] == ["dip", "random"]
    assert (plan.config.fit.iterations, plan.config.network.width) == (7, 32)


def test_settings_are_taken_as_the_command_line_has_them_too(
    images: Path, started: list[tuple[Request, dict[str, Any]]], tmp_path: Path
) -> None:
    api.study(images, candidates=3, settings=["fit.iterations=7", "score.draws=1"], store=tmp_path / "store")
    api.resume("r1", settings=["resources.parallel=1"], store=left(tmp_path))
    (study, _), (resumed, _) = started
    plan = study.plan()
    assert (plan.command, plan.simulate, plan.config.fit.iterations) == ("study", True, 7)
    assert plan.candidates == 3
    assert isinstance(resumed, OldRun)
    assert (resumed.run, resumed.assignments) == ("r1", ("resources.parallel=1",))


def left(tmp_path: Path) -> str:
    """A store with a run."""
    store = LocalStore(tmp_path / "left")
    leave_run(store, RECORD)
    return store.url


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"effort": "slow"}, ConfigError, "there is no 'slow'"),
        ({"mask_known": "grey"}, UserMistakeError, "white or black"),
        ({"simulate": True, "references": "clean"}, UserMistakeError, "give no references"),
        ({"settings": "fit.iterations=7"}, UserMistakeError, "give a dictionary or a list"),
        ({"run": "../x"}, UserMistakeError, "letters, digits"),
        ({"store": "gs://x"}, UserMistakeError, "no stores at gs://"),
        ({"ship_code": True}, UserMistakeError, "address of a cluster's dashboard"),
        ({"task": "dehaze"}, ConfigError, "--task: "),
        ({"factor": 2}, UserMistakeError, "--factor: the task is denoise"),
        ({"itertions": 3}, TypeError, "no option 'itertions'"),
    ],
)
def test_what_cannot_be_done_as_asked_is_an_error_of_the_project(
    images: Path, tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        api.submit(images, **{"store": str(tmp_path / "store"), **arguments})
    assert not (tmp_path / "store").exists()


def test_a_folder_that_is_not_there_is_an_error_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(UserMistakeError, match="there is no such folder"):
        api.submit("/no/such", store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_run_that_is_not_there_cannot_be_resumed_or_held(tmp_path: Path) -> None:
    for call in (api.resume, api.Run):
        with pytest.raises(OrchestratorError, match="no run 'nope'"):
            call("nope", store=tmp_path / "store")


def test_runs_are_listed_oldest_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "left")
    leave_run(store, RECORD)
    leave_run(store, replace(RECORD, run="a-later", created="2026-02-01"))
    assert [run.name for run in api.runs(store.url)] == ["r1", "a-later"]
    assert repr(api.runs(store.url)[0]) == f"Run('r1', store={store.url!r})"
    assert api.runs(tmp_path / "empty") == []


def test_the_store_is_the_one_of_the_environment_where_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_config: MakeConfig
) -> None:
    monkeypatch.setenv("DIP_STORE", left(tmp_path))
    assert [run.name for run in api.runs()] == ["r1"]
    assert api.Run("r1").status().state is RunState.FINISHED
