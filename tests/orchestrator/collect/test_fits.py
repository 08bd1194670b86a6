from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from orchestrator.arms.resolve import arms_of
from orchestrator.collect.collect import collect
from orchestrator.collect.fits import Chosen, picked_network
from orchestrator.fit.cost import prior_cost
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import FitRecord, fit_keys
from orchestrator.pick.decide import Decision
from orchestrator.run.rows import RowState, rows_from_json
from orchestrator.score.score import Scored
from tests.orchestrator.collect.left import (
    DECISION,
    SHORTLIST,
    A,
    B,
    C,
    chosen,
    collected,
    leave,
    leave_all,
    lottery_bench,
    lottery_rows,
    named,
    pixels,
    restored,
    search,
)
from tests.orchestrator.conftest import Encoded, MakeBench, MakeConfig
from workers.names import PriorName


def test_of_a_cohort_at_full_size_the_picks_are_kept_and_every_second_is_counted_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(cohort={"view": "full"}, pick={"full_fits": 1}), encoded())
    leave(bench, "full", A, 0.5)
    leave(bench, "full", B, 0.25)
    leave(bench, "full", C, None)
    row = collected(bench, [B])
    assert row.seconds == 21.0
    kept = {key.split("/")[-2] for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {B}
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id)))
    assert table["candidate"].to_pylist() == [A, B, C]


def test_the_least_held_out_error_at_full_size_is_the_pick_but_for_rules_that_look_for_consensus(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    for rule, pick in (("held-out", A), ("consensus", B)):
        bench = make_bench(make_config(pick={"rule": rule}), encoded(), store=rule)
        leave(bench, "full", A, 0.25, held_out_error=0.1)
        leave(bench, "full", B, 0.75, held_out_error=0.3)
        row = collected(bench, [B, A], replace(DECISION, rule=rule))
        assert (row.candidate, row.rule) == (pick, rule)


def test_every_arm_has_its_row_and_files_and_is_charged_for_the_fits_that_it_shares(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(
        arms=["isnas-dip-blind", "random", {"name": "one", "networks": [A]}, "isnas-dip"], cohort={"downscale_px": 32}
    )
    bench = make_bench(config, encoded())
    leave_all(bench)
    leave(bench, "downscale", A, 0.1)
    blind, random, one, published = arms_of(config)
    chosen = [
        Chosen(blind, SHORTLIST, DECISION, named(B, A), {}),
        Chosen(random, SHORTLIST[:2], Decision("held-out", named(A, B), {}), named(A, B), {}),
        Chosen(one, [Scored(PriorName(A), 0.0)], Decision("held-out", named(A), {}), named(A), {}),
        Chosen(published, SHORTLIST[:1], Decision("weighted-mean", named(A), {}), named(A), {}),
    ]
    rows = collect(bench.context, bench.image, chosen, previews=True)
    assert rows_from_json(bench.store.get(bench.context.layout.row(bench.image.id))) == rows
    assert [row.arm for row in rows] == ["isnas-dip-blind", "random", "one", "isnas-dip"]
    assert [row.candidate for row in rows] == [B, A, A, A]
    assert [row.rule for row in rows] == ["held-out"] * 3 + ["weighted-mean"]
    # Two full fits with a cohort of two and a failure, or with a cohort of two; only one fit at full size; one of each.
    assert [row.iterations for row in rows] == [12, 12, 3, 6]
    assert [row.seconds for row in rows] == [41.0, 40.0, 10.0, 20.0]
    values = [int(pixels(restored(bench, arm=row.arm))[0, 0, 0]) for row in rows]
    assert values == [64, 191, 191, 191]
    shown = list(bench.store.keys(f"{bench.context.layout.root}/previews/{bench.image.id}"))
    assert sum(key.endswith("/degraded.png") for key in shown) == 1
    assert sum(key.endswith("/restored.png") for key in shown) == 4
    # The packed record holds every fit once.
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    fits = [(row["view"], row["candidate"]) for row in table]
    assert len(fits) == len(set(fits)) == 6
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {("full", A), ("full", B)}


def test_an_arm_that_halves_is_charged_up_to_the_rung_whoever_went_on(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    cohort = {"halving": "synchronous", "first_rung": 2}
    arms = ["isnas-dip-blind", {"name": "whole", "halving": "none"}]
    bench = make_bench(make_config(arms=arms, cohort=cohort), encoded())
    leave(bench, "crop", A, 0.1, iterations=8, multiply_adds=800)
    # The first arm ended this fit at the rung; the second brought it to its end.
    leave(bench, "crop", B, 0.1, iterations=8, multiply_adds=1600)
    # This fit has paused for good.
    keys = fit_keys(bench.context, FitJob(bench.image, "crop", PriorName(C)))
    for rung in (2, 4):
        record = FitRecord(
            PriorName(C), "crop", "paused", held_out_error=0.4, stop_iteration=rung, iterations=rung, seconds=rung
        )
        bench.store.put(keys.rung(rung), record.to_json())
    leave(bench, "full", A, 0.5, iterations=20, multiply_adds=5000)
    halving, whole = arms_of(bench.context.config)
    # Of a fit that a contest stopped, the cost is found from the network.
    of_paused = 4 * prior_cost(bench.context.config, bench.image, "crop", PriorName(C))
    chosen = [
        Chosen(halving, SHORTLIST, Decision("held-out", named(A), {}), named(A), {PriorName(B): 2, PriorName(C): 4}),
        Chosen(whole, SHORTLIST[:2], Decision("held-out", named(A, B), {}), named(A), {}),
    ]
    # Pauses that no listing shows yet count as well.
    monkeypatch.setattr(bench.store, "keys", lambda prefix: iter(()))
    rows = collect(bench.context, bench.image, chosen, previews=False)
    assert [row.iterations for row in rows] == [20 + 8 + 2 + 4, 20 + 8 + 8]
    assert [row.seconds for row in rows] == [10 + 10 + 2.5 + 4, 30]
    assert [row.multiply_adds for row in rows] == [5000 + 800 + 400 + of_paused, 5000 + 800 + 1600]
    table = pq.read_table(bench.store.local_path(bench.context.layout.cohort(bench.image.id))).to_pylist()
    last = table[-1]
    assert (last["candidate"], last["state"], last["iterations"]) == (C, "paused", 4)
    assert (last["curve_iteration"], last["psnr"]) == ([], None)


def test_an_image_may_be_called_like_a_rung(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = make_bench(make_config(), encoded(), name="rung-1.png")
    leave(bench, "full", A, 0.5)
    keys = fit_keys(bench.context, FitJob(bench.image, "crop", PriorName(B)))
    bench.store.put(keys.checkpoint, b"\xff not a record")
    assert collected(bench, [A]).state is RowState.RESTORED


def test_a_lottery_s_arm_is_charged_for_all_rounds_and_the_search_and_a_round_for_itself(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    search(bench, "dip.imp.0", 100, 7.0)
    search(bench, "dip.imp.1", 20, 2.5)
    search(bench, "dip.dense.0", 0, 0.0)
    search(bench, "dip.oes.0", 999, 999.0)
    picked, *others = lottery_rows(bench)
    # Five rounds of 3 iterations and 10 s, one that failed within a second.
    assert (picked.iterations, picked.seconds) == (5 * 3 + 120, 51.0 + 9.5)
    assert [(row.iterations, row.seconds) for row in others] == [(3, 10.0)] * 4 + [(None, None)]


def test_the_network_that_an_arm_has_picked_is_the_first_in_its_final_order_that_came_to_an_end(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    (choice,) = chosen(bench, [B, A])
    assert picked_network(bench.context, bench.image, choice) is None
    leave(bench, "full", B, None)
    assert picked_network(bench.context, bench.image, choice) is None
    leave(bench, "full", A, 0.5)
    assert picked_network(bench.context, bench.image, choice) == A
    # The held-out errors at full size decide.
    leave(bench, "full", B, 0.5, held_out_error=0.1)
    assert picked_network(bench.context, bench.image, choice) == B
    leave(bench, "full", B, 0.5, held_out_error=0.3)
    assert picked_network(bench.context, bench.image, choice) == A
