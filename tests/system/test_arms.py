"""Whole runs with several arms and of other tasks: what arms share, and what none of them may see."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from orchestrator.images import encode_mask
from tests.system.conftest import TINY, CommandLine, files_below, save_rgb, smooth

BLIND_FILES = ("picks", "restored", "rungs", "scores")
BLIND = (
    "image",
    "arm",
    "state",
    "candidate",
    "rule",
    "stopping",
    "note",
    "stop_iteration",
    "held_out_error",
    "iterations",
    "delivered",
    "stack_weights",
    "classical",
    "held_out_classical",
)
ARMS = (
    "arms=[{name: halved, like: isnas-dip-blind, size: 4, full_fits: 1, halving: synchronous},"
    " {name: whole, like: isnas-dip-blind, size: 4}, {name: again, like: all}, isnas-dip, dip,"
    " {name: listed, like: portfolio, portfolio: [{task: denoise, noise: [0, 255], networks: [dip, deep-decoder-8]}]}]"
)


@pytest.fixture
def cli(tmp_path: Path, ray_address: str) -> CommandLine:
    return CommandLine(tmp_path, ray_address)


def blind_part(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What may not depend on references, the estimated PSNR included."""
    return [{key: row[key] for key in (*BLIND, "psnr_low", "psnr_high")} for row in rows]


def assert_equally_blind(cli: CommandLine, *names: str) -> None:
    runs = cli.folder / "dip-store/runs"
    for what in BLIND_FILES:
        first, *others = (files_below(runs / run / what) for run in names)
        assert all(other == first for other in others), what
    rows = [blind_part(cli.rows(run)) for run in names]
    assert all(other == rows[0] for other in rows[1:])


def succeed(cli: CommandLine, *arguments: str, settings: tuple[str, ...]) -> str:
    done = cli.here(cli.submit(*arguments, settings=settings))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def enlarged(path: Path, factor: int, phase: float = 0) -> None:
    """A clean picture, and in ``small`` beside its folder the mean of ``factor`` x ``factor`` of its pixels."""
    pixels = smooth(70, 64, 3, phase)
    small = pixels.reshape(70 // factor, factor, 64 // factor, factor, 3).mean(axis=(1, 3))
    for where, values in ((path, pixels), (path.parent.parent / "small" / path.name, small)):
        where.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.rint(values * 255).astype(np.uint8)).save(where)


def test_arms_share_their_fits_and_none_of_them_sees_a_reference(cli: CommandLine) -> None:
    for image, phase in (("a.png", 0), ("b.png", 2)):
        save_rgb(cli.folder / "noisy" / image, phase=phase, noise=0.1)
        save_rgb(cli.folder / "clean" / image, phase=phase)
    settings = (*TINY, ARMS, "cohort.first_rung=2", "keep.fits=all", "classical.use=true")
    truths = {"none": (), "clean": ("--references", "clean")}
    told = {
        run: succeed(cli, "--images", "noisy", "--run", run, *truth, settings=settings) for run, truth in truths.items()
    }
    assert_equally_blind(cli, *truths)

    rows = {run: {(row["image"], row["arm"]): row for row in cli.rows(run)} for run in truths}
    clean = rows["clean"]
    assert list(clean) == [
        (i, a) for i in ("a.png", "b.png") for a in ("halved", "whole", "again", "isnas-dip", "dip", "listed")
    ]
    assert all(row["psnr"] is None for row in rows["none"].values())
    assert all(row["psnr"] > 0 for row in clean.values())
    assert all(row["psnr_oracle_stop"] >= (row["psnr_before_reveal"] or row["psnr"]) - 1e-3 for row in clean.values())
    assert {arm for (_, arm), row in clean.items() if row["psnr_mean"] is not None} == {"whole", "again", "listed"}

    run = cli.folder / "dip-store/runs/clean"
    for image in ("a.png", "b.png"):
        # The same cohort in two arms: the same fits, and so the same files.
        same = [files_below(run / "restored" / arm) for arm in ("whole", "again")]
        assert same[0] == same[1]
        assert {"pick/a.png", "mean/a.png", "spread/a.png.tif"} <= set(same[0])
        assert clean[image, "whole"] == clean[image, "again"] | {"arm": "whole"}
        assert clean[image, "halved"]["iterations"] < clean[image, "whole"]["iterations"]
        assert clean[image, "dip"]["candidate"] == "dip"
        assert clean[image, "listed"]["candidate"] in ("dip", "deep-decoder-8")
        (fits,) = (run / "fits").glob(f"{image[0]}-*")
        crops = [path.parent.name for path in fits.glob("crop/*/result.json")]
        assert len(crops) == 4
        assert len(list(fits.glob("full/*/result.json"))) <= 6
        assert not list(fits.rglob("checkpoint.pt"))
        (rungs,) = (run / "rungs").glob(f"{image[0]}-*")
        first, second = (json.loads((rungs / f"halved-{at}.json").read_text()) for at in (2, 4))
        assert set(first["held_out_errors"]) == set(crops)
        assert sorted(first["go_on"]) == sorted(sorted(crops, key=first["held_out_errors"].__getitem__)[:2])
        assert set(second["held_out_errors"]) == set(first["go_on"])
        assert len(second["go_on"]) == 1
        assert len(list(rungs.glob("*.json"))) == 2

    comparison = list(csv.DictReader((run / "comparison.csv").read_text().splitlines()))
    assert {line["measure"] for line in comparison} == {"psnr"}
    assert len([line for line in comparison if not line["image"]]) == 21
    assert {line["against"] for line in comparison} >= {"classical"}
    assert all(row["gain_over_classical"] is not None for row in clean.values())
    assert "bank" in told["none"]
    assert "bank" not in told["clean"]


def test_holes_that_are_marked_in_white_are_painted_in_by_fits_that_compete(cli: CommandLine) -> None:
    save_rgb(cli.folder / "holed/a.png")
    save_rgb(cli.folder / "holed/lost.png", phase=1)
    known = np.random.default_rng(0).random((70, 64)) < 0.6
    (cli.folder / "masks").mkdir()
    (cli.folder / "masks/a.png").write_bytes(encode_mask(~known))
    (cli.folder / "masks/lost.png").write_bytes(encode_mask(np.full((70, 64), fill_value=True)))
    command = ["--images", "holed", "--arms", "isnas-dip-blind,dip"]
    contest = ("score.candidates=6", "cohort.size=6", "cohort.halving=asha", "cohort.first_rung=2")
    settings = (*TINY, "task.name=inpaint", *contest, "cohort.iterations=16", "fit.block=2")
    done = cli.here(
        cli.submit(*command, "--run", "black", "--masks", "masks", "--mask-known", "black", settings=settings)
    )
    assert done.returncode == 65, done.stdout + done.stderr
    rows = cli.rows("black")
    assert [(row["image"], row["state"]) for row in rows] == [("a.png", "restored")] * 2 + [
        ("lost.png", "rejected")
    ] * 2
    assert "its mask leaves no pixel known" in rows[2]["reason"]
    assert rows[1]["candidate"] == "dip-inpaint"
    (cohort,) = (cli.folder / "dip-store/runs/black/cohorts").glob("*.parquet")
    tried = [fit for fit in pq.read_table(cohort).to_pylist() if fit["view"] == "crop"]
    assert len(tried) == 6
    # The order of arrival decides which members are ended. Those have stopped before the end; at least one has not.
    assert {fit["state"] for fit in tried} <= {"done", "paused"}
    assert all(fit["iterations"] < 16 for fit in tried if fit["state"] == "paused")
    assert any(fit["state"] == "done" for fit in tried)


def test_small_images_are_restored_at_their_larger_size(cli: CommandLine) -> None:
    enlarged(cli.folder / "clean/a.png", 2)
    settings = (*TINY, "task.name=super-resolve", "task.factor=2", "task.downsampling=box", "cohort.crop_px=32")
    command = ["--arms", "isnas-dip-blind,isnas-dip"]
    succeed(cli, *command, "--images", "small", "--run", "clean", "--references", "clean", settings=settings)
    clean = cli.rows("clean")
    for row in clean:
        assert row["state"] == "restored"
        # The picture is smooth, so that enlarging it is nearly all there is to do.
        assert row["psnr_degraded"] > 25
        assert None not in (row["psnr"], row["psnr_y"], row["ssim"], row["psnr_oracle_stop"])
        assert (row["psnr_low"], row["psnr_high"]) == (None, None)
    assert clean[0]["rule"] == "held-out+consensus"
    runs = cli.folder / "dip-store/runs"
    for arm in ("isnas-dip-blind", "isnas-dip"):
        with Image.open(runs / "clean/restored" / arm / "pick/a.png") as image:
            assert (image.size, image.mode) == ((64, 70), "RGB")
    with Image.open(runs / "clean/restored/isnas-dip-blind/mean/a.png") as image:
        assert image.size == (64, 70)
    with Image.open(next((runs / "clean/previews").rglob("degraded.png"))) as image:
        assert image.size == (64, 70)
