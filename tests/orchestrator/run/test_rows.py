import csv
import io
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.errors import DamagedError, NewerFormatError
from orchestrator.run.layout import RunLayout
from orchestrator.run.rows import (
    COLUMNS,
    NOT_BLIND,
    Row,
    RowState,
    read_rows,
    rows_from_json,
    rows_record,
    rows_to_csv,
    rows_to_json,
    write_results,
)
from orchestrator.store import LocalStore

FULL = Row(
    image='sub/ä, "b".png',
    arm="isnas-dip-blind",
    state=RowState.RESTORED,
    candidate="0-0000000000000000000000000",
    stop_iteration=123,
    held_out_error=0.0123456789,
    psnr_degraded=20.25,
    psnr=30.5,
    ssim=0.87,
    rule="held-out",
    stopping="held-out",
    note="because",
    psnr_low=29.5,
    psnr_high=30.25,
    psnr_y=31.5,
    psnr_oracle_stop=30.75,
    psnr_mean=31.125,
    iterations=4321,
    seconds=12.345,
    picked=False,
    round=3,
    initialisation=1,
    sparsity=0.488,
    parameters=2345,
    source="f16-5fb2ac1e",
    psnr_last=29.75,
    blind=False,
)
BARE = Row("a\nb.txt", "isnas-dip-blind", RowState.REJECTED, reason="not an image")
LAYOUT = RunLayout("r")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_rows_come_back_from_json_as_they_were() -> None:
    again = rows_from_json(rows_to_json([FULL, BARE]))
    assert again == [FULL, BARE]
    assert again[1].state is RowState.REJECTED
    assert rows_from_json(rows_to_json([]).encode()) == []


def test_rows_in_the_store_carry_a_format_and_those_for_people_do_not() -> None:
    record = json.loads(rows_record([FULL, BARE]))
    assert record["format"] == 1
    assert record["rows"] == json.loads(rows_to_json([FULL, BARE]))
    assert rows_from_json(rows_record([FULL, BARE])) == [FULL, BARE]


def test_in_rows_without_the_column_the_note_says_whether_they_are_blind() -> None:
    def old(note: str | None) -> dict[str, Any]:
        row = asdict(Row("a", "lottery-imp", RowState.RESTORED, note=note))
        del row["blind"]
        return row

    rows = rows_from_json(json.dumps([old(None), old("another note"), old(f"another note; {NOT_BLIND}")]))
    assert [row.blind for row in rows] == [True, True, False]


def test_rows_of_a_newer_version_are_refused_by_their_place(store: LocalStore) -> None:
    store.put(LAYOUT.row("x-1"), b'{"format": 2, "rows": []}')
    with pytest.raises(NewerFormatError, match=r"the rows .*x-1\.json has format 2"):
        read_rows(store, LAYOUT)


def test_rows_that_cannot_be_read_hide_no_others(store: LocalStore) -> None:
    for name in "abcdef":
        store.put(LAYOUT.row(name), rows_record([replace(BARE, image=name)]))
    for name, damage in (("a", b"{"), ("c", b'{"format": 9}'), ("d", b'{"format": 1, "rows": [{"image": 3}]}')):
        store.put(LAYOUT.row(name), damage)
    spoilt = Path(store.show(LAYOUT.row("f")))
    spoilt.write_bytes(b"x" + spoilt.read_bytes())
    with pytest.raises(DamagedError, match=r"a\.json is damaged: it is not the rows"):
        read_rows(store, LAYOUT)
    lines: list[str] = []
    assert [row.image for row in read_rows(store, LAYOUT, lines.append)] == ["b", "e"]
    assert len(lines) == 4
    for line, place in zip(lines, ("a.json", "c.json has format 9", "d.json", "f.json"), strict=True):
        assert place in line
        assert "\n" not in line


def test_json_has_every_column_and_null_for_what_is_not_known() -> None:
    full, bare = json.loads(rows_to_json([FULL, BARE]))
    assert tuple(full) == tuple(bare) == COLUMNS
    assert [name for name, value in bare.items() if value is not None] == [
        *("image", "arm", "state", "reason", "picked", "blind"),
    ]
    assert bare["state"] == "rejected"


def test_a_figure_that_is_no_number_is_not_written_as_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        rows_to_json([Row("a", "b", RowState.RESTORED, psnr=float("nan"))])


def test_csv_has_a_header_and_comes_back_with_empty_for_what_is_not_known() -> None:
    text = rows_to_csv([FULL, BARE])
    assert text.splitlines()[0] == ",".join(COLUMNS)
    full, bare = csv.DictReader(io.StringIO(text))
    assert full["image"] == FULL.image
    assert float(full["held_out_error"]) == FULL.held_out_error
    assert int(full["stop_iteration"]) == 123
    assert (full["picked"], bare["picked"]) == ("False", "True")
    assert bare["image"] == BARE.image
    assert [name for name, value in bare.items() if value] == [
        *("image", "arm", "state", "reason", "picked", "blind"),
    ]
    assert bare["state"] == "rejected"


def test_both_tables_are_left_in_the_store_and_say_the_same(store: LocalStore) -> None:
    write_results(store, LAYOUT, [FULL, BARE])
    assert store.get(LAYOUT.results("csv")).decode() == rows_to_csv([FULL, BARE])
    table = pq.read_table(store.local_path(LAYOUT.results("parquet")))
    assert table.to_pylist() == [asdict(FULL), asdict(BARE)]


def test_the_parquet_types_do_not_depend_on_the_rows(store: LocalStore) -> None:
    schemas = []
    for rows in ([], [BARE], [FULL, BARE]):
        write_results(store, LAYOUT, rows)
        schemas.append(pq.read_schema(store.local_path(LAYOUT.results("parquet"))))
    assert schemas[0] == schemas[1] == schemas[2]
    assert tuple(schemas[0].names) == COLUMNS
    assert schemas[0].field("stop_iteration").type == schemas[0].field("iterations").type == pa.int64()
    assert schemas[0].field("round").type == schemas[0].field("parameters").type == pa.int64()
    assert schemas[0].field("note").type == schemas[0].field("source").type == pa.string()
    assert schemas[0].field("picked").type == schemas[0].field("blind").type == pa.bool_()
    assert schemas[0].field("psnr").type == pa.float64()


def test_the_rows_so_far_are_read_by_the_images_names_and_within_them_as_the_arms_were_asked_for(
    store: LocalStore,
) -> None:
    assert read_rows(store, LAYOUT) == []
    for image_id, name, arms in (("x-1", "b.png", ("z", "a")), ("y-2", "a.png", ("z",))):
        rows = [Row(name, arm, RowState.FAILED) for arm in arms]
        store.put(LAYOUT.row(image_id), rows_to_json(rows).encode())
    store.put(RunLayout("other").row("w-3"), rows_to_json([FULL]).encode())
    assert [(row.image, row.arm) for row in read_rows(store, LAYOUT)] == [
        ("a.png", "z"),
        ("b.png", "z"),
        ("b.png", "a"),
    ]
