import pytest

from orchestrator.fit.record import Evaluation, FitRecord, read_record
from orchestrator.run.layout import FitLayout
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(noise_seed=1), encoded())


@pytest.mark.parametrize(
    "record",
    [
        FitRecord("a", "crop", "failed", reason="why"),
        FitRecord("a", "crop", "paused", held_out_error=0.25, stop_iteration=3, iterations=4),
        FitRecord(
            *("a", "full", "done", None, 0.1, 0.01, 5, 4, 6, 0.125, 7, 0.5, False, 8.5, "0a"),
            Evaluation(1.5, 1.25, 2.5, 1),
        ),
    ],
    ids=["failed", "paused", "done"],
)
def test_records_come_back_as_they_were(record: FitRecord) -> None:
    assert FitRecord.from_json(record.to_json()) == record


def test_a_fit_without_a_record_is_not_finished(bench: Bench) -> None:
    assert read_record(bench.store, FitLayout("runs/test/fits/x")) is None
