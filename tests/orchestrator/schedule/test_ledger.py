import json
from collections.abc import Callable

import pytest

from orchestrator.arms.resolve import arms_of
from orchestrator.errors import SupersededError
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys, read_record
from orchestrator.run.rows import RowState, read_rows
from orchestrator.schedule.actions import EndImage
from orchestrator.schedule.ledger import StoreLedger
from orchestrator.schedule.queue import Finished
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import parse_name
from workers.tiles import Tiling, tiling_of

NAME = parse_name(CANDIDATES[0])


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(arms=["random", "dip"]), encoded())


def ledger_of(bench: Bench, confirm: Callable[[], None] = lambda: None) -> StoreLedger:
    return StoreLedger(bench.context, arms_of(bench.context.config), confirm)


def job_of(bench: Bench, until: int | None = None) -> FitJob:
    return FitJob(bench.image, "crop", NAME, until)


def test_a_failure_is_recorded_once_and_a_result_that_is_there_counts_more(bench: Bench) -> None:
    job, ledger = job_of(bench), ledger_of(bench)
    assert ledger.failed(job, "it crashed three times")
    record = read_record(bench.store, fit_keys(bench.context, job))
    assert record is not None
    assert (record.state, record.reason) == ("failed", "it crashed three times")
    other = FitJob(bench.image, "full", NAME)
    done = FitRecord(record.candidate, "full", "done", iterations=5)
    bench.store.create(fit_keys(bench.context, other).result, done.to_json())
    assert not ledger.failed(other, "it crashed three times")
    assert read_record(bench.store, fit_keys(bench.context, other)) == done


def test_the_tiles_that_an_image_was_first_cut_into_count(bench: Bench) -> None:
    first, second = tiling_of(40, 48, 32, 8), tiling_of(40, 48, 16, 8)

    def ledger_with(tiling: Tiling | None) -> StoreLedger:
        return StoreLedger(bench.context, (), lambda: None, lambda image: tiling)

    assert ledger_of(bench).tiling(bench.image) is None
    assert ledger_with(first).tiling(bench.image) == first
    # Later drivers may have machines with less memory, or with more.
    for now in (second, None):
        assert ledger_with(now).tiling(bench.image) == first


def test_a_fit_that_a_contest_stopped_is_recorded_where_it_was(bench: Bench) -> None:
    job = job_of(bench)
    finished = Finished(job, "stopped", iteration=4, held_out_error=0.25, seconds=1.23456)
    ledger_of(bench).stopped(finished)
    record = read_record(bench.store, fit_keys(bench.context, job), 4)
    assert record is not None
    assert (record.state, record.held_out_error, record.iterations, record.seconds) == ("paused", 0.25, 4, 1.235)


@pytest.mark.parametrize("keep", ["full", "all"])
def test_an_image_that_goes_no_further_has_a_row_for_every_arm_and_its_fits_are_deleted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str
) -> None:
    bench = make_bench(make_config(arms=["random", "dip"], keep={"fits": keep}), encoded())
    key = fit_keys(bench.context, job_of(bench)).checkpoint
    bench.store.put(key, b"state")
    assert ledger_of(bench).end(EndImage(bench.image, RowState.REJECTED, "it is damaged"))
    rows = read_rows(bench.store, bench.context.layout)
    assert [(row.image, row.arm, row.state, row.reason) for row in rows] == [
        ("a.png", arm, RowState.REJECTED, "it is damaged") for arm in ("random", "dip")
    ]
    assert bench.store.exists(key) == (keep == "all")


def test_rows_that_are_there_stay_and_so_do_the_fits_that_they_name(bench: Bench) -> None:
    ledger = ledger_of(bench)
    assert ledger.end(EndImage(bench.image, RowState.REJECTED, "first"))
    key = fit_keys(bench.context, FitJob(bench.image, "full", NAME)).result
    bench.store.put(key, b"a record")
    assert not ledger.end(EndImage(bench.image, RowState.FAILED, "second"))
    assert bench.store.exists(key)
    stored = json.loads(bench.store.get(bench.context.layout.row(bench.image.id)))
    assert {row["reason"] for row in stored["rows"]} == {"first"}


def test_a_driver_that_was_succeeded_records_no_failure(bench: Bench) -> None:
    def superseded() -> None:
        raise SupersededError("another driver has it")

    ledger = ledger_of(bench, superseded)
    with pytest.raises(SupersededError):
        ledger.failed(job_of(bench), "its Ray is gone")
    with pytest.raises(SupersededError):
        ledger.end(EndImage(bench.image, RowState.FAILED, "its Ray is gone"))
    assert list(bench.store.keys(bench.context.layout.root)) == []
