"""The report of a run, from what is in the store."""

import io
import math
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from typing import Any

import pyarrow.parquet as pq

from orchestrator import __version__
from orchestrator.errors import NotFoundError
from orchestrator.ingest import InputImage
from orchestrator.layout import Preview, RunLayout
from orchestrator.plan import Plan
from orchestrator.report import Curve, ImageReport, RunReport, render
from orchestrator.results import Row
from orchestrator.run import RunRecord
from orchestrator.store import Store


def write_report(store: Store, plan: Plan, record: RunRecord, rows: Sequence[Row]) -> None:
    """Write the page: all rows, and the pictures of the first ``keep.report_images`` images."""
    layout = RunLayout(plan.run)
    by_name = {name: list(group) for name, group in groupby(rows, key=lambda row: row.image)}
    images = [
        report
        for image in plan.images[: plan.config.keep.report_images]
        if (report := _image_report(store, layout, image, by_name.get(image.name, []))) is not None
    ]
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
        )
    )
    store.put(layout.report, page.encode())


def _image_report(store: Store, layout: RunLayout, image: InputImage, rows: Sequence[Row]) -> ImageReport | None:
    def picture(what: Preview) -> bytes | None:
        try:
            return store.get(layout.preview(image.id, what))
        except NotFoundError:
            return None

    try:
        cohort = pq.read_table(io.BytesIO(store.get(layout.cohort(image.id)))).to_pylist()
    except NotFoundError:
        return None
    return ImageReport(
        image=image.name,
        rows=[asdict(row) for row in rows],
        degraded=picture("degraded"),
        restored=picture("restored"),
        mean=picture("mean"),
        reference=picture("reference"),
        curves=[_curve(fit) for fit in cohort if fit["state"] == "done"],
        cohort=cohort,
    )


def _curve(fit: dict[str, Any]) -> Curve:
    return Curve(
        label=f"{fit['candidate']} ({fit['view']})",
        iterations=fit["curve_iteration"],
        held_out=[math.nan if value is None else value for value in fit["curve_held_out"]],
        psnr=fit["curve_psnr"],
        stop_iteration=fit["stop_iteration"],
    )
