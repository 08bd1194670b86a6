"""The command that verifies a store, on runs of the first version."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.run.attempt import RunState
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import read_run
from orchestrator.store import LocalStore
from tests.old_runs import unpack

Command = Callable[..., tuple[int, str, str]]
LAYOUT = RunLayout("interrupted")
SCORES = LAYOUT.scores("cat-c4c3493c")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    folder = unpack(tmp_path)
    for run in ("finished", "lottery", "study"):
        shutil.rmtree(folder / "runs" / run)
    return LocalStore(folder)


@pytest.fixture
def command(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["verify", "--store", store.url, *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_a_sound_store_has_status_0_and_is_counted(command: Command) -> None:
    status, out, err = command("--all")
    assert (status, err, out.count("\n")) == (0, "", 1)
    assert out.startswith("36 objects of 2 runs, ")
    assert out.endswith(" MB: no damage\n")
    assert command("interrupted")[0] == 0
    assert command("interrupted", "--json") == (0, "[]\n", "")


def test_damage_has_a_status_of_its_own_and_a_line_and_is_repaired_if_asked(
    store: LocalStore, command: Command
) -> None:
    store.put(SCORES, b"PAR1")
    status, out, _ = command("interrupted")
    lines = out.splitlines()
    assert status == 74
    assert lines[0] == (
        f"damaged: {SCORES}: it is no whole Parquet table; --repair removes it, and resume makes it again"
    )
    assert lines[1].endswith(": 1 damaged, missing or left over; 0 cannot be repaired from the store")
    (shown,) = json.loads(command("--all", "--json")[1])
    assert (shown["key"], shown["remedy"], shown["removes"]) == (SCORES, "remove", [SCORES])
    status, out, err = command("--all", "--repair")
    assert (status, err) == (0, "")
    assert out.endswith("removed 1 object; `resume` makes again what its run needs\n")
    assert not store.exists(SCORES)
    assert read_run(store, "interrupted").state is RunState.INTERRUPTED
    assert command("interrupted")[0] == 0


def test_what_cannot_be_repaired_keeps_its_status(store: LocalStore, command: Command) -> None:
    store.put(SCORES, b"PAR1")
    store.put(LAYOUT.record, b"{")
    status, out, err = command("interrupted", "--repair")
    assert (status, out.count("damaged: ")) == (74, 2)
    assert err.startswith("not repaired: ")
    assert store.exists(SCORES)


def test_a_run_that_is_not_there_is_a_mistake(command: Command) -> None:
    assert command("nothing")[0] == 2
    assert command("../x")[0] == 2
    with pytest.raises(SystemExit, match="2"):
        command()
