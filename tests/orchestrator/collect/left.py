"""Fits in a store for the tests, and the result of collecting them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from orchestrator.arms.resolve import arms_of
from orchestrator.collect.collect import collect
from orchestrator.collect.fits import Chosen
from orchestrator.fit.arrays import FitArrays
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import Evaluation, FitRecord, fit_keys
from orchestrator.pick.decide import Decision
from orchestrator.run.rows import Row, rows_from_json
from orchestrator.score.score import Scored
from tests.orchestrator.conftest import CANDIDATES, Bench, Encoded, MakeBench, MakeConfig
from workers.names import FitName, PriorName, parse_name

A, B, C = CANDIDATES


def named(*texts: str) -> list[FitName]:
    """The names that these texts have in rows, tables and keys."""
    return list(map(parse_name, texts))


SHORTLIST = [Scored(PriorName(A), 1.0), Scored(PriorName(B), 2.0), Scored(PriorName(C), 3.0)]


DECISION = Decision("held-out", named(B, A), {PriorName(C): "the fit diverged"}, residual_correlation=0.02)


def leave(bench: Bench, view: Any, candidate: str, output: float | NDArray[np.float32] | None, **known: Any) -> None:
    """A fit in the store: a finished one with this output (a number means the same everywhere), or a failed one.

    The output where its outputs varied least is half of it. With ``revealed`` it has gone on for five iterations with
    all pixels, to this output.
    """
    name = parse_name(candidate)
    keys = fit_keys(bench.context, FitJob(bench.image, view, name))
    if output is None:
        record = FitRecord(name, view, "failed", reason="the fit diverged", seconds=1.0)
    else:
        scale = bench.context.config.task.scale
        sides = (scale * bench.image.height, scale * bench.image.width) if view == "full" else (32, 32)
        pixels = np.broadcast_to(np.float32(output), (bench.image.channels, *sides))
        curve = np.array([0.3, 0.2, 0.25], dtype=np.float32)
        seen = curve if known.get("evaluation") else curve[:0]
        revealed = known.pop("revealed", None)
        arrays = FitArrays(pixels, pixels / 2, curve, seen, *(() if revealed is None else (revealed,)))
        bench.store.put(keys.arrays("x"), arrays.to_bytes())
        known = {"multiply_adds": 600, "revealed": None if revealed is None else 5, **known}
        record = FitRecord(name, view, "done", None, 0.2, 0.1, 2, 1, 3, None, 0.125, 1234, seconds=10.0, arrays="x")
        record = replace(record, **known)
    bench.store.put(keys.result, record.to_json())


def leave_all(bench: Bench, *, evaluated: bool = False) -> None:
    """A cohort of two and a failure, and two fits at full size."""
    evaluation = Evaluation(20.0, 19.0, 21.5) if evaluated else None
    for view, candidate, value in (
        ("crop", A, 0.1),
        ("crop", B, 0.2),
        ("crop", C, None),
        ("full", B, 0.25),
        ("full", A, 0.75),
    ):
        leave(bench, view, candidate, value, evaluation=evaluation)


def chosen(
    bench: Bench, full: Sequence[str], decision: Decision = DECISION, ended: Mapping[FitName, int] | None = None
) -> list[Chosen]:
    """Return the choices of the run's arms, which all choose the same."""
    return [Chosen(arm, SHORTLIST, decision, named(*full), ended or {}) for arm in arms_of(bench.context.config)]


def collected(bench: Bench, full: Sequence[str], decision: Decision = DECISION, *, previews: bool = False) -> Row:
    """The row of the run's one arm."""
    rows = collect(bench.context, bench.image, chosen(bench, full, decision), previews=previews)
    (row,) = rows
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    return row


def restored(bench: Bench, which: Any = "pick", arm: str = "isnas-dip-blind") -> bytes:
    name = bench.image.spread if which == "spread" else bench.image.restored
    return bench.store.get(bench.context.layout.restored(arm, which, name))


def pixels(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(BytesIO(data)))


ROUNDS = {
    "dip.dense.0.r00": (0.5, 0.0),
    "dip.dense.1.r00": (0.25, 0.0),
    "dip.imp.0.r01": (0.75, 0.2),
    "dip.imp.0.r02": (0.1, 0.36),
    "dip.imp.1.r01": (0.2, 0.2),
    "dip.imp.1.r02": (None, 0.36),
}
"""Outputs of rounds (the last has none), and how sparse they are."""


def lottery_bench(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, **changes: Any) -> Bench:
    """A run in which two chains of two rounds have been fitted."""
    lottery = {"initialisations": 2, "rounds": 2} | changes.pop("lottery", {})
    config = make_config(arms=["lottery-imp"], lottery=lottery, **changes)
    bench = make_bench(config, encoded(noise_seed=1), encoded())
    for name, (output, sparsity) in ROUNDS.items():
        evaluation = Evaluation(20.0, 19.0, 21.5, 18.0)
        leave(
            bench, "full", name, output, evaluation=evaluation, sparsity=sparsity, parameters=int(1000 * (1 - sparsity))
        )
    return bench


def search(bench: Bench, chain: str, iterations: int, seconds: float, **known: Any) -> None:
    """The record of a chain."""
    name = parse_name(chain)
    record = FitRecord(name, "full", "done", iterations=iterations, seconds=seconds)
    keys = fit_keys(bench.context, FitJob(bench.image, "full", name))
    bench.store.put(keys.result, replace(record, **known).to_json())


def lottery_rows(
    bench: Bench, order: Sequence[str] | None = None, failed: Mapping[str, str] | None = None, *, previews: bool = False
) -> list[Row]:
    """The rows of a lottery whose rounds a rule has put into this order."""
    (arm,) = arms_of(bench.context.config)
    if order is None:
        order = ["dip.imp.0.r01", *(name for name in ROUNDS if name != "dip.imp.0.r01")]
    best = named(*order)
    cohort = [Scored(name, 0.0) for name in named(*ROUNDS)]
    reasons = {parse_name(name): reason for name, reason in (failed or {}).items()}
    decision = Decision("held-out", best, reasons, residual_correlation=0.02)
    choice = Chosen(arm, cohort, decision, best[: arm.full_fits], {})
    rows = collect(bench.context, bench.image, [choice], previews=previews)
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    return rows
