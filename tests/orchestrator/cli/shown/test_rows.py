from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cli.shown.lottery import print_lottery
from orchestrator.cli.shown.rows import print_comparison, print_rows, printable
from orchestrator.run.rows import Row, RowState

Show = Callable[..., list[str]]
CANDIDATE = "158-1111101111001110001100001"
PLAIN = Row(
    "a.png",
    "isnas-dip-blind",
    RowState.RESTORED,
    candidate=CANDIDATE,
    stop_iteration=321,
    held_out_error=0.012345,
    seconds=75.2,
)
JUDGED = replace(PLAIN, psnr_degraded=20.25, psnr=30.5, ssim=0.9, psnr_oracle_stop=30.75)


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    def show(*rows: Row, width: int = 160) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        print_rows(rows)
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out.splitlines()

    return show


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    def show(*rows: Row) -> list[str]:
        monkeypatch.setenv("COLUMNS", "160")
        print_comparison(rows)
        return capsys.readouterr().out.splitlines()

    return show


@pytest.fixture
def drawn(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Show:
    """The lines of a lottery that are not empty."""

    def show(*rows: Row, width: int = 160, **ids: str) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(width))
        print_lottery(rows, {f"{name}.png": ident for name, ident in ids.items()})
        captured = capsys.readouterr()
        assert captured.err == ""
        return [line.rstrip() for line in captured.out.splitlines() if line.strip()]

    return show


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_wide_console_has_all_of_it(shown: Show) -> None:
    header, line = shown(replace(JUDGED, psnr_mean=31.125))
    assert cells(header) == [
        "image",
        "candidate",
        "stop",
        "held-out",
        "PSNR in",
        "PSNR",
        "gain",
        "oracle",
        "mean",
        "time",
    ]
    assert cells(line) == [
        "a.png",
        CANDIDATE,
        "321",
        "0.01235",
        "20.25",
        "30.50",
        "+10.25",
        "30.75",
        "31.12",
        "1:15",
    ]


def test_what_is_delivered_is_told_where_it_is_not_always_the_pick(shown: Show) -> None:
    stacked = replace(JUDGED, psnr_stack=31.25, delivered="stack", psnr_delivered=31.25)
    header, line = shown(stacked)
    assert cells(header)[-4:] == ["oracle", "stack", "delivered", "time"]
    assert cells(line)[-4:] == ["30.75", "31.25", "stack", "1:15"]
    assert not {"stack", "delivered"} & set(cells(shown(replace(JUDGED, delivered="pick"))[0]))


def test_the_filters_psnr_and_what_is_gained_over_it_are_told(shown: Show) -> None:
    header, line = shown(replace(JUDGED, psnr_classical=30.0, gain_over_classical=0.5))
    assert cells(header)[-4:] == ["oracle", "filter", "over filter", "time"]
    assert cells(line)[-4:] == ["30.75", "30.00", "+0.50", "1:15"]
    header, line = shown(replace(PLAIN, gain_over_classical=-0.25))
    assert cells(header)[-2:] == ["over filter", "time"]
    assert cells(line)[-2:] == ["-0.25", "1:15"]


def test_columns_that_no_row_fills_are_left_out(shown: Show) -> None:
    header, line = shown(PLAIN)
    assert cells(header) == ["image", "candidate", "stop", "held-out", "time"]
    assert cells(line) == ["a.png", CANDIDATE, "321", "0.01235", "1:15"]


def test_what_one_row_does_not_know_is_a_dash(shown: Show) -> None:
    lines = shown(JUDGED, replace(PLAIN, image="b.png"))
    assert cells(lines[2]) == ["b.png", CANDIDATE, "321", "0.01235", "–", "–", "–", "–", "1:15"]


def test_a_loss_has_its_sign(shown: Show) -> None:
    assert "-1.50" in cells(shown(replace(JUDGED, psnr=18.75))[1])


def test_states_and_reasons_are_shown_where_not_all_is_well(shown: Show) -> None:
    header, first, second, reason = shown(PLAIN, Row("b.txt", PLAIN.arm, RowState.REJECTED, reason="not an image"))
    assert cells(header)[1] == "state"
    assert cells(first)[1] == "restored"
    assert cells(second) == ["b.txt", "rejected", "–", "–", "–", "–"]
    assert reason == "b.txt: not an image"


def test_with_several_arms_each_row_names_its_own_and_a_reason_is_said_once(shown: Show) -> None:
    failed = [Row("b.txt", arm, RowState.REJECTED, reason="not an image") for arm in ("isnas-dip-blind", "dip")]
    header, first, second, *_, last = shown(PLAIN, replace(PLAIN, arm="dip"), *failed)
    assert cells(header)[:3] == ["image", "arm", "state"]
    assert [cells(line)[1] for line in (first, second)] == ["isnas-dip-blind", "dip"]
    assert last == "b.txt: not an image"
    assert len(shown(PLAIN, replace(PLAIN, arm="dip"), *failed)) == 6


def test_what_is_known_without_a_reference_and_of_luma_is_shown_where_it_is(shown: Show) -> None:
    header, line = shown(replace(PLAIN, psnr_low=29.96, psnr_high=30.61))
    assert cells(header) == ["image", "candidate", "stop", "held-out", "estimated PSNR", "time"]
    assert "30.0 to 30.6" in cells(line)
    header, line = shown(replace(JUDGED, psnr_y=31.5))
    assert cells(header)[-4:] == ["PSNR Y", "gain", "oracle", "time"]
    assert "31.50" in cells(line)


def test_a_note_follows_the_table_once_for_an_image(shown: Show) -> None:
    noted = replace(PLAIN, note="the noise is \x1b correlated")
    lines = shown(noted, replace(noted, arm="dip"), replace(PLAIN, image="b.png"))
    assert lines[4:] == [r"a.png: the noise is \x1b correlated"]


def test_no_rows_make_an_empty_table(shown: Show) -> None:
    assert [line.strip() for line in shown()] in ([], [""], ["image  candidate  stop  held-out  time"])


@pytest.mark.parametrize("width", [80, 100])
def test_a_narrow_console_keeps_every_figure_and_leaves_the_candidate_out(shown: Show, width: int) -> None:
    name = "a-rather-long-folder/and-a-rather-long-file-name-in-it.png"
    lines = shown(replace(JUDGED, image=name), width=width)
    assert all(len(line) <= width for line in lines)
    figures = cells(lines[1])
    for figure in ("321", "0.01235", "20.25", "30.50", "+10.25", "30.75"):
        assert figure in figures
    assert "candidate" not in lines[0]
    indent = len(lines[0]) - len(lines[0][5:].lstrip())
    folded = "".join(line[: indent - 1].strip() for line in lines[1:])
    assert folded == name


@pytest.mark.parametrize("width", [60, 80, 100, 120, 140, 160, 200])
def test_whatever_the_width_no_cell_is_cut_and_names_have_room(shown: Show, width: int) -> None:
    row = replace(JUDGED, psnr_y=31.5, psnr_mean=31.125, psnr_low=30.1, psnr_high=30.6)
    lines = shown(row, replace(row, arm="dip"), Row("b.txt", "dip", RowState.FAILED, reason="why"), width=width)
    assert not any("…" in line for line in lines)
    assert all(len(line) <= width for line in lines)
    assert lines[1].startswith("a.png ")
    assert {"PSNR", "gain", "arm", "state"} <= set(cells(lines[0]))


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize(
    "name", ["[red]x[/red].png", "[/]", "[bold]", "a[0].png", ":smile:.png", "[link=x]y[/link].png"]
)
def test_a_name_that_looks_like_markup_is_a_name(shown: Show, name: str, width: int) -> None:
    lines = shown(replace(PLAIN, image=name), Row(name, "x", RowState.FAILED, reason="[b]why[/b]"), width=width)
    assert lines[1].startswith(name)
    assert lines[-1] == f"{name}: [b]why[/b]"


def test_control_characters_are_spelled_out(shown: Show) -> None:
    name = "a\nb\x1b[31m\tc\r\u202ed\udc80.png"
    lines = shown(replace(PLAIN, image=name), Row(name, "x", RowState.FAILED, reason="why"))
    spelled = r"a\nb\x1b[31m\tc\r\u202ed\udc80.png"
    assert lines[1].startswith(spelled)
    assert lines[-1] == f"{spelled}: why"


def test_control_characters_of_a_reason_are_spelled_out_too(shown: Show) -> None:
    lines = shown(Row("a.png", "x", RowState.FAILED, reason="bad tag \x1b[31m\nand more"))
    assert lines[-1] == r"a.png: bad tag \x1b[31m\nand more"


def test_arms_are_compared_pair_by_pair(compared: Show) -> None:
    better = [replace(JUDGED, image=name, psnr=psnr) for name, psnr in (("a", 31.0), ("b", 32.0))]
    worse = [replace(JUDGED, image=name, psnr=30.0, arm="dip") for name in ("a", "b")]
    _, header, line = compared(*better, *worse)
    assert cells(header) == ["arm", "against", "PSNR, dB", "s.e.", "95 %", "wins"]
    assert cells(line) == ["isnas-dip-blind", "dip", "+1.50", "0.50", "-4.85 to +7.85", "2 of 2"]
    assert len(compared(*better, *worse, replace(JUDGED, image="a", arm="random"))) == 5


def test_arms_are_compared_by_what_they_cost_on_any_machine(compared: Show) -> None:
    dear = [replace(JUDGED, image=name, multiply_adds=3_000) for name in ("a", "b")]
    cheap = [replace(JUDGED, image=name, arm="dip", multiply_adds=2_000) for name in ("a", "b")]
    _, header, line = compared(*dear, *cheap)
    assert cells(header)[-1] == "cost"
    assert cells(line)[-1] == "1.50 x"
    _, header, line = compared(*dear, cheap[0], replace(cheap[1], multiply_adds=None))
    assert cells(header)[-1] == "wins"


def test_a_comparison_of_one_image_has_no_interval_and_of_one_arm_is_none(compared: Show) -> None:
    alone = compared(replace(PLAIN, held_out_error=0.001), replace(PLAIN, arm="dip", held_out_error=0.01))
    assert cells(alone[1])[2] == "held-out error, dB"
    assert cells(alone[2]) == ["isnas-dip-blind", "dip", "+10.00", "–", "–", "1 of 1"]
    assert compared(JUDGED, replace(JUDGED, image="b.png")) == []


@pytest.mark.parametrize("name", ["plain.png", "a b.png", "ä日本🙂.png", "<&>\"'.png"])
def test_what_can_be_printed_is_left_alone(name: str) -> None:
    assert printable(name) == name


# Lotteries.


def ticket(image: str, number: int, psnr: float, initialisation: int = 0, **known: Any) -> Row:
    """A row of a round by magnitude, or of the dense network, that has been judged."""
    method = "imp" if number else "dense"
    source = f".{known['source']}" if known.get("source") else ""
    row = Row(
        image,
        "lottery-imp",
        RowState.RESTORED,
        candidate=f"dip.{method}.{initialisation}{source}.r{number:02}",
        psnr=psnr,
        psnr_oracle_stop=psnr + 1,
        psnr_last=psnr - 1,
        round=number,
        initialisation=initialisation,
        sparsity=[0.0, 0.2, 0.36][number],
        parameters=1000,
        picked=False,
    )
    return replace(row, **known)


ROUNDS = [
    *(ticket("a.png", number, psnr) for number, psnr in enumerate((30.0, 30.5, 27.0))),
    *(ticket("b.png", number, psnr) for number, psnr in enumerate((20.0, 20.0, 19.0))),
]


def test_quality_over_sparsity_is_paired_with_the_dense_network(drawn: Show) -> None:
    header, *lines, last = drawn(*ROUNDS)
    assert cells(header) == ["arm", "round", "sparsity", "PSNR", "to dense", "95 %", "oracle", "last"]
    assert [cells(line) for line in lines] == [
        ["lottery-imp", "0", "0.0%", "25.00", "–", "–", "26.00", "24.00"],
        # 0.5 and 0 dB: their mean is 0.25, and so is its standard error, 12.706 times which is the interval's half.
        ["lottery-imp", "1", "20.0%", "25.25", "+0.25", "-2.93 to +3.43", "26.25", "24.25"],
        ["lottery-imp", "2", "36.0%", "23.00", "-2.00", "-14.71 to +10.71", "24.00", "22.00"],
    ]
    assert last == "lottery-imp: not below the dense network by 0.1 dB up to a sparsity of 20.0%"


def test_where_every_round_is_worse_nothing_is_said_of_matching_and_one_image_has_no_interval(drawn: Show) -> None:
    lines = drawn(ticket("a.png", 0, 30.0), ticket("a.png", 1, 29.0))
    assert len(lines) == 3
    assert cells(lines[2]) == ["lottery-imp", "1", "20.0%", "29.00", "-1.00", "–", "30.00", "28.00"]


def test_without_references_it_is_told_in_held_out_error(drawn: Show) -> None:
    rows = [
        replace(ticket("a.png", number, 0.0), psnr=None, psnr_oracle_stop=None, psnr_last=None, held_out_error=error)
        for number, error in ((0, 0.01), (1, 0.001))
    ]
    header, dense, sparse, _ = drawn(*rows)
    assert "held-out, dB" in cells(header)
    assert cells(dense) == ["lottery-imp", "0", "0.0%", "20.00", "–", "–", "–", "–"]
    assert cells(sparse) == ["lottery-imp", "1", "20.0%", "30.00", "+10.00", "–", "–", "–"]


def test_masks_that_are_not_blind_are_marked(drawn: Show) -> None:
    rows = [replace(row, blind=False) for row in ROUNDS]
    assert "lottery-imp (not blind)" in cells(drawn(*rows)[1])[0]


def test_tickets_that_were_moved_make_a_matrix_of_sources_and_images(drawn: Show) -> None:
    found = {"a": "a-1111", "b": "b-2222"}
    rows = list(ROUNDS)
    for image, source, psnr in (
        ("a", "a-1111", 31.0),
        ("b", "a-1111", 19.5),
        ("b", "b-2222", 20.25),
        ("b", "c-3", 18.0),
    ):
        rows.append(ticket(f"{image}.png", 1, psnr, source=source, arm=f"imp-from-{source}"))
    lines = drawn(*rows, **found)
    at = next(number for number, line in enumerate(lines) if "found on" in line)
    assert [cells(line) for line in lines[at:]] == [
        ["imp, round 1: dB to dense; found on", "a.png", "b.png"],
        ["a-1111", "+1.00 *", "-0.50"],
        ["b-2222", "–", "+0.25 *"],
        ["c-3", "–", "-2.00"],
    ]
    blind = drawn(*(replace(row, blind=False) for row in rows), **found)
    assert any(line.startswith("imp (not blind), round 1: dB to dense; found on") for line in blind)


@pytest.mark.parametrize("name", ["[red]x[/red]", "[/]", "[bold]", "a[0]"])
def test_an_image_of_a_matrix_that_looks_like_markup_is_a_name(drawn: Show, name: str) -> None:
    rows = [ticket(f"{name}.png", 0, 30.0), ticket(f"{name}.png", 1, 31.0, source="a-1111", arm="moved")]
    lines = drawn(*rows, **{name: "a-1111"})
    assert cells(lines[-2])[-1] == f"{name}.png"


def test_runs_without_rounds_have_no_such_table(drawn: Show) -> None:
    assert drawn(PLAIN, JUDGED) == []
    assert drawn() == []


def test_of_a_lottery_the_table_of_results_has_what_was_picked_and_its_sparsity(shown: Show) -> None:
    picked = replace(ROUNDS[1], picked=True, psnr_degraded=20.0)
    header, line = shown(ROUNDS[0], picked, ROUNDS[2])
    assert "sparsity" in cells(header)
    assert cells(line)[:3] == ["a.png", "dip.imp.0.r01", "20.0%"]
    header, *lines = shown(picked, replace(JUDGED, image="b.png"))
    assert cells(header)[:4] == ["image", "arm", "candidate", "sparsity"]
    assert cells(lines[1])[3] == "–"
