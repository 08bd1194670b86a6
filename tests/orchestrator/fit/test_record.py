import json

import pytest

from orchestrator.fit.record import Evaluation, FitRecord, read_record
from orchestrator.run.layout import FitLayout
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.names import Chain, FitName, PriorName


@pytest.fixture
def bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> Bench:
    return make_bench(make_config(), encoded(noise_seed=1), encoded())


@pytest.mark.parametrize(
    "record",
    [
        FitRecord(PriorName("a"), "crop", "failed", reason="why"),
        FitRecord(PriorName("a"), "crop", "paused", held_out_error=0.25, stop_iteration=3, iterations=4),
        FitRecord(
            *(PriorName("a"), "full", "done", None, 0.1, 0.01, 5, 4, 6, 2, 0.125, 7, 0.5, False, 8.5, "0a"),
            Evaluation(1.5, 1.25, 2.5, 1, 1.75),
        ),
    ],
    ids=["failed", "paused", "done"],
)
def test_records_come_back_as_they_were(record: FitRecord) -> None:
    assert FitRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (PriorName("158-1111101111001110001100001"), "158-1111101111001110001100001"),
        (Chain("dip", "imp", 0), "dip.imp.0"),
        (Chain("dip", "imp", 0, "f16-5fb2ac1e").round(5), "dip.imp.0.f16-5fb2ac1e.r05"),
    ],
    ids=["prior", "chain", "round"],
)
def test_the_name_of_a_fit_is_text_in_its_record_and_comes_back_as_a_name(name: FitName, text: str) -> None:
    record = FitRecord(name, "full", "done", seconds=1.5)
    said = json.loads(record.to_json())
    assert (said["format"], said["candidate"]) == (1, text)
    assert FitRecord.from_json(record.to_json()) == record
    # Records of the first format have the same text.
    assert (
        FitRecord.from_json(json.dumps({"candidate": text, "view": "full", "state": "done"}).encode()).candidate == name
    )


def test_a_fit_without_a_record_is_not_finished(bench: Bench) -> None:
    assert read_record(bench.store, FitLayout("runs/test/fits/x")) is None
