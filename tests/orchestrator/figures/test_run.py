import csv
import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from orchestrator.figures.comparison import compare, comparison_to_csv
from orchestrator.figures.run import figures_of, write_figures
from orchestrator.figures.sparsity import curve, overall_curve, sparsity_to_csv
from orchestrator.run.rows import Row, RowState
from orchestrator.store import LocalStore
from tests.orchestrator.figures.lotteries import F16, IDS, LAYOUT, A, rounds, row
from tests.orchestrator.figures.test_comparison import of_psnr
from tests.orchestrator.figures.test_transfer import moved_rows


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_comparison_is_left_in_the_store_where_there_is_one(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_figures(store, LAYOUT, figures_of(of_psnr(ours=[30.0, 31.0]), {}))
    assert list(store.keys("runs")) == []
    rows = of_psnr(ours=[30.0, 31.0], theirs=[29.0, 29.0])
    write_figures(store, LAYOUT, figures_of(rows, {}))
    text = store.get(LAYOUT.comparison).decode()
    assert text == comparison_to_csv(compare(rows))
    overall, first, second = read(text)
    assert (overall["arm"], overall["against"], overall["image"], overall["wins"]) == ("ours", "theirs", "", "2")
    assert float(overall["mean"]) == 1.5
    assert (first["image"], first["standard_error"], second["image"]) == ("a", "", "b")


def test_the_figures_of_a_lottery_are_left_in_the_store_where_there_are_any(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_figures(store, LAYOUT, figures_of([Row("a", "dip", RowState.RESTORED, psnr=30.0)], {}))
    assert list(store.keys("runs")) == []
    write_figures(store, LAYOUT, figures_of(rounds(A, "imp", 30.0, 31.0), {}))
    assert list(store.keys("runs")) == [LAYOUT.lottery("sparsity.csv")]
    dense, pruned, *_ = read(store.get(LAYOUT.lottery("sparsity.csv")).decode())
    assert (dense["arm"], dense["image"], dense["difference"]) == ("lottery-imp", "", "")
    assert (pruned["round"], float(pruned["difference"]), pruned["low"], pruned["blind"]) == ("1", 1.0, "", "True")


def test_moved_tickets_are_left_with_the_images_of_the_run_as_their_sources(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_figures(store, LAYOUT, figures_of(moved_rows(), IDS))
    found = read(store.get(LAYOUT.lottery("transfer.csv")).decode())
    assert [(line["image"], line["own"]) for line in found if line["source"]] == [
        (F16, "True"),
        (A, "False"),
        (F16, "False"),
        (A, "True"),
    ]
    assert read(sparsity_to_csv(curve(moved_rows()))) == read(store.get(LAYOUT.lottery("sparsity.csv")).decode())


def test_the_curve_over_all_images_needs_none_of_the_images_own_points() -> None:
    assert overall_curve(moved_rows()) == [point for point in curve(moved_rows()) if point.image is None]


def steps_of(work: Callable[[], object]) -> int:
    """How many instructions of Python a piece of work takes: a measure of time that does not depend on the machine."""
    steps = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal steps
        frame.f_trace_opcodes = True
        steps += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return steps


def lottery(images: int) -> list[Row]:
    return [
        row(f"{image:04}.png", method, number, 30.0 + number)
        for image in range(images)
        for method in ("imp", "snip")
        for number in range(3)
    ]


def searches(images: int) -> list[Row]:
    return [Row(f"{image:04}.png", arm, RowState.RESTORED, psnr=30.0) for image in range(images) for arm in "ab"]


def moved(images: int) -> list[Row]:
    names = [f"{image:04}.png" for image in range(images)]
    return [row(name, "imp", 2, 30.0, source=source) for name in names for source in (None, names[0])] + [
        row(name, "dense", 0, 29.0) for name in names
    ]


@pytest.mark.parametrize("kind", [lottery, searches, moved])
def test_the_time_for_figures_is_linear_in_the_images(kind: Callable[[int], list[Row]]) -> None:
    def steps(images: int) -> int:
        rows = kind(images)
        ids = {name: f"{name[:4]}-{place:08x}" for place, name in enumerate(dict.fromkeys(row.image for row in rows))}
        return steps_of(lambda: figures_of(rows, ids))

    steps(3)  # what is imported or kept once counts for nobody
    few, many = steps(20), steps(80)
    assert many < 4.2 * few
