"""The report of a run, from what is in the store."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq

from orchestrator import __version__
from orchestrator.comparison import compare
from orchestrator.errors import NotFoundError
from orchestrator.inputs import read_inputs
from orchestrator.layout import RunLayout
from orchestrator.report import ArmPictures, Curve, ImageReport, RunReport, render
from orchestrator.results import Row
from orchestrator.run import RunRecord
from orchestrator.store import Store

MOST_BYTES = 128 * 2**20
"""So much of pictures a page holds at most, whatever the settings ask for: a browser must still open it."""


def write_report(store: Store, record: RunRecord, rows: Sequence[Row]) -> None:
    """Write the page: all rows, and the pictures of the first ``keep.report_images`` images, as far as they are there.

    Args:
        store: Where the run is; also one that is under way, or has ended long ago.
        record: The run's record.
        rows: Its rows, in the order of the images' names.
    """
    layout = RunLayout(record.run)
    by_name = {name: list(group) for name, group in groupby(rows, key=lambda row: row.image)}
    images: list[ImageReport] = []
    room = MOST_BYTES
    inputs = read_inputs(store, layout)
    # It may have ended before it had brought them all to the store.
    shown_images = [] if inputs is None else inputs.images[: record.config["keep"]["report_images"]]
    for image in shown_images:
        shown = _image_report(store, layout, image.name, image.id, by_name.get(image.name, []))
        if shown is not None:
            room -= _weight(shown)
            if room < 0:
                break
            images.append(shown)
    page = render(
        RunReport(
            run=record.run,
            state=record.state,
            created=record.created,
            seconds=record.seconds,
            version=__version__,
            settings=record.config,
            rows=[asdict(row) for row in rows],
            images=images,
            left_out=len(by_name) - len(images),
            comparison=[asdict(pair) for pair in compare(rows) if pair.image is None],
        )
    )
    store.put(layout.report, page.encode())


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFoundError:
        return None


def _weight(shown: ImageReport) -> int:
    made = [png for arm in shown.arms for png in (arm.restored, arm.mean, arm.spread)]
    return sum(len(png) for png in [shown.degraded, shown.reference, *made] if png is not None)


def _image_report(store: Store, layout: RunLayout, name: str, ident: str, rows: Sequence[Row]) -> ImageReport | None:
    packed = _get(store, layout.cohort(ident))
    if packed is None or not rows:
        return None
    arms = [row.arm for row in rows]
    decisions = {arm: json.loads(data) for arm in arms if (data := _get(store, layout.pick(ident, arm))) is not None}
    fits = [_told(fit, rows, decisions) for fit in pq.read_table(io.BytesIO(packed)).to_pylist()]
    curves = [_curve(fit, rows) for fit in fits if fit["state"] == "done"]
    return ImageReport(
        image=name,
        rows=[asdict(row) for row in rows],
        degraded=_get(store, layout.preview(ident, "degraded")),
        reference=_get(store, layout.preview(ident, "reference")),
        arms=[
            ArmPictures(
                arm=arm,
                restored=_get(store, layout.preview(ident, "restored", arm)),
                mean=_get(store, layout.preview(ident, "mean", arm)),
                spread=_get(store, layout.preview(ident, "spread", arm)),
            )
            for arm in arms
        ],
        # Those of the picks first, in the order of the arms.
        curves=sorted(curves, key=lambda curve: arms.index(curve.picked_by[0]) if curve.picked_by else len(arms)),
        cohort=fits,
    )


def _pickers(fit: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """The arms whose result this very fit is."""
    return [row.arm for row in rows if fit["view"] == "full" and row.candidate == fit["candidate"]]


def _told(fit: dict[str, Any], rows: Sequence[Row], decisions: Mapping[str, Any]) -> dict[str, Any]:
    """A fit with the arms that tried it, stopped where those took its output from."""
    tried_by = [
        arm
        for arm, decision in decisions.items()
        if any(scored["candidate"] == fit["candidate"] for scored in decision["cohort"])
    ]
    asked = [arm for arm in _pickers(fit, rows)[:1] or tried_by if arm in decisions]
    steady = bool(asked) and all(decisions[arm]["correlated"] for arm in asked)
    taken = {"stop_iteration": fit["steady_iteration"], "psnr": fit["psnr_steady"]} if steady else {}
    return {**fit, **taken, "tried_by": tried_by}


def _curve(fit: dict[str, Any], rows: Sequence[Row]) -> Curve:
    return Curve(
        label=f"{fit['candidate']} ({fit['view']})",
        iterations=fit["curve_iteration"],
        held_out=[math.nan if value is None else value for value in fit["curve_held_out"]],
        psnr=fit["curve_psnr"],
        stop_iteration=fit["stop_iteration"],
        picked_by=_pickers(fit, rows),
    )
