"""This version reads every record of the runs that the first version left."""

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.fit.record import FIT_RECORDS
from orchestrator.pick.decide import Decision
from orchestrator.run.attempt import last_attempt
from orchestrator.run.decisions import DECISIONS
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import list_runs, read_run
from orchestrator.run.rows import read_rows
from orchestrator.settings.config import Config
from orchestrator.store import LocalStore
from tests.old_runs import FINISHED, INTERRUPTED, OLD_RUNS, unpack


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(unpack(tmp_path_factory.mktemp("store")))


def records(store: LocalStore, run: str, folder: str) -> list[str]:
    return [key for key in store.keys(f"{RunLayout(run).root}/{folder}") if key.endswith(".json")]


def test_no_record_of_theirs_has_a_format(store: LocalStore) -> None:
    kept = [json.loads(store.get(key)) for key in store.keys("runs") if key.endswith(".json")]
    assert len(kept) > 50
    assert not [record for record in kept if isinstance(record, dict) and "format" in record]


def test_all_are_listed_as_they_ended(store: LocalStore) -> None:
    states = {record.run: record.state.value for record in list_runs(store)[0]}
    assert states == {run: "finished" if run in FINISHED else "interrupted" for run in OLD_RUNS}


@pytest.mark.parametrize("run", OLD_RUNS)
def test_their_settings_are_still_settings(store: LocalStore, run: str) -> None:
    record = read_run(store, run)
    assert record.command == ("study" if run == "study" else "submit")
    config = Config.model_validate(record.config)
    assert config.network.width == 8


@pytest.mark.parametrize("run", OLD_RUNS)
def test_their_records_are_read(store: LocalStore, run: str) -> None:
    layout = RunLayout(run)
    attempt = last_attempt(store, layout)
    assert attempt is not None
    assert attempt.holder.number == 1
    assert attempt.standing.beat > 0
    inputs = read_inputs(store, layout)
    assert inputs is not None
    assert [image.name for image in inputs.images] == ["cat.png", "cup.png"][: 1 if run in INTERRUPTED else 2]
    for key in records(store, run, "fits"):
        record = FIT_RECORDS.read(store, key)
        assert record.state == "done"
        assert record.blind
    for key in records(store, run, "picks"):
        decision = Decision.of_record(DECISIONS.read(store, key))
        assert decision.order
        assert not decision.failed


def test_their_rows_are_read_and_blind(store: LocalStore) -> None:
    counts = {run: len(read_rows(store, RunLayout(run))) for run in OLD_RUNS}
    # Two images by two arms; by three methods of lottery, two with a dense round and two sparse ones; by one.
    assert counts == {"finished": 4, "lottery": 2 * 7, "study": 2, "interrupted": 0, "lottery-interrupted": 0}
    rows = [row for run in OLD_RUNS for row in read_rows(store, RunLayout(run))]
    assert all(row.blind and row.state.value == "restored" for row in rows)


@pytest.mark.parametrize("run", OLD_RUNS)
def test_they_are_shown(store: LocalStore, run: str, capsys: pytest.CaptureFixture[str]) -> None:
    def shown(*command: str) -> str:
        assert main([*command, "--store", store.url]) == 0
        return capsys.readouterr().out

    assert run in shown("runs")
    status: dict[str, Any] = json.loads(shown("status", run, "--json"))
    assert status["state"] == ("finished" if run in FINISHED else "interrupted")
    assert status["stages"]
    rows = json.loads(shown("results", run, "--json"))
    assert len(rows) == len(read_rows(store, RunLayout(run)))
    assert shown("results", run)
    assert "-- process" in shown("logs", run)


def test_a_run_of_a_newer_version_ends_every_command_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = LocalStore(unpack(tmp_path))
    layout = RunLayout("finished")
    newer = {
        layout.record: ("status finished", "resume finished", "cancel finished"),
        layout.claim(1).holder: ("status finished", "resume finished"),
        layout.claim(1).state: ("status finished", "resume finished"),
    }
    for key, commands in newer.items():
        kept = store.get(key)
        store.put(key, b'{"format": 99}')
        for command in commands:
            assert main([*command.split(), "--store", store.url]) == 2, command
            (line,) = capsys.readouterr().err.strip().splitlines()
            assert f"{store.show(key)} has format 99" in line
            assert "install that version" in line
        store.put(key, kept)
    assert main(["runs", "--store", store.url]) == 0


def test_what_a_newer_version_has_written_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = LocalStore(unpack(tmp_path))
    store.put(RunLayout("study").record, b'{"format": 99}')
    assert main(["runs", "--store", store.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(OLD_RUNS)
    assert [line for line in lines if line.startswith("study  unreadable ") and "has format 99" in line]
    store.put(RunLayout("finished").row("cat-c4c3493c"), b'{"format": 99}')
    assert main(["results", "finished", "--json", "--store", store.url]) == 65
    shown = capsys.readouterr()
    assert {row["image"] for row in json.loads(shown.out)} == {"cup.png"}
    assert shown.err.startswith("left out: the rows ")
    assert shown.err.count("\n") == 1
