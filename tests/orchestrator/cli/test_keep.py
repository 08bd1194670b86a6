"""The commands that look after a store: delete, prune, export, import, runs --sizes."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.cli.shown.units import size_of
from orchestrator.run.layout import RunLayout
from orchestrator.store import LocalStore
from tests.old_runs import OLD_RUNS, unpack

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(unpack(tmp_path))


@pytest.fixture
def command(store: LocalStore, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: str) -> tuple[int, str, str]:
        name, *rest = arguments
        status = main([name, "--store", store.url, *rest])
        out, err = capsys.readouterr()
        return status, out, err

    return call


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_delete_asks_first(store: LocalStore, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    status, _, err = command("delete", "study")
    assert (status, err.count("\n")) == (2, 1)
    assert "nobody can be asked here: give --yes" in err
    for answer in ("n\n", "\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        assert command("delete", "study")[0] == 2
    assert store.exists(RunLayout("study").record)
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert command("delete", "study")[:2] == (
        0,
        f"delete the run study in {store.url} with its results and restored images? [y/N] study is deleted\n",
    )
    assert list(store.keys(RunLayout("study").root)) == []
    assert command("delete", "finished", "--yes")[:2] == (0, "finished is deleted\n")
    status, _, err = command("delete", "finished", "--yes")
    assert status == 2
    assert "no run 'finished'" in err


def test_a_run_goes_out_and_comes_back(store: LocalStore, command: Command, tmp_path: Path) -> None:
    before = {key: store.get(key) for key in store.keys("runs/lottery")}
    path = str(tmp_path / "lottery.tar.zst")
    status, out, _ = command("export", "lottery", path)
    assert status == 0
    assert "verified, in " in out
    assert command("delete", "lottery", "--yes")[0] == 0
    status, out, _ = command("import", path)
    assert status == 0
    assert "results lottery" in out
    assert {key: store.get(key) for key in store.keys("runs/lottery")} == before
    status, _, err = command("import", str(tmp_path / "no.tar"))
    assert (status, "there is no" in err) == (2, True)


def test_prune_says_what_goes_and_asks(store: LocalStore, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command("prune", "--dry-run") == (0, "would delete nothing: all that is older is named by a run\n", "")
    status, out, _ = command("prune", "--keep", "0", "--older-than", "0s", "--dry-run")
    assert status == 0
    assert [line for line in out.splitlines() if "the run" in line] == [
        f"would delete the run {run}" for run in ("lottery-interrupted", "interrupted", "study", "lottery", "finished")
    ]
    assert "2 inputs that no run names" in out
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    assert command("prune", "--keep", "0")[0] == 2
    status, out, _ = command("prune", "--keep", "0", "--older-than", "0s", "--yes")
    assert status == 0
    assert "deleted 2 inputs that no run names, " in out
    assert [key for prefix in ("runs", "images", "fingerprints") for key in store.keys(prefix)] == []


@pytest.mark.parametrize(
    "arguments", [("--older-than", "soon"), ("--older-than", "-1d"), ("--keep", "-1"), ("--keep", "x")]
)
def test_ages_and_counts_that_are_none_are_mistakes(command: Command, arguments: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command("prune", *arguments)
    assert ended.value.code == 2


def test_runs_are_measured_on_request(store: LocalStore, command: Command) -> None:
    size = sum(len(store.get(key)) for key in store.keys("runs/study"))
    status, out, _ = command("runs", "--sizes")
    assert status == 0
    *lines, last = out.splitlines()
    assert [line for line in lines if line.startswith("study ") and size_of(size) in line]
    assert last.startswith("images: ")
    assert last.endswith(" shared by runs")
    sized = {each["run"]: each["bytes"] for each in json.loads(command("runs", "--sizes", "--json")[1])}
    assert sized.keys() == set(OLD_RUNS)
    assert sized["study"] == size
    assert "bytes" not in json.loads(command("runs", "--json")[1])[0]


def test_sizes_are_in_powers_of_a_thousand() -> None:
    sizes = {0: "0 B", 999: "999 B", 1000: "1 kB", 12_345: "12.3 kB", 999_600: "1 MB", 4_560_000_000: "4.56 GB"}
    assert {count: size_of(count) for count in sizes} == sizes
    assert size_of(10**16) == "1e+04 TB"
