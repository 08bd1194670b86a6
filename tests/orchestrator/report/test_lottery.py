import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.collect.collect import pack
from orchestrator.figures.sparsity import curve, transfers
from orchestrator.report import LotteryImage, LotteryReport, RunReport, build, chart, render
from orchestrator.report.chart import SparsityLine
from orchestrator.report.lottery import _Matrix, _risen, lottery_section
from orchestrator.run.layout import TOGETHER
from orchestrator.run.rows import NOT_BLIND, Row, RowState
from orchestrator.store import Store, open_store
from tests.orchestrator.report.examples import (
    HOSTILE,
    LOTTERY_IDS,
    lottery,
    lottery_report,
    lottery_rows,
    png,
    round_row,
)
from tests.orchestrator.report.examples import curve as drawn_curve
from tests.orchestrator.report.test_build import LAYOUT, fitted, page, put_inputs, record
from tests.orchestrator.report.test_report import Page, numbers
from workers.lottery.methods import Method
from workers.names import Chain

A, B = LOTTERY_IDS.values()


def only(rows: Sequence[Row]) -> LotteryReport:
    """A report of these rows without pictures."""
    return LotteryReport(curve(rows), transfers(rows, LOTTERY_IDS), LOTTERY_IDS, [], [])


# The chart


def drawn(*lines: SparsityLine, dense: float | None = 30.0) -> str:
    svg = chart.sparsity_chart(lines, dense, "x", "Quality over sparsity")
    assert svg is not None
    return svg


def ticks(svg: str) -> dict[str, float]:
    return {label: float(x) for x, label in re.findall(r'class="tick x" x="([0-9.]+)" y="[0-9.]+">([^<]+)<', svg)}


def test_the_axis_of_sparsity_gives_every_tenth_of_what_is_left_the_same_room() -> None:
    places = ticks(drawn(SparsityLine("imp", [(0.0, 30.0, None), (0.999, 20.0, None)])))
    zero, ninety, ninety_nine = (places[f"{share}\u00a0%"] for share in ("0", "90", "99"))
    assert ninety_nine - ninety == pytest.approx(ninety - zero, abs=0.2)


@pytest.mark.parametrize("most", [1e-6, 0.05, 0.3, 0.5, 0.8, 0.9, 0.95, 0.972, 0.99, 0.9999, 1 - 1e-12])
def test_ticks_of_sparsity_are_distinct_in_order_and_apart(most: float) -> None:
    places = ticks(drawn(SparsityLine("imp", [(0.0, 30.0, None), (most, 29.0, None)])))
    values = [float(label.removesuffix("\u00a0%")) for label in places]
    assert values == sorted(set(values))
    assert values[0] == 0
    # An axis is a fifth long at least.
    assert values[-1] <= max(20, 100 * most)
    assert all(after - before > 30 for before, after in pairwise(places.values()))


@example([[(math.nextafter(1, 0), 30.0, None)]], None)
@given(
    st.lists(
        st.lists(st.tuples(st.floats(0, 1), st.floats(-50, 150), st.none() | st.floats(0, 20)), max_size=6),
        max_size=14,
    ),
    st.none() | st.floats(-50, 150),
)
def test_a_drawing_has_only_finite_coordinates_inside_its_frame(
    lines: list[list[tuple[float, float, float | None]]], dense: float | None
) -> None:
    arms = [
        SparsityLine(f"arm {place}", sorted(points, key=lambda point: point[0])) for place, points in enumerate(lines)
    ]
    svg = chart.sparsity_chart(arms, dense, "x", "Quality over sparsity")
    if svg is None:
        assert all(sparsity == 1 for line in lines for sparsity, _, _ in line)
        return
    found = numbers(svg)
    assert all(math.isfinite(value) and 0 <= value <= chart.WIDTH for value in found)


def test_a_band_is_drawn_where_the_spread_is_known_and_a_level_for_the_dense_network() -> None:
    line = SparsityLine("imp", [(0.2, 30.0, 0.5), (0.5, 29.0, 0.5)])
    svg = drawn(line)
    (band,) = re.findall(r'<polygon class="band" points="([^"]+)"', svg)
    heights = [float(point.split(",")[1]) for point in band.split()]
    # Up along the upper edge, back along the lower one, all as far apart as two standard deviations.
    assert heights[3] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert heights[0] < heights[3]
    assert svg.count('class="dense"') == 1
    bare = drawn(replace(line, points=[(0.2, 30.0, None), (0.5, 29.0, None)]), dense=None)
    assert "band" not in bare
    assert "dense" not in bare


def test_a_drawing_tells_its_ends_and_escapes_its_labels() -> None:
    svg = drawn(SparsityLine(HOSTILE, [(0.2, 30.0, None), (0.995, 28.5, None)]))
    assert "30.00 dB at 20.0\u00a0% to 28.50 dB at 99.50\u00a0%" in svg
    assert "<img" not in svg


def test_more_arms_than_colours_are_dashed_and_more_than_that_grey() -> None:
    styles = chart.sparsity_styles(2 * chart.COLOURS + 1)
    assert len(set(styles[: 2 * chart.COLOURS])) == 2 * chart.COLOURS
    assert styles[-1] == chart.OTHER


# What the page says


def words(found: RunReport) -> str:
    return Page(render(found)).words


def cells(matrix: _Matrix) -> dict[str, list[str]]:
    return {what: ["–" if cell is None else cell.text for cell in row] for what, _, row in matrix.lines}


def test_a_run_without_tickets_says_nothing_of_them() -> None:
    page = render(replace(lottery_report(), lottery=None))
    assert "Lottery tickets" not in page
    assert ".matrix" not in page


def test_the_rounds_are_told_with_their_difference_to_the_dense_network() -> None:
    section = lottery_section(lottery())
    last = [[cell.text for cell in line.cells] for line in section.points.rows if line.cells[1].text == "5"]
    # 0.25 dB below on both images, for both initialisations; two per image.
    assert last[0] == [
        *["lottery-imp", "5", "67.2\u00a0%", "328", "4", "29.90", "0.21", "30.50", "29.00"],
        *["−0.25", "−0.25 to −0.25"],
    ]


def test_matching_sparsity_is_told_with_what_can_be_said_cautiously() -> None:
    section = lottery_section(lottery())
    assert section.matching is not None
    told = [[cell.text for cell in line.cells] for line in section.matching.rows]
    # A round takes 0.01 dB times its square: the third still has less than 0.1 dB, moved tickets have 1 dB.
    assert told[0] == ["lottery-imp", "48.8\u00a0%", "48.8\u00a0%"]
    assert told[-1] == [f"imp-from-{B}", "none", "none"]
    one = lottery_section(only([round_row(HOSTILE, "imp", number) for number in range(3)])).matching
    assert one is not None
    assert [cell.text for cell in one.rows[0].cells] == ["lottery-imp", "36.0\u00a0%", "–"]


def test_arms_that_saw_the_reference_are_marked_wherever_they_stand() -> None:
    page = Page(render(lottery_report()))
    arms = re.findall(r"lottery-oes(?! \(not blind\))", page.words)
    # Once in the sentence that says what the mark means.
    assert len(arms) == 1
    assert "Not blind: of lottery-oes the masks were found on the clean reference." in page.words
    assert "oes, of equal round (not blind)" in page.words
    assert page.words.count("lottery-oes (not blind)") > 10
    assert {image["alt"] for image in page.all("img") if "round" in str(image["alt"])} == {
        f"lottery-oes (not blind), round 3: {name}"
        for name in ("cells/a.png", "<img src=x onerror=alert(1)>\\n\\u202e\\x80\"'&.png")
    }
    assert "not blind" not in words(lottery_report(clean="")).lower()


def test_moved_tickets_stand_by_source_and_image_with_their_own_framed() -> None:
    moved = lottery_section(lottery()).transfers
    assert [matrix.title for matrix in moved] == ["imp, round 5", "imp, round 2"]
    first = moved[0]
    assert list(first.heads) == list(LOTTERY_IDS)
    assert cells(first) == {
        **{name: ["−1.05", "−1.05"] for name in LOTTERY_IDS},
        "its own ticket": ["−0.25", "−0.25"],
        "oes, of equal round (not blind)": ["−0.25", "−0.25"],
    }
    assert [[cell is not None and cell.own for cell in row] for _, _, row in first.lines[:2]] == [
        [True, False],
        [False, True],
    ]


def test_the_strongest_colour_is_the_greatest_difference_s_and_gaps_are_dashes() -> None:
    rows = [round_row(image, "imp", 0) for image in LOTTERY_IDS]
    rows += [
        round_row("cells/a.png", "imp", 1, source=source, psnr=psnr) for source, psnr in ((A, 32.0), (TOGETHER, 29.0))
    ]
    rows += [round_row(HOSTILE, "imp", 1, source=A, psnr=30.1)]
    (matrix,) = lottery_section(only(rows)).transfers
    assert cells(matrix) == {"cells/a.png": ["+2.00", "+0.10"], "all images together": ["−1.00", "–"]}
    shades = [[(cell.style, cell.strength) if cell else None for cell in row] for _, _, row in matrix.lines]
    assert shades == [[("better", 40), ("better", 2)], [("worse", 20), None]]


def test_small_differences_have_faint_colours() -> None:
    rows = [round_row(HOSTILE, "imp", 0, psnr=30.0), round_row(HOSTILE, "imp", 1, source=A, psnr=30.05)]
    (matrix,) = lottery_section(only(rows)).transfers
    assert [cell.strength for _, _, row in matrix.lines for cell in row if cell] == [4]


def test_layers_are_told_by_the_share_that_is_kept() -> None:
    (image, _) = lottery_section(lottery()).images
    assert image.layers is not None
    assert list(image.layers.heads) == ["Weights", "imp, round 5"]
    assert cells(image.layers) == {"encoders.0.1": ["1,000", "25.0\u00a0%"], "skips.0.1": ["16", "50.0\u00a0%"]}


def test_curves_begin_where_the_lowest_has_fallen_to() -> None:
    dense = drawn_curve([0.1] * 5, [1.0, 20.0, 29.0, 25.0, 22.0])
    sparse = drawn_curve([0.1] * 5, [1.0, 21.5, 28.0, 27.0, 27.0])
    # The dense one falls to 22 dB: what is below 21 dB on the way up is left out, 1 dB of air.
    assert [(list(found.iterations), found.psnr) for found in _risen([dense, sparse])] == [
        ([20, 30, 40], [29.0, 25.0, 22.0]),
        ([10, 20, 30, 40], [21.5, 28.0, 27.0, 27.0]),
    ]
    blind = [drawn_curve([0.1, 0.2])]
    assert _risen(blind) == blind


def test_without_references_held_out_errors_are_drawn_and_told() -> None:
    rows = [
        replace(row, psnr=None, psnr_oracle_stop=None, psnr_last=None, held_out_error=0.001 * (1 + (row.round or 0)))
        for row in lottery_rows()
    ]
    found = words(replace(lottery_report(), lottery=lottery(rows, referenced=False)))
    assert "Quality by the held-out error in dB" in found
    assert "Held-out error over the iterations" in found
    assert "at the end" not in found


# From the store


IMAGE = "x"
ROWS = [
    *(round_row(IMAGE, "dense", 0, at) for at in range(2)),
    *(round_row(IMAGE, "imp", number, at) for number in range(1, 10) for at in range(2)),
    *(round_row(IMAGE, "oes", number, note=NOT_BLIND, blind=False) for number in range(1, 4)),
    round_row(IMAGE, "imp", 4, source=A),
]


def ticket(target: str, kept: int) -> bytes:
    """The head of a ticket, which is all that a page reads."""
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
    report = build._lottery(store, LAYOUT, rows, [])
    assert report is not None
    assert [(found.round, found.layers) for found in report.together] == [(3, [("skips.0.1", 8, 32)])]


def test_the_page_of_a_lottery_is_made_from_what_is_in_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    build.write_report(store, record(), ROWS)
    whole = Page(page(store))
    assert "Lottery tickets" in whole.words
    pictures = [image for image in whole.all("img") if "round" in str(image["alt"]) or "dense:" in str(image["alt"])]
    assert len(pictures) == 11
    assert page(store).count("<article") == 2
    # The other tables have a line for what was picked, not one for each round.
    results = re.search(r'<span class="hidden">Results</span>.*?</table>', page(store), re.DOTALL)
    assert results is not None
    assert results[0].count('<th scope="row"') == 1
    monkeypatch.setattr(build, "MOST_BYTES", 5 * len(png()))
    build.write_report(store, record(), ROWS)
    bounded = Page(page(store))
    assert "PSNR over sparsity, dB" in bounded.words
    assert [image for image in bounded.all("img") if "round" in str(image["alt"])] == []


def test_a_run_without_rounds_has_no_lottery(store: Store) -> None:
    build.write_report(store, record(), [Row(IMAGE, "dip", RowState.RESTORED, candidate="dip")])
    assert "Lottery tickets" not in page(store)
