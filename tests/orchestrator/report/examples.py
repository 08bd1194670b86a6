"""Reports to test with: small, and with a name that attacks the page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace

import numpy as np
from PIL import Image

from orchestrator.figures import sparsity, transfer
from orchestrator.figures.comparison import compare
from orchestrator.report import (
    ArmPictures,
    Curve,
    ImageReport,
    LotteryImage,
    LotteryReport,
    RoundPicture,
    RunReport,
    TicketLayers,
)
from orchestrator.run.rows import Row, RowState
from workers.lottery.methods import Method
from workers.names import Chain

HOSTILE = "<img src=x onerror=alert(1)>\n\u202e\udc80\"'&.png"
PICK = "158-1111101111001110001100001"
NOTE = "the noise is correlated between neighbouring pixels (0.31), so held-out pixels mislead"


def png(width: int = 12, height: int = 8, grey: int = 128) -> bytes:
    held = io.BytesIO()
    Image.fromarray(np.full((height, width), grey, np.uint8)).save(held, "PNG")
    return held.getvalue()


def row(image: str, **known: object) -> dict[str, object]:
    unknown: dict[str, object] = dict.fromkeys(field.name for field in fields(Row))
    return {**unknown, "image": image, "arm": "search", "state": "restored", "picked": True, "blind": True, **known}


def curve(held_out: Sequence[float], psnr: Sequence[float] | None = None, stop: int = 20, label: str = PICK) -> Curve:
    return Curve(label, [10 * place for place in range(len(held_out))], held_out, psnr, stop)


def fit(candidate: str, view: str = "full", **known: object) -> dict[str, object]:
    unknown: dict[str, object] = dict.fromkeys(
        (
            "reason",
            "held_out_error",
            "stop_iteration",
            "iterations",
            "residual_correlation",
            "psnr",
            "psnr_oracle_stop",
            "parameters",
            "seconds",
        )
    )
    return {"candidate": candidate, "view": view, "state": "done", "tried_by": ["search"], **unknown, **known}


def image(name: str = "cells/a.png", referenced: bool = True, **told: object) -> ImageReport:
    """An image that one method restored."""
    known: dict[str, object] = {
        "candidate": PICK,
        "rule": "held-out",
        "stopping": "held-out",
        "stop_iteration": 1240,
        "held_out_error": 0.0021,
        "iterations": 4000,
        "multiply_adds": 1_500_000_000_000,
        "seconds": 512.3,
    }
    if referenced:
        known |= {"psnr_degraded": 20.25, "psnr": 27.5, "ssim": 0.87, "psnr_oracle_stop": 27.75, "psnr_mean": 27.6}
    psnr = [10.0, 20.0, 27.5, 27.0] if referenced else None
    return ImageReport(
        image=name,
        rows=[row(name, **known, **told)],
        degraded=png(grey=90),
        reference=png(grey=128) if referenced else None,
        arms=[ArmPictures("search", png(grey=130), png(grey=131), png(grey=10))],
        curves=[curve([0.2, 0.05, 0.01, 0.02], psnr), curve([0.2, 0.06, 0.02, 0.03], psnr, label="2-000")],
        cohort=[
            fit(PICK, held_out_error=0.01, stop_iteration=20, residual_correlation=0.04, seconds=40.0),
            fit(PICK, "crop", held_out_error=0.012, stop_iteration=20),
            fit("2-000", "crop", state="failed", reason="It diverged."),
            fit("2-001", "crop", state="paused", held_out_error=0.08),
        ],
    )


def several(name: str = "cells/a.png", referenced: bool = True) -> ImageReport:
    """An image that three methods restored: two with the same network, one with a note."""
    shown = image(name, referenced)
    psnr = [10.0, 20.0, 27.5, 27.0] if referenced else None
    known = {key: value for key, value in shown.rows[0].items() if key not in ("arm", "psnr", "psnr_mean")}
    others = [fit(f"{place}-{place:025b}", "crop", tried_by=["blind", "published"]) for place in range(100, 112)]
    rows = [
        {**known, "arm": "blind", "note": NOTE, "psnr": 27.5 if referenced else None, "psnr_mean": None},
        {**known, "arm": "published", "rule": "weighted-mean", "psnr": 27.5 if referenced else None},
        {
            **known,
            "arm": "dip",
            "candidate": "dip",
            "psnr": 26.25 if referenced else None,
            "psnr_low": 26.14,
            "psnr_high": 26.96,
        },
    ]
    return replace(
        shown,
        rows=rows,
        arms=[
            ArmPictures("blind", png(grey=130), png(grey=131), png(grey=10)),
            ArmPictures("published", png(grey=130), None, None),
            ArmPictures("dip", png(grey=140), None, None),
        ],
        curves=[
            replace(curve([0.2, 0.05, 0.01, 0.02], psnr), picked_by=("blind", "published")),
            replace(curve([0.2, 0.06, 0.02, 0.03], psnr, label="dip"), picked_by=("dip",)),
            *(curve([0.3, 0.1, 0.05], None, label=str(other["candidate"])) for other in others),
        ],
        cohort=[
            fit(PICK, tried_by=["blind", "published"], held_out_error=0.01, stop_iteration=20),
            fit("dip", tried_by=["dip"], held_out_error=0.02, stop_iteration=20),
            fit(PICK, "crop", tried_by=["blind", "published"], held_out_error=0.012),
            *others,
        ],
    )


def report(*images: ImageReport, referenced: bool = True) -> RunReport:
    shown = images or (image(referenced=referenced), image(HOSTILE, referenced=referenced))
    arms = list(dict.fromkeys(str(told["arm"]) for shown_image in shown for told in shown_image.rows))
    rows = [
        *(told for shown_image in shown for told in shown_image.rows),
        *(row("b.tif", arm=arm, state="rejected", reason="The file ends <early>.") for arm in arms),
        *(row("c.tif", arm=arm, state="failed", reason="The worker ran out of memory.", seconds=2.0) for arm in arms),
    ]
    return RunReport(
        run="2026-05-09 plate 7",
        state="finished",
        created="2026-05-09T14:03:22Z",
        seconds=4503.0,
        version="0.1.0",
        settings={"seed": 0, "fit": {"iterations": 3000, "noise": {"kind": "<b>gaussian</b>"}, "early": None}},
        rows=rows,
        images=shown,
        left_out=0,
        comparison=compared(rows),
    )


def compared(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    known = [Row(**{**told, "state": RowState(str(told["state"]))}) for told in rows]  # type: ignore[arg-type]
    return [asdict(pair) for pair in compare(known) if pair.image is None]


def round_row(
    image: str, method: Method, number: int, initialisation: int = 0, source: str | None = None, **known: object
) -> Row:
    """A row of a lottery; only the dense one is what its arm picked."""
    chain = Chain("dip", method if number else "dense", initialisation, source)
    figures: dict[str, object] = {
        "psnr": 30.0 - 0.01 * number**2 + 0.3 * initialisation,
        "psnr_oracle_stop": 30.5,
        "psnr_last": 24.0 + number,
        "sparsity": 1 - 0.8**number,
        "parameters": round(1000 * 0.8**number),
        "picked": number == 0 and initialisation == 0,
    }
    return Row(
        image,
        f"lottery-{method}" if source is None else f"{method}-from-{source}",
        RowState.RESTORED,
        candidate=str(chain.round(number)),
        round=number,
        initialisation=initialisation,
        source=source,
        **{**figures, **known},  # type: ignore[arg-type]
    )


LOTTERY_IDS = {"cells/a.png": "a-00000001", HOSTILE: "b-00000002"}


def lottery_rows(clean: str = "oes") -> list[Row]:
    """Two images, two initialisations, two methods of which one saw the reference, and tickets that were moved."""
    methods: tuple[Method, ...] = ("imp", "oes")
    own = [
        round_row(image, method, number, initialisation, blind=method != clean)
        for image in LOTTERY_IDS
        for method in methods
        for number in range(6)
        for initialisation in range(2)
    ]
    moved = [
        round_row(image, "imp", number, initialisation, source, psnr=29.0 + 0.2 * initialisation)
        for image in LOTTERY_IDS
        for source in LOTTERY_IDS.values()
        for number in (2, 5)
        for initialisation in range(2)
    ]
    return sorted([*own, *moved], key=lambda row: list(LOTTERY_IDS).index(row.image))


def lottery(rows: Sequence[Row] | None = None, referenced: bool = True) -> LotteryReport:
    told = lottery_rows() if rows is None else rows
    blind = all(row.blind for row in told)
    psnr = [1.0, 20.0, 29.0, 25.0, 22.0] if referenced else None
    sparse = [1.0, 20.0, 29.0, 28.5, 28.0] if referenced else None
    layers = TicketLayers("imp", True, 5, [("encoders.0.1", 250, 1000), ("skips.0.1", 8, 16)])
    shown = [
        LotteryImage(
            image,
            [
                curve([0.2, 0.01, 0.02, 0.03, 0.04], psnr, label="dense"),
                curve([0.2, 0.02] * 2, sparse, label="imp, round 5"),
            ],
            [
                RoundPicture("lottery-oes", blind, number, 1 - 0.8**number, 28.0, png(grey=100 + number))
                for number in (0, 3)
            ],
            [layers],
        )
        for image in LOTTERY_IDS
    ]
    return LotteryReport(sparsity.curve(told), transfer.transfers(told, LOTTERY_IDS), LOTTERY_IDS, shown, [layers])


def lottery_report(clean: str = "oes") -> RunReport:
    """A run that drew lottery tickets only."""
    rows = lottery_rows(clean)
    picked = [asdict(row) for row in rows if row.picked]
    images = [
        replace(image(name), rows=[told for told in picked if told["image"] == name], arms=[]) for name in LOTTERY_IDS
    ]
    return replace(report(*images), rows=picked, comparison=compared(picked), lottery=lottery(rows))


def without_images(found: RunReport) -> RunReport:
    return replace(found, images=(), left_out=len(found.images))
