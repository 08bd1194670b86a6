"""The report of a run, from what is in the store."""

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.errors import DamagedError, NewerFormatError, NotFoundError
from orchestrator.figures.run import RunFigures
from orchestrator.figures.worth import sentence, worth_of
from orchestrator.report import (
    ArmPictures,
    Curve,
    ImageReport,
    LotteryImage,
    LotteryReport,
    RoundPicture,
    RunReport,
    TicketLayers,
    render,
    render_results,
    text,
)
from orchestrator.report.svg.curves import FEW
from orchestrator.run.attempt import machines_of
from orchestrator.run.decisions import DECISIONS
from orchestrator.run.layout import TOGETHER, RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row
from orchestrator.run.versions import mixture
from orchestrator.store import Store
from orchestrator.version import __version__
from workers.lottery.headers import header
from workers.names import Chain, PriorName, Round, parse_name

MOST_BYTES = 128 * 2**20
"""The most bytes of pictures in a page, whatever the settings ask for: a browser must still open it."""
_ROUNDS = 6
"""The most rounds of an arm that are shown as pictures, evenly spread."""


def write_report(
    store: Store, record: RunRecord, rows: Sequence[Row], figures: RunFigures, unreadable: Sequence[str] = ()
) -> None:
    """Write the page, with the pictures of the first ``keep.report_images`` images as far as they are there.

    Where the rows are too many for one page, they are on pages of their own beside it.

    Args:
        store: The run's store. The run may also be in progress, or have ended long ago.
        record: The run's record.
        rows: Its rows, in the order of the images' names.
        figures: Their figures.
        unreadable: What could not be read of the run, a line each. What cannot be read here is added to it.
    """
    unreadable = list(unreadable)
    layout = RunLayout(record.run)
    picked = [row for row in rows if row.picked]
    by_name = {name: list(group) for name, group in groupby(picked, key=lambda row: row.image)}
    rounds: dict[str, list[Row]] = {}
    for row in rows:
        if row.round is not None:
            rounds.setdefault(row.image, []).append(row)
    images: list[ImageReport] = []
    lotteries: list[LotteryImage] = []
    room = MOST_BYTES
    for name, ident in islice(figures.ids.items(), record.config["keep"]["report_images"]):
        try:
            shown = _image_report(store, layout, name, ident, by_name.get(name, []))
        except (DamagedError, NewerFormatError) as error:
            unreadable.append(f"{name}: {error}")
            continue
        if shown is not None:
            room -= _weight(shown)
            if room < 0:
                break
            images.append(shown)
            own = rounds.get(name)
            if own:
                drawn = _lottery_image(store, layout, ident, own, shown)
                room -= sum(len(picture.png) for picture in drawn.pictures)
                lotteries.append(drawn if room >= 0 else replace(drawn, pictures=()))
    report = RunReport(
        run=record.run,
        state=record.state,
        created=record.created,
        seconds=record.seconds,
        version=__version__,
        settings=record.config,
        rows=[asdict(row) for row in picked],
        images=images,
        left_out=len(by_name) - len(images),
        comparison=[asdict(pair) for pair in figures.comparison if pair.image is None],
        worth=[sentence(worth, text.duration) for worth in worth_of(picked)],
        lottery=_lottery(store, layout, rows, figures, lotteries),
        unreadable=unreadable,
        mixed=mixture(machines_of(store, layout)),
        spent=_spent(record),
    )
    written = {layout.report}
    for file, page in render_results(report):
        store.put(layout.report_file(file), page.encode())
        written.add(layout.report_file(file))
    # Last, because it links to the others.
    store.put(layout.report, render(report).encode())
    for key in list(store.keys(layout.all_reports)):
        if key not in written:
            store.delete(key)


def _get(store: Store, key: str) -> bytes | None:
    try:
        return store.get(key)
    except NotFoundError:
        return None


def _decision(store: Store, key: str) -> dict[str, Any] | None:
    data = _get(store, key)
    return None if data is None else DECISIONS.from_store(data, store.show(key))


def _weight(shown: ImageReport) -> int:
    made = [png for arm in shown.arms for png in (arm.restored, arm.mean, arm.spread)]
    return sum(len(png) for png in [shown.degraded, shown.reference, *made] if png is not None)


def _spent(record: RunRecord) -> str | None:
    """The time of machines that a run has used, and its price, in words."""
    hours = record.usage.get("machine_hours", 0.0)
    if not hours:
        return None
    cost = "" if record.cost is None else f", at a cost of {record.cost:.2f}"
    return f"{text.duration(hours * 3600)} of machines{cost}"


def _image_report(store: Store, layout: RunLayout, name: str, ident: str, rows: Sequence[Row]) -> ImageReport | None:
    packed = _get(store, layout.cohort(ident))
    if packed is None or not rows:
        return None
    arms = [row.arm for row in rows]
    decisions = {arm: decision for arm in arms if (decision := _decision(store, layout.pick(ident, arm))) is not None}
    try:
        table = pq.read_table(io.BytesIO(packed))
    except (pa.ArrowException, OSError) as error:
        place = store.show(layout.cohort(ident))
        raise DamagedError(f"{place} is damaged: {' '.join(str(error).split())}") from None
    fits = [_with_arms(fit, rows, decisions) for fit in table.to_pylist()]
    # A lottery has many rounds: the section on tickets draws the others, as far as they are of interest.
    drawn = [fit for fit in fits if isinstance(parse_name(fit["candidate"]), PriorName) or _pickers(fit, rows)]
    curves = [_curve(fit, rows) for fit in drawn if fit["state"] == "done"]
    return ImageReport(
        image=name,
        rows=[asdict(row) for row in rows],
        degraded=_get(store, layout.preview(ident, "degraded")),
        reference=_get(store, layout.preview(ident, "reference")),
        classical=_get(store, layout.preview(ident, "classical")),
        arms=[
            ArmPictures(
                arm=arm,
                restored=_get(store, layout.preview(ident, "restored", arm)),
                mean=_get(store, layout.preview(ident, "mean", arm)),
                spread=_get(store, layout.preview(ident, "spread", arm)),
                stack=_get(store, layout.preview(ident, "stack", arm)),
            )
            for arm in arms
        ],
        # The curves of the picks come first, in the order of the arms.
        curves=sorted(curves, key=lambda curve: arms.index(curve.picked_by[0]) if curve.picked_by else len(arms)),
        cohort=fits,
    )


def _lottery(
    store: Store, layout: RunLayout, rows: Sequence[Row], figures: RunFigures, images: Sequence[LotteryImage]
) -> LotteryReport | None:
    if not figures.sparsity:
        return None
    together = [row for row in rows if row.source == TOGETHER]
    first = [row for row in together if row.image == together[0].image]
    return LotteryReport(
        figures.sparsity, figures.transfers, figures.ids, images, _layers(store, layout, TOGETHER, first)
    )


def _lottery_image(
    store: Store, layout: RunLayout, ident: str, rows: Sequence[Row], shown: ImageReport
) -> LotteryImage:
    """The rounds of an image, from the fits of the first initialisation."""
    by_arm = _by_arm(rows)
    fits = {fit["candidate"]: fit for fit in shown.cohort if fit["view"] == "full" and fit["state"] == "done"}
    return LotteryImage(
        image=shown.image,
        curves=[
            replace(_curve(dict(fits[row.candidate]), rows=()), label=_round_label(row))
            for row in _contrasted(by_arm)
            if row.candidate in fits
        ],
        pictures=_round_pictures(store, layout, ident, by_arm),
        layers=_layers(store, layout, ident, [row for row in rows if row.source is None]),
    )


def _by_arm(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The first initialisation's rows of each arm, in rising rounds."""
    by_arm: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.round or 0):
        if row.initialisation == 0:
            by_arm.setdefault(row.arm, []).append(row)
    return {arm: by_arm[arm] for arm in dict.fromkeys(row.arm for row in rows) if arm in by_arm}


def _spread(rows: Sequence[Row], most: int) -> list[Row]:
    """At most ``most`` rows, evenly spread, with both ends."""
    return [rows[int(at)] for at in np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round())]


def _contrasted(by_arm: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The dense fit, three rounds of the first method that prunes, and the last round of others."""
    dense = [row for own in by_arm.values() for row in own if row.round == 0][:1]
    sparse = [pruned for own in by_arm.values() if (pruned := [row for row in own if row.round])]
    if not sparse:
        return dense
    lead = _spread(sparse[0], 4)[-3:]
    return [*dense, *lead, *(own[-1] for own in sparse[1:])][:FEW]


def _round_label(row: Row) -> str:
    if not row.round:
        return "dense"
    share = "" if row.sparsity is None else f", {text.percent(row.sparsity)}"
    return f"{text.method(row.arm, blind=row.blind)}, round {row.round}{share}"


def _round_pictures(
    store: Store, layout: RunLayout, ident: str, by_arm: Mapping[str, Sequence[Row]]
) -> list[RoundPicture]:
    pictures: list[RoundPicture] = []
    for arm, rows in by_arm.items():
        for row in _spread(rows, _ROUNDS):
            number = row.round or 0
            png = _get(store, layout.round_preview(ident, arm, number))
            # All methods share the dense network.
            if png is not None and not (number == 0 and any(picture.round == 0 for picture in pictures)):
                pictures.append(RoundPicture(arm, row.blind, number, row.sparsity, row.psnr, png))
    return pictures


def _layers(store: Store, layout: RunLayout, owner: str, rows: Sequence[Row]) -> list[TicketLayers]:
    """A round in the middle and the last one of each method that finds masks."""
    by_method: dict[str, dict[int, Chain]] = {}
    for row in sorted(rows, key=lambda row: row.round or 0):
        name = parse_name(row.candidate or "")
        if row.round and row.initialisation == 0 and isinstance(name, Round):
            by_method.setdefault(name.chain.method, {})[row.round] = replace(name.chain, source=None)
    tickets = []
    for method, rounds in by_method.items():
        numbers = list(rounds)
        for number in dict.fromkeys([numbers[(len(numbers) - 1) // 2], numbers[-1]]):
            data = _get(store, layout.ticket(owner, rounds[number].round(number)))
            if data is not None:
                head = header(data)
                layers = [(layer["name"], layer["kept"], math.prod(layer["shape"])) for layer in head["layers"]]
                tickets.append(TicketLayers(method, head["target"] != "clean", number, layers))
    return tickets


def _pickers(fit: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """The arms whose result is this fit."""
    return [row.arm for row in rows if fit["view"] == "full" and row.candidate == fit["candidate"]]


def _with_arms(fit: dict[str, Any], rows: Sequence[Row], decisions: Mapping[str, Any]) -> dict[str, Any]:
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
