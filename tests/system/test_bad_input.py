"""One run over everything that can be wrong with a file: each has its row, and none costs another its restoration."""

import csv
import io
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from orchestrator.images import decode
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.store import MARKER, LocalStore
from orchestrator.store.sums import SUMS
from tests.corpus import MAX_PIXELS, Case, write_corpus
from tests.system.conftest import CommandLine

LEAST = (
    f"ingest.max_pixels={MAX_PIXELS}",
    "network.width=8",
    "score.candidates=[12-1000001000001000001000001]",
    "score.draws=1",
    "cohort.size=1",
    "cohort.view=full",
    "fit.iterations=2",
    "fit.patience=2",
    "fit.block=2",
    "pick.full_fits=1",
    "keep.report_images=200",
)


@pytest.fixture
def cli(tmp_path: Path, ray_address: str) -> CommandLine:
    return CommandLine(tmp_path, ray_address)


def test_a_folder_of_all_that_is_wrong_ends_in_a_row_for_each_file(cli: CommandLine) -> None:
    corpus = cli.folder / "corpus"
    cases = {case.shown: case for case in write_corpus(corpus) if case.outcome != "left out"}

    done = cli.here(cli.submit("--images", "corpus", "--store", "store", "--run", "bad", settings=LEAST))

    assert done.returncode == 65, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    # The name of a file cannot steer the terminal.
    assert "\x1b[31mred" not in done.stdout + done.stderr
    command = cli.command("results", "bad", "--csv", "--store", "store")
    # Not as text: a name may hold a carriage return.
    table = subprocess.run(command, cwd=cli.folder, capture_output=True, check=True).stdout.decode()
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert Counter(row["image"] for row in rows) == Counter(cases.keys())
    wrong = {row["image"]: (row["state"], row["reason"]) for row in rows if not _is_as_said(row, cases[row["image"]])}
    assert wrong == {}

    store, layout = LocalStore(cli.folder / "store"), RunLayout("bad")
    inputs = read_inputs(store, layout)
    assert inputs is not None
    assert len(inputs.images) == sum(case.outcome == "restored" for case in cases.values())
    for image in inputs.images:
        given = decode((corpus / cases[image.name].file).read_bytes(), max_pixels=MAX_PIXELS)
        restored = decode(store.get(layout.restored("isnas-dip-blind", "pick", image.restored)), max_pixels=MAX_PIXELS)
        assert restored.pixels.shape == given.pixels.shape
        assert restored.encoding.dtype == given.encoding.dtype
        assert restored.encoding.alpha == given.encoding.alpha

    assert sorted(path.name for path in cli.folder.iterdir()) == ["corpus", "store"]
    files = [path for path in (cli.folder / "store").rglob("*") if path.is_file()]
    kept = [path.relative_to(cli.folder / "store").as_posix() for path in files]
    at_the_top = [key for key in kept if not key.startswith(("runs/bad/", "fingerprints/", "images/"))]
    assert {key for key in at_the_top if Path(key).name != SUMS} == {MARKER}
    assert store.children("runs") == ["bad"]
    page = store.get(layout.report).decode()
    assert "<script>alert(1)" not in page
    assert "\u202e" not in page


def _is_as_said(row: dict[str, str], case: Case) -> bool:
    return row["state"] == case.outcome and (case.reason or "") in row["reason"]
