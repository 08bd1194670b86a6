"""Whole runs: the command line, a real Ray, a real folder."""

import csv
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from orchestrator.ingest import bring
from orchestrator.ingest.bring import bring_one
from orchestrator.ingest.folder import Upload
from orchestrator.run.layout import image_key
from orchestrator.store import Store
from tests.system.conftest import PATIENCE_S, RESULT_KEYS, TINY, CommandLine, save_rgb, smooth


def without_gone(store: Store, upload: Upload, **options: Any) -> str | None:
    """Bring an image; one that is there when the run is planned is gone when it is worked on."""
    why_not = bring_one(store, upload, **options)
    if upload.image.name == "gone.png":
        store.delete(image_key(upload.image.file))
    return why_not


def test_a_folder_of_mixed_images_is_restored_and_what_cannot_be_is_one_row_each(
    cli: CommandLine, ray_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = CommandLine(cli.folder, ray_address)
    photos = cli.folder / "photos"
    save_rgb(photos / "colour.png", noise=0.1)
    save_rgb(photos / "gone.png", phase=1, noise=0.1)
    deep = np.rint(smooth(65, 80, 1)[..., 0] * 65535).astype(np.uint16)
    tifffile.imwrite(photos / "deep.tif", deep)
    transparent = np.rint(smooth(64, 64, 4) * 255).astype(np.uint8)
    (photos / "sub").mkdir()
    Image.fromarray(transparent).save(photos / "sub" / "alpha <b>.png")
    whole = (photos / "colour.png").read_bytes()
    (photos / "broken.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(np.full((1, 1), 90, np.uint8)).save(photos / "pixel.bmp")

    monkeypatch.setattr(bring, "bring_one", without_gone)
    done = cli.here(cli.submit("--images", "photos", "--run", "mixed"))

    assert done.returncode == 65, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rows = {row["image"]: row for row in cli.rows("mixed")}
    assert set(rows) == {"colour.png", "deep.tif", "sub/alpha <b>.png", "broken.png", "pixel.bmp", "gone.png"}
    assert all(set(row) == RESULT_KEYS for row in rows.values())
    assert rows["broken.png"]["state"] == "rejected"
    assert "truncated" in rows["broken.png"]["reason"]
    assert rows["gone.png"]["state"] == "failed"
    assert "holds no images/" in rows["gone.png"]["reason"]
    restored = [row for name, row in rows.items() if name not in {"broken.png", "gone.png"}]
    assert all(row["state"] == "restored" and row["psnr"] is None and row["candidate"] for row in restored)
    assert rows["colour.png"]["held_out_error"] > 0
    assert rows["pixel.bmp"]["held_out_error"] is None

    picks = cli.folder / "dip-store/runs/mixed/restored/isnas-dip-blind/pick"
    with Image.open(picks / "colour.png") as image:
        assert (image.size, image.mode) == ((64, 70), "RGB")
    assert tifffile.imread(picks / "deep.tif").dtype == np.uint16
    assert tifffile.imread(picks / "deep.tif").shape == (65, 80)
    with Image.open(picks / "sub/alpha <b>.png") as image:
        np.testing.assert_array_equal(np.asarray(image)[..., 3], transparent[..., 3])
    with Image.open(picks / "pixel.png") as image:
        assert image.size == (1, 1)

    run = cli.folder / "dip-store/runs/mixed"
    assert len(list(csv.DictReader((run / "results.csv").read_text().splitlines()))) == 6
    assert pq.read_table(run / "results.parquet").num_rows == 6
    page = (run / "report/index.html").read_text()
    assert "alpha &lt;b&gt;.png" in page
    assert "<b>.png" not in page
    assert [(r["run"], r["state"], r["images"]) for r in cli.records()] == [("mixed", "finished", 6)]


def test_a_simulation_restores_what_it_has_degraded_and_the_papers_own_method_runs(
    cli: CommandLine, ray_address: str
) -> None:
    cli = CommandLine(cli.folder, ray_address)
    save_rgb(cli.folder / "clean/a.png", height=100, width=130)
    settings = [*TINY[:-4], "fit.iterations=150", "fit.average=0.9", "cohort.iterations=20", "pick.full_fits=1"]
    command = ["--images", "clean", "--simulate", "--run", "sim", "--arms", "isnas-dip"]
    done = cli.here(cli.submit(*command, settings=[*settings, "score.metric=psd strip hist emd"]))
    assert done.returncode == 0, done.stderr
    (row,) = cli.rows("sim")
    assert (row["arm"], row["rule"], row["stopping"]) == ("isnas-dip", "weighted-mean", "held-out")
    assert 19 < row["psnr_degraded"] < 22
    assert row["psnr"] > row["psnr_degraded"] + 3
    assert row["psnr_mean"] is None
    assert row["seconds"] > 0


@pytest.mark.usefixtures("cold")
def test_ctrl_c_ends_ray_and_leaves_what_is_finished(cli: CommandLine) -> None:
    for number in range(3):
        save_rgb(cli.folder / f"noisy/{number}.png", phase=number, noise=0.1)
    settings = [*TINY, "cohort.size=1", "pick.full_fits=1", "fit.iterations=12", "fit.patience=12"]
    # The last image has so much to do that the run cannot end before it is interrupted.
    save_rgb(cli.folder / "noisy/large.png", height=600, width=600, noise=0.1)
    process = subprocess.Popen(
        cli.submit(
            "--images", "noisy", "--run", "stopped", settings=[*settings, "fit.iterations=100000", "fit.patience=40"]
        ),
        cwd=cli.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        family = wait_for_rows(process, cli.folder / "dip-store/runs/stopped/rows")
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == 130, output + errors
    assert "interrupted" in output
    assert "Traceback" not in output + errors
    _, alive = psutil.wait_procs(family, timeout=60)
    assert [p.name() for p in alive] == []
    (run,) = cli.records()
    assert run["state"] == "interrupted"
    rows = cli.rows("stopped")
    assert 1 <= len(rows) < 4
    assert all(
        (cli.folder / "dip-store/runs/stopped/restored/isnas-dip-blind/pick" / row["image"]).exists() for row in rows
    )
    assert (cli.folder / "dip-store/runs/stopped/results.csv").exists()


def wait_for_rows(process: subprocess.Popen[str], rows: Path) -> list[psutil.Process]:
    """Wait until a first image is done; all processes the run has started by then."""
    deadline = PATIENCE_S
    watched = psutil.Process(process.pid)
    while deadline > 0 and process.poll() is None:
        if rows.is_dir() and any(path.suffix == ".json" and not path.name.startswith(".") for path in rows.iterdir()):
            return watched.children(recursive=True)
        deadline -= 1
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"no image was done: {process.poll()}")
