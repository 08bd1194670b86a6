import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.collect.fits import Fitted
from orchestrator.collect.packed import pack
from orchestrator.figures.run import figures_of
from orchestrator.fit.record import Evaluation, FitRecord
from orchestrator.report import ImageReport, build, results
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import InputImage, Inputs, image_ids, write_inputs
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState
from orchestrator.store import Store, open_store
from tests.orchestrator.report.examples import png
from workers.names import PriorName, parse_name

LAYOUT = RunLayout("r")


def fitted(candidate: str, view: str, *, stop: int = 3, steady: int = 2) -> Fitted:
    record = FitRecord(
        parse_name(candidate),
        view,  # type: ignore[arg-type]
        "done",
        held_out_error=0.01,
        stop_iteration=stop,
        steady_iteration=steady,
        iterations=4,
        evaluation=Evaluation(psnr=20.0, psnr_steady=19.0, psnr_oracle_stop=21.0),
    )
    return Fitted(record, held_out=np.array([0.04, 0.02, 0.01, 0.03], np.float32), psnr=None)


def put_image(store: Store, name: str, rows: Sequence[Row], *, correlated: bool = False, picture: bytes = b"") -> None:
    """An image as a run leaves it: a cohort of two, of which each arm picked its row's candidate."""
    fits = [fitted(candidate, view) for view in ("full", "crop") for candidate in ("a", "b")]
    paused = Fitted(
        FitRecord(PriorName("c"), "crop", "paused", held_out_error=0.1, iterations=2), held_out=None, psnr=None
    )
    store.put(LAYOUT.cohort(name), pack([*fits, paused]))
    store.put(LAYOUT.preview(name, "degraded"), picture or png())
    for row in rows:
        cohort = [{"candidate": candidate, "score": 1.0} for candidate in "abc"]
        decision = {"correlated": correlated, "cohort": cohort, "ended_by_halving": ["c"]}
        store.put(LAYOUT.pick(name, row.arm), json.dumps(decision).encode())
        store.put(LAYOUT.preview(name, "restored", row.arm), picture or png())


def put_inputs(store: Store, names: Sequence[str]) -> None:
    inputs = [InputImage(name, name, name, None, name, 8, 12, 1) for name in names]
    write_inputs(store, LAYOUT, Inputs(inputs, []))


def record(report_images: int = 50) -> RunRecord:
    config = {"keep": {"report_images": report_images}}
    return RunRecord("r", "2026-05-09T14:03:22Z", 1, 0, False, config, {}, state=RunState.FINISHED)


def restored(name: str, arm: str = "search", candidate: str = "a") -> Row:
    return Row(name, arm, RowState.RESTORED, candidate=candidate)


def write(store: Store, record: RunRecord, rows: Sequence[Row], unreadable: Sequence[str] = ()) -> None:
    build.write_report(store, record, rows, figures_of(rows, image_ids(store, LAYOUT)), unreadable)


def page(store: Store) -> str:
    return store.get(LAYOUT.report).decode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def image_report(store: Store, rows: Sequence[Row]) -> ImageReport:
    found = build._image_report(store, LAYOUT, "x", "x", rows)
    assert found is not None
    return found


def test_every_arm_brings_its_pictures_and_its_pick(store: Store) -> None:
    rows = [restored("x", "one", "b"), restored("x", "two", "a")]
    put_image(store, "x", rows)
    store.put(LAYOUT.preview("x", "spread", "two"), png(grey=7))
    shown = image_report(store, rows)
    assert [(arm.arm, arm.restored, arm.mean, arm.spread) for arm in shown.arms] == [
        ("one", png(), None, None),
        ("two", png(), None, png(grey=7)),
    ]
    assert [(curve.label, curve.picked_by) for curve in shown.curves] == [
        ("b (full)", ["one"]),
        ("a (full)", ["two"]),
        ("a (crop)", []),
        ("b (crop)", []),
    ]
    assert [fit["tried_by"] for fit in shown.cohort] == [["one", "two"]] * 5


def test_with_correlated_noise_a_fit_is_told_where_its_outputs_varied_least(store: Store) -> None:
    rows = [restored("x")]
    put_image(store, "x", rows)
    plain = image_report(store, rows)
    assert {curve.stop_iteration for curve in plain.curves} == {3}
    put_image(store, "x", rows, correlated=True)
    steady = image_report(store, rows)
    assert {curve.stop_iteration for curve in steady.curves} == {2}
    assert [fit["psnr"] for fit in steady.cohort] == [19.0] * 4 + [None]


def test_the_page_of_a_run_is_made_from_what_is_in_the_store(store: Store) -> None:
    rows = [restored("x"), restored("y")]
    for row in rows:
        put_image(store, row.image, [row])
    put_inputs(store, ["x", "y"])
    write(store, record(), rows)
    assert page(store).count("<article") == 2
    write(store, record(report_images=1), rows)
    assert page(store).count("<article") == 1
    assert "1 more image has its results in the table above" in page(store)


def test_a_run_that_ended_before_its_inputs_were_there_has_a_page(store: Store) -> None:
    write(store, record(), [Row("x", "search", RowState.REJECTED, reason="Why.")])
    assert "Why." in page(store)


def test_pages_that_a_report_no_longer_has_are_deleted(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_LINES", 2)
    rows = [restored(name) for name in "abcde"]
    write(store, record(), rows)
    pages = [LAYOUT.report_file(f"results-{number:04}.html") for number in (1, 2, 3)]
    assert list(store.keys(LAYOUT.all_reports)) == [LAYOUT.report, *pages]
    write(store, record(), rows[:3])
    assert list(store.keys(LAYOUT.all_reports)) == [LAYOUT.report, *pages[:2]]
    write(store, record(), rows[:2])
    assert list(store.keys(LAYOUT.all_reports)) == [LAYOUT.report]


def test_an_image_that_was_rejected_on_its_way_has_no_pictures(store: Store) -> None:
    put_inputs(store, ["x"])
    write(store, record(), [Row("x", "search", RowState.REJECTED, reason="Why.")])
    assert "<article" not in page(store)


def test_a_page_holds_no_more_pictures_than_a_browser_can_open(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [restored("x"), restored("y")]
    for row in rows:
        put_image(store, row.image, [row])
    put_inputs(store, ["x", "y"])
    monkeypatch.setattr(build, "MOST_BYTES", 3 * len(png()))
    write(store, record(), rows)
    assert page(store).count("<article") == 1


def test_what_cannot_be_read_is_left_out_of_the_page_which_says_why(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    names = ["cohort", "good", "newer", "pick"]
    rows = [Row(name, "one", RowState.RESTORED, candidate="a") for name in names]
    for row in rows:
        put_image(store, row.image, [row])
    put_inputs(store, names)
    store.put(LAYOUT.cohort("cohort"), b"PAR1 no more")
    store.put(LAYOUT.pick("newer", "one"), b'{"format": 9}')
    store.put(LAYOUT.pick("pick", "one"), b"{")
    write(store, record(), rows, ["rows/x.json is damaged"])
    page = store.get(LAYOUT.report).decode()
    assert page.count("Left out, because it cannot be read:") == 4
    for why in ("rows/x.json is damaged", "cohort: ", "has format 9", "one.json is damaged"):
        assert why in page
    assert "3 more images have their results in the table above" in page


def test_the_page_says_what_a_run_has_cost(store: Store) -> None:
    put_inputs(store, ["a"])
    put_image(store, "a", [restored("a")])
    used = replace(record(), usage={"machine_hours": 1.25})
    for price, said in ((None, "1 h 15 min of machines."), (2.0, "1 h 15 min of machines, at a cost of 2.50.")):
        write(store, replace(used, config={**used.config, "resources": {"price_per_hour": price}}), [restored("a")])
        assert f"The run used {said}" in page(store)
    write(store, record(), [restored("a")])
    assert "of machines" not in page(store)
