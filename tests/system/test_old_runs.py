"""Runs that the first version has begun, resumed by this one."""

import json
from pathlib import Path

import pytest

from tests.old_runs import INTERRUPTED, unpack
from tests.system.conftest import CommandLine, files_below


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> CommandLine:
    folder = tmp_path_factory.mktemp("old")
    unpack(folder).rename(folder / "dip-store")
    return CommandLine(folder, ray_address)


def records_of(cli: CommandLine, run: str) -> dict[str, bytes]:
    """The records of a run's fits and decisions, and its rows."""
    files = files_below(cli.folder / "dip-store/runs" / run)
    kinds = ("fits/", "picks/", "rungs/", "rows/")
    return {name: data for name, data in files.items() if name.endswith(".json") and name.startswith(kinds)}


@pytest.mark.parametrize("run", INTERRUPTED)
def test_what_was_interrupted_goes_on_and_no_fit_fails(cli: CommandLine, run: str) -> None:
    before = records_of(cli, run)
    done = cli.here(cli.driving("resume", run))
    assert done.returncode == 0, done.stdout + done.stderr
    rows = cli.rows(run)
    arms = {"isnas-dip-blind"} if run == "interrupted" else {"lottery-imp", "lottery-oes"}
    assert {row["arm"] for row in rows} == arms
    assert {(row["image"], row["state"], row["reason"], row["blind"]) for row in rows} == {
        ("cat.png", "restored", None, True)
    }
    # The records of the cohort are deleted when an image is done; those that are kept are the old ones, to the byte.
    after = records_of(cli, run)
    assert {name: data for name, data in after.items() if name in before}.items() <= before.items()
    assert after.keys() - before.keys()
    log = Path(cli.folder / f"dip-store/runs/{run}/claims/000002/log.txt").read_text(encoding="utf-8")
    assert "failed" not in log
    assert "taken up again" not in log


def test_what_was_interrupted_took_up_its_checkpoint(cli: CommandLine) -> None:
    files = files_below(cli.folder / "dip-store/runs/interrupted/rows")
    (record,) = [json.loads(data) for data in files.values()]
    assert record["format"] == 1
    (row,) = record["rows"]
    assert row["iterations"] >= 400


def test_what_was_finished_is_not_done_again(cli: CommandLine) -> None:
    before = records_of(cli, "study")
    done = cli.here(cli.driving("resume", "study"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert records_of(cli, "study") == before
