from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.cli import main
from orchestrator.run.layout import RunLayout
from orchestrator.settings import resolve
from orchestrator.store import LocalStore

NAS_DIP = "nas-dip-86-1100001100101100101100101"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rows = [
        {"image": image, "candidate": name, "psnr": psnr + shift, "held_out_error": 1 / psnr}
        for shift, image in enumerate(("cat", "moon", "coins"))
        for name, psnr in (("dip", 27.0), ("dip-draw-2", 28.0), (NAS_DIP, 29.0), ("deep-decoder-64", 20.0))
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "fits.parquet")
    return tmp_path / "fits.parquet"


def test_a_table_of_fits_becomes_a_table_that_a_run_takes(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "mine.yaml"
    words = ["--task", "denoise", "--sigma", "25", "--leave-out", "coins", "--networks", "2", "--output", str(output)]
    assert main(["study", "--portfolio", str(table), *words]) == 0
    told = capsys.readouterr().out
    assert f"denoise, noise 20 to 35: 8 fits of 2 pictures\n   1  {NAS_DIP:<45} +9.00 dB\n   2  dip " in told
    assert "each picture by the list of the others   1: 29.50  2: 29.50\n" in told
    assert "the best network of each picture   29.50\n" in told
    (arm,) = resolve("quickstart", [f"arms=[{{name: mine, like: portfolio, portfolio: {output}}}]"]).arms
    assert arm.portfolio is not None
    assert [each.networks for each in arm.portfolio] == [[NAS_DIP, "dip"]] * 2
    assert arm.portfolio[0].images == ["cat", "moon"]
    assert f"source: python -m orchestrator study --portfolio {table}"[:60] in output.read_text()


def test_a_study_of_the_store_is_a_table_too(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = LocalStore(tmp_path / "store")
    store.put(RunLayout("nas").study("table.parquet"), table.read_bytes())
    where = ["--store", str(tmp_path / "store")]
    assert main(["study", *where, "--portfolio", "nas", str(table), "--task", "inpaint", "--price", "1"]) == 2
    assert capsys.readouterr().err == (
        "study: the fits have no multiply_adds, so they have no price; leave out --price\n"
    )
    assert main(["study", *where, "--portfolio", "nas", "--task", "inpaint"]) == 0
    assert capsys.readouterr().out.startswith("inpaint: 12 fits of 3 pictures\n")


def test_mistakes_are_lines(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = ["--store", str(tmp_path / "store")]
    of_table = ["--portfolio", str(table), "--task", "denoise"]
    for words, line in (
        (["--portfolio", "nope"], "--portfolio nope: there is no such file, and no such study in this store; give a"),
        ([*of_table, "--networks", "0"], "--networks: one at least"),
        ([*of_table, "--price", "-1"], "--price: a number of dB, 0 or more"),
        ([*of_table, "--price", "nan"], "--price: a number of dB, 0 or more"),
        ([*of_table, "--leave-out", "cat,dog"], "--leave-out: the tables have no picture dog"),
        ([*of_table, "--output", str(tmp_path)], f"--output {tmp_path}: Is a directory"),
        (["--portfolio", str(table)], f"--portfolio {table}: it has no column task; say by --task of which task"),
        (["--images", "x"], "give --images and --candidates, or --portfolio to learn from finished fits"),
        (["--images", "x", "--candidates", "3", "--output", "f"], "--output: goes with --portfolio"),
        (["--images", "x", "--candidates", "3", "--price", "1"], "--price: goes with --portfolio"),
    ):
        assert main(["study", *store, *words]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"study: {line}"), told
        assert told.count("\n") == 1
