from collections.abc import Callable
from dataclasses import replace

import pytest

from orchestrator.cli.table import print_rows, printable
from orchestrator.results import Row, RowState

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
    header, first, second, reason = shown(PLAIN, Row("b.txt", "x", RowState.REJECTED, reason="not an image"))
    assert cells(header)[1] == "state"
    assert cells(first)[1] == "restored"
    assert cells(second) == ["b.txt", "rejected", "–", "–", "–", "–"]
    assert reason == "b.txt: not an image"


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


@pytest.mark.parametrize("name", ["plain.png", "a b.png", "ä日本🙂.png", "<&>\"'.png"])
def test_what_can_be_printed_is_left_alone(name: str) -> None:
    assert printable(name) == name
