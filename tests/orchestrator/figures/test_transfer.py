import pytest

from orchestrator.figures.comparison import paired
from orchestrator.figures.transfer import transfers
from orchestrator.run.layout import TOGETHER, slug
from orchestrator.run.rows import Row
from tests.orchestrator.figures.lotteries import F16, IDS, A, rounds, row


def moved_rows() -> list[Row]:
    f16, a = slug(IDS[F16]), slug(IDS[A])
    rows = [row(image, "dense", 0, 30.0 + at, initialisation=at) for image in IDS for at in range(2)]
    for image, ident in IDS.items():
        for source in (a, f16):
            gain = 0.5 if source == slug(ident) else -0.25
            rows += [
                row(image, "imp", 4, 30.0 + at + gain * (1 + at), initialisation=at, source=source) for at in range(2)
            ]
        rows += [row(image, "random", number, 28.0, initialisation=0) for number in (4, 5)]
        rows += [row(image, "imp", 4, 30.75, initialisation=0)]
    return rows


def test_moved_tickets_are_told_by_source_and_image_in_the_order_of_the_run() -> None:
    cells = transfers(moved_rows(), IDS)
    moved = [cell for cell in cells if cell.source is not None]
    f16, a = slug(IDS[F16]), slug(IDS[A])
    assert [(cell.source, cell.image, cell.own) for cell in moved] == [
        (f16, F16, True),
        (f16, A, False),
        (a, F16, False),
        (a, A, True),
    ]
    assert {(cell.method, cell.round, cell.measure, cell.fits) for cell in moved} == {("imp", 4, "psnr", 2)}
    own, other = moved[:2]
    assert (own.mean, own.low, own.high) == pytest.approx((0.75, *paired([0.5, 1.0])[2:]))
    assert other.mean == pytest.approx(-0.375)


def test_lines_to_compare_with_are_other_methods_and_own_tickets_of_equal_round() -> None:
    lines = [cell for cell in transfers(moved_rows(), IDS) if cell.source is None]
    assert [(cell.method, cell.round, cell.image, cell.mean, cell.low) for cell in lines] == [
        ("imp", 4, F16, 0.75, None),
        ("imp", 4, A, 0.75, None),
        ("random", 4, F16, -2.0, None),
        ("random", 4, A, -2.0, None),
    ]
    assert not any(cell.own for cell in lines)


def test_where_no_ticket_was_moved_there_is_nothing_to_tell() -> None:
    assert transfers(rounds("a", "imp", 30.0, 31.0), {"a": "a-1"}) == []
    # Nor one whose image has no dense fit.
    assert transfers([row(A, "imp", 1, 30.0, source="x-1")], IDS) == []


def test_sources_from_elsewhere_come_last_and_two_arms_with_the_same_fit_count_once() -> None:
    dense = row(A, "dense", 0, 30.0)
    elsewhere = row(A, "imp", 1, 31.0, source="0-other-12345678")
    together = row(A, "imp", 1, 31.5, source=TOGETHER)
    own = row(A, "imp", 1, 32.0, source=slug(IDS[A]), blind=False)
    cells = transfers([dense, elsewhere, together, own, own], IDS)
    assert [(cell.source, cell.fits, cell.blind) for cell in cells] == [
        (slug(IDS[A]), 1, False),
        ("0-other-12345678", 1, True),
        (TOGETHER, 1, True),
    ]
