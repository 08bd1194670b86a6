import re
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.figures.sparsity import curve
from orchestrator.figures.transfer import transfers
from orchestrator.report import LotteryReport, RunReport, render
from orchestrator.report.matrices import Matrix
from orchestrator.report.sections.lottery import _risen, lottery_section
from orchestrator.run.layout import TOGETHER
from orchestrator.run.rows import Row
from tests.orchestrator.report.examples import (
    HOSTILE,
    LOTTERY_IDS,
    lottery,
    lottery_report,
    lottery_rows,
    round_row,
)
from tests.orchestrator.report.examples import curve as drawn_curve
from tests.orchestrator.report.test_page import Page

A, B = LOTTERY_IDS.values()


def only(rows: Sequence[Row]) -> LotteryReport:
    """A report of these rows without pictures."""
    return LotteryReport(curve(rows), transfers(rows, LOTTERY_IDS), LOTTERY_IDS, [], [])


def words(found: RunReport) -> str:
    return Page(render(found)).words


def cells(matrix: Matrix) -> dict[str, list[str]]:
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
    # Once in the sentence that explains the mark.
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
