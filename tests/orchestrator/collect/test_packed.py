from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.collect.fits import Fitted
from orchestrator.collect.packed import CURVE_POINTS, pack, thin
from orchestrator.fit.record import FitRecord
from tests.orchestrator.collect.left import A, B, C, collected, leave_all
from tests.orchestrator.conftest import Encoded, MakeBench, MakeConfig
from workers.names import Chain, FitName, PriorName


def test_the_packed_record_has_a_row_for_every_fit(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(keep={"fits": "none"}), encoded(), encoded())
    leave_all(bench, evaluated=True)
    collected(bench, [B, A])
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    assert [(row["view"], row["candidate"]) for row in table] == [
        ("full", B),
        ("full", A),
        ("crop", A),
        ("crop", B),
        ("crop", C),
    ]
    first, failed = table[0], table[-1]
    assert {name: first[name] for name in first if not name.startswith(("psnr", "curve"))} == {
        "candidate": B,
        "view": "full",
        "state": "done",
        "reason": None,
        "held_out_error": 0.2,
        "held_out_standard_error": 0.1,
        "stop_iteration": 2,
        "steady_iteration": 1,
        "iterations": 3,
        "revealed": None,
        "residual_correlation": 0.125,
        "parameters": 1234,
        "sparsity": None,
        "blind": True,
        "seconds": 10.0,
        "multiply_adds": 600,
        "unrecorded": None,
    }
    assert (first["psnr"], first["psnr_steady"], first["psnr_oracle_stop"]) == (20.0, 19.0, 21.5)
    assert first["curve_iteration"] == [1, 2, 3]
    assert first["curve_held_out"] == pytest.approx([0.3, 0.2, 0.25])
    assert first["curve_psnr"] == pytest.approx([0.3, 0.2, 0.25])
    assert (failed["state"], failed["reason"], failed["psnr"]) == ("failed", "the fit diverged", None)
    assert (failed["curve_iteration"], failed["curve_held_out"], failed["curve_psnr"]) == ([], [], None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (PriorName("dip"), "dip"),
        (Chain("dip", "imp", 0), "dip.imp.0"),
        (Chain("dip", "imp", 0).round(5), "dip.imp.0.r05"),
    ],
    ids=["prior", "chain", "round"],
)
def test_the_name_of_a_fit_is_text_in_the_packed_record(name: FitName, text: str) -> None:
    table = pq.read_table(BytesIO(pack([Fitted(FitRecord(name, "full", "failed", reason="why"))])))
    assert table.schema.field("candidate").type == pa.string()
    assert table["candidate"].to_pylist() == [text]


def test_a_long_curve_is_thinned_but_keeps_its_ends_and_its_stop() -> None:
    length, stop = 3000, 1234
    curve = np.linspace(1, 0, length, dtype=np.float32)
    record = FitRecord(PriorName(A), "crop", "done", held_out_error=0.1, stop_iteration=stop, iterations=length)
    (row,) = pq.read_table(BytesIO(pack([Fitted(record, curve, curve[:0])]))).to_pylist()
    iterations = row["curve_iteration"]
    assert len(iterations) <= CURVE_POINTS + 1
    assert {1, stop, length} <= set(iterations)
    assert iterations == sorted(set(iterations))
    assert row["curve_held_out"] == [float(curve[iteration - 1]) for iteration in iterations]
    assert row["curve_psnr"] is None


@pytest.mark.parametrize(
    ("length", "keep"), [(0, None), (1, 0), (2, 1), (199, 3), (200, None), (201, 100), (5000, 4999)]
)
def test_thinning_keeps_short_curves_whole_and_is_evenly_spread(length: int, keep: int | None) -> None:
    at = thin(length, keep)
    if length <= CURVE_POINTS:
        assert at.tolist() == list(range(length))
        return
    assert CURVE_POINTS <= len(at) <= CURVE_POINTS + 1
    assert np.diff(at).max() <= np.ceil(length / (CURVE_POINTS - 1))
