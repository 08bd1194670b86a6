"""Reports to test with: small, and with a name that attacks the page."""

import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from orchestrator.report import Curve, ImageReport, RunReport

HOSTILE = "<img src=x onerror=alert(1)>\n\u202e\udc80\"'&.png"
PICK = "158-1111101111001110001100001"


def png(width: int = 12, height: int = 8, grey: int = 128) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.full((height, width), grey, np.uint8)).save(held, "PNG")
    return held.getvalue()


def row(image: str, **known: object) -> dict[str, object]:
    unknown: dict[str, object] = dict.fromkeys(
        (
            "reason",
            "candidate",
            "stop_iteration",
            "held_out_error",
            "psnr_degraded",
            "psnr",
            "ssim",
            "psnr_oracle_stop",
            "psnr_mean",
            "seconds",
        )
    )
    return {"image": image, "arm": "search", "state": "restored", **unknown, **known}


def curve(held_out: Sequence[float], psnr: Sequence[float] | None = None, stop: int = 20, label: str = PICK) -> Curve:
    return Curve(label, [10 * place for place in range(len(held_out))], held_out, psnr, stop)


def image(name: str = "cells/a.png", referenced: bool = True) -> ImageReport:
    known: dict[str, object] = {"candidate": PICK, "stop_iteration": 1240, "held_out_error": 0.0021, "seconds": 512.3}
    if referenced:
        known |= {"psnr_degraded": 20.25, "psnr": 27.5, "ssim": 0.87, "psnr_oracle_stop": 27.75, "psnr_mean": 27.6}
    psnr = [10.0, 20.0, 27.5, 27.0] if referenced else None
    tried: dict[str, object] = {"view": "crop 64", "stop_iteration": 20, "psnr": None, "psnr_oracle_stop": None}
    return ImageReport(
        image=name,
        rows=[row(name, **known)],
        degraded=png(grey=90),
        restored=png(grey=130),
        mean=png(grey=131),
        reference=png(grey=128) if referenced else None,
        curves=[curve([0.2, 0.05, 0.01, 0.02], psnr), curve([0.2, 0.06, 0.02, 0.03], psnr, label="2-000")],
        cohort=[
            {"candidate": PICK, "held_out_error": 0.01, "state": "done", "seconds": 40.0, **tried},
            {"candidate": "2-000", "held_out_error": None, "state": "failed", "seconds": None, **tried},
        ],
    )


def report(*images: ImageReport, referenced: bool = True) -> RunReport:
    shown = images or (image(referenced=referenced), image(HOSTILE, referenced=referenced))
    return RunReport(
        run="2026-05-09 plate 7",
        state="finished",
        created="2026-05-09T14:03:22Z",
        seconds=4503.0,
        version="0.1.0",
        settings={"seed": 0, "fit": {"iterations": 3000, "noise": {"kind": "<b>gaussian</b>"}, "early": None}},
        rows=[
            *(row for shown_image in shown for row in shown_image.rows),
            row("b.tif", state="rejected", reason="The file ends <early>."),
            row("c.tif", state="failed", reason="The worker ran out of memory.", seconds=2.0),
        ],
        images=shown,
        left_out=0,
    )


def without_images(found: RunReport) -> RunReport:
    return replace(found, images=(), left_out=len(found.images))
