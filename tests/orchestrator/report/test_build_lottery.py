import json
import re
from pathlib import Path

import pytest

from orchestrator.collect.packed import pack
from orchestrator.figures.run import figures_of
from orchestrator.report import LotteryImage, build
from orchestrator.run.layout import TOGETHER
from orchestrator.run.rows import NOT_BLIND, Row, RowState
from orchestrator.store import Store, open_store
from tests.orchestrator.report.examples import (
    LOTTERY_IDS,
    png,
    round_row,
)
from tests.orchestrator.report.test_build import LAYOUT, fitted, page, put_inputs, record, write
from tests.orchestrator.report.test_page import Page
from workers.names import Chain, Method

A, B = LOTTERY_IDS.values()


IMAGE = "x"
ROWS = [
    *(round_row(IMAGE, "dense", 0, at) for at in range(2)),
    *(round_row(IMAGE, "imp", number, at) for number in range(1, 10) for at in range(2)),
    *(round_row(IMAGE, "oes", number, note=NOT_BLIND, blind=False) for number in range(1, 4)),
    round_row(IMAGE, "imp", 4, source=A),
]


def ticket(target: str, kept: int) -> bytes:
    """The head of a ticket, the only part that a page reads."""
    layers = [{"name": "skips.0.1", "shape": [4, 8, 1, 1], "kept": kept}]
    return b"dip-ticket 1\n" + json.dumps({"target": target, "layers": layers}).encode() + b"\n"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A run of one image, as it lies there when it has ended."""
    found = open_store(str(tmp_path))
    put_inputs(found, [IMAGE])
    fits = {row.candidate: fitted(row.candidate, "full", stop=2) for row in ROWS if row.candidate}
    found.put(LAYOUT.cohort(IMAGE), pack(list(fits.values())))
    for arm in dict.fromkeys(row.arm for row in ROWS):
        found.put(LAYOUT.pick(IMAGE, arm), json.dumps({"correlated": False, "cohort": []}).encode())
    for row in ROWS:
        if row.initialisation == 0:
            found.put(LAYOUT.round_preview(IMAGE, row.arm, row.round or 0), png(grey=10 * (row.round or 0)))
    return found


def shown(store: Store) -> LotteryImage:
    own = [row for row in ROWS if row.picked]
    image = build._image_report(store, LAYOUT, IMAGE, IMAGE, own)
    assert image is not None
    return build._lottery_image(store, LAYOUT, IMAGE, ROWS, image)


def test_the_dense_fit_is_drawn_beside_three_rounds_of_the_first_method_and_the_last_of_others(store: Store) -> None:
    assert [curve.label for curve in shown(store).curves] == [
        "dense",
        "lottery-imp, round 4, 59.0\u00a0%",
        "lottery-imp, round 6, 73.8\u00a0%",
        "lottery-imp, round 9, 86.6\u00a0%",
        "lottery-oes (not blind), round 3, 48.8\u00a0%",
        f"imp-from-{A}, round 4, 59.0\u00a0%",
    ]
    assert {curve.stop_iteration for curve in shown(store).curves} == {2}


def test_beside_the_results_only_the_rounds_that_were_picked_are_drawn(store: Store) -> None:
    image = build._image_report(store, LAYOUT, IMAGE, IMAGE, [row for row in ROWS if row.picked])
    assert image is not None
    assert [curve.label for curve in image.curves] == ["dip.dense.0.r00 (full)"]
    assert len(image.cohort) == len({row.candidate for row in ROWS})


def test_some_rounds_are_shown_as_pictures_with_both_ends_and_those_without_a_preview_are_not(store: Store) -> None:
    told = [(picture.arm, picture.round, picture.blind) for picture in shown(store).pictures]
    assert told == [
        ("lottery-dense", 0, True),
        *(("lottery-imp", number, True) for number in (1, 3, 4, 6, 7, 9)),
        *(("lottery-oes", number, False) for number in (1, 2, 3)),
        (f"imp-from-{A}", 4, True),
    ]
    store.delete(LAYOUT.round_preview(IMAGE, "lottery-imp", 9))
    assert ("lottery-imp", 9) not in [(picture.arm, picture.round) for picture in shown(store).pictures]


def test_layers_are_those_of_a_middle_and_the_last_ticket_that_were_found_on_the_image(store: Store) -> None:
    chains: dict[Method, str] = {"imp": "observed", "oes": "clean"}
    for method, target in chains.items():
        for number in range(1, 10):
            store.put(LAYOUT.ticket(IMAGE, Chain("dip", method, 0).round(number)), ticket(target, number))
    assert [(found.method, found.blind, found.round, found.layers) for found in shown(store).layers] == [
        ("imp", True, 5, [("skips.0.1", 5, 32)]),
        ("imp", True, 9, [("skips.0.1", 9, 32)]),
        ("oes", False, 2, [("skips.0.1", 2, 32)]),
        ("oes", False, 3, [("skips.0.1", 3, 32)]),
    ]


def test_tickets_of_all_images_together_are_told_once(store: Store) -> None:
    rows = [round_row(image, "imp", 3, source=TOGETHER) for image in LOTTERY_IDS]
    store.put(LAYOUT.ticket(TOGETHER, Chain("dip", "imp", 0).round(3)), ticket("observed", 8))
    report = build._lottery(store, LAYOUT, rows, figures_of(rows, {}), [])
    assert report is not None
    assert [(found.round, found.layers) for found in report.together] == [(3, [("skips.0.1", 8, 32)])]


def test_the_page_of_a_lottery_is_made_from_what_is_in_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write(store, record(), ROWS)
    whole = Page(page(store))
    assert "Lottery tickets" in whole.words
    pictures = [image for image in whole.all("img") if "round" in str(image["alt"]) or "dense:" in str(image["alt"])]
    assert len(pictures) == 11
    assert page(store).count("<article") == 2
    # The other tables have a line for each pick, not one for each round.
    results = re.search(r'<span class="hidden">Results</span>.*?</table>', page(store), re.DOTALL)
    assert results is not None
    assert results[0].count('<th scope="row"') == 1
    monkeypatch.setattr(build, "MOST_BYTES", 5 * len(png()))
    write(store, record(), ROWS)
    bounded = Page(page(store))
    assert "PSNR over sparsity, dB" in bounded.words
    assert [image for image in bounded.all("img") if "round" in str(image["alt"])] == []


def test_a_run_without_rounds_has_no_lottery(store: Store) -> None:
    write(store, record(), [Row(IMAGE, "dip", RowState.RESTORED, candidate="dip")])
    assert "Lottery tickets" not in page(store)
