from typing import Any

import numpy as np
import pytest

from orchestrator.arms.resolve import arms_of
from orchestrator.collect.collect import collect
from orchestrator.collect.fits import Chosen
from orchestrator.fit.job import FitJob
from orchestrator.fit.record import fit_keys
from orchestrator.pick.decide import Decision
from orchestrator.run.rows import NOT_BLIND, RowState
from orchestrator.score.score import Scored
from tests.orchestrator.collect.left import (
    ROUNDS,
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
)
from tests.orchestrator.conftest import Encoded, MakeBench, MakeConfig
from workers.names import PriorName, parse_name
from workers.quality import psnr


def test_the_pick_is_the_first_full_fit_that_came_to_an_end(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave(bench, "full", B, None)
    leave(bench, "full", A, 0.5)
    row = collected(bench, [B, A])
    assert row.candidate == A
    assert (pixels(restored(bench)) == 128).all()
    assert row.seconds == 11.0


def test_where_nothing_was_fitted_the_row_says_why_and_no_file_is_written(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(), encoded())
    leave(bench, "crop", A, None)
    nothing = Decision("held-out", [], {PriorName(A): "the fit diverged", PriorName(B): "no result"})
    row = collected(bench, [], nothing, previews=True)
    assert row.state is RowState.FAILED
    assert row.reason == "no fit came to an end; the last reason: no result"
    assert row.seconds == 1.0
    assert row.psnr is None
    assert list(bench.store.keys(f"{bench.context.layout.root}/restored")) == []
    # Only the values that all arms have in common.
    folder = f"{bench.context.layout.root}/previews/{bench.image.id}"
    assert {key.removeprefix(f"{folder}/") for key in bench.store.keys(folder)} == {"degraded.png", "reference.png"}


def test_the_reason_is_that_of_the_full_size_fits_where_there_are_some(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave(bench, "full", B, None)
    row = collected(bench, [B])
    assert (row.state, row.reason) == (RowState.FAILED, "no fit came to an end; the last reason: the fit diverged")


def test_where_noise_is_correlated_the_steadiest_outputs_are_the_result_and_the_row_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(noise_seed=1), encoded())
    leave(bench, "full", B, 0.5, held_out_error=0.3, held_out_standard_error=0.001)
    leave(bench, "full", A, 1.0, held_out_error=0.1)
    decision = Decision("consensus", named(B, A, C), {}, correlated=True, residual_correlation=0.456)
    row = collected(bench, [B, A], decision)
    assert (row.candidate, row.rule, row.stopping, row.stop_iteration) == (B, "consensus", "es-emv", 1)
    assert (pixels(restored(bench)) == 64).all()
    # Held-out errors weigh nothing then: the plain mean of 0.25 and 0.5.
    assert (pixels(restored(bench, "mean")) == 96).all()
    assert row.note is not None
    assert "correlated" in row.note
    assert "(0.46)" in row.note
    assert row.psnr_low is None
    assert row.psnr is not None


@pytest.mark.parametrize(
    ("changes", "correlation"),
    [({"task": {"name": "jpeg"}}, 0.3), ({"fit": {"stopping": "es-emv"}, "pick": {"noise": "correlated"}}, None)],
)
def test_what_was_asked_for_needs_no_note(
    make_bench: MakeBench,
    make_config: MakeConfig,
    encoded: Encoded,
    changes: dict[str, Any],
    correlation: float | None,
) -> None:
    bench = make_bench(make_config(**changes), encoded())
    leave_all(bench)
    decision = Decision("consensus", named(B, A), {}, correlated=True, residual_correlation=correlation)
    row = collected(bench, [B, A], decision)
    assert (row.stopping, row.note) == ("es-emv", None)


@pytest.mark.parametrize(
    ("changes", "unknown"),
    [
        ({}, True),
        ({"pick": {"noise": "independent"}}, False),
        ({"task": {"name": "inpaint"}}, False),
        ({"arms": ["isnas-dip"]}, False),
    ],
)
def test_an_image_too_small_to_examine_its_noise_says_so(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, changes: dict[str, Any], *, unknown: bool
) -> None:
    bench = make_bench(make_config(**changes), encoded(noise_seed=1))
    leave_all(bench)
    (choice,) = chosen(bench, [B, A], Decision("held-out", named(B, A), {}))
    (row,) = collect(bench.context, bench.image, [choice], previews=False)
    assert ("unknown: it has too few pixels" in (row.note or "")) == unknown


def test_one_arm_may_fail_and_another_not(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    config = make_config(arms=["isnas-dip-blind", "random"])
    bench = make_bench(config, encoded())
    leave(bench, "full", A, 0.5)
    leave(bench, "full", B, None)
    chosen = [
        Chosen(arm, SHORTLIST, Decision("held-out", named(candidate), {}), named(candidate), {})
        for arm, candidate in zip(arms_of(config), (A, B), strict=True)
    ]
    rows = collect(bench.context, bench.image, chosen, previews=False)
    assert [row.state for row in rows] == [RowState.RESTORED, RowState.FAILED]


def test_a_lottery_has_a_row_for_every_round_and_one_of_them_is_picked(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    rows = lottery_rows(bench, failed={"dip.imp.1.r02": "the fit diverged"})
    assert [row.candidate for row in rows] == ["dip.imp.0.r01", *(name for name in ROUNDS if name != "dip.imp.0.r01")]
    assert [row.picked for row in rows] == [True] + [False] * 5
    assert {(row.image, row.arm, row.rule, row.stopping) for row in rows} == {
        ("a.png", "lottery-imp", "held-out", "held-out")
    }
    told = {
        str(row.candidate): (row.initialisation, row.round, row.sparsity, row.parameters, row.psnr_last) for row in rows
    }
    assert told == {
        "dip.imp.0.r01": (0, 1, 0.2, 800, 18.0),
        "dip.dense.0.r00": (0, 0, 0.0, 1000, 18.0),
        "dip.dense.1.r00": (1, 0, 0.0, 1000, 18.0),
        "dip.imp.0.r02": (0, 2, 0.36, 640, 18.0),
        "dip.imp.1.r01": (1, 1, 0.2, 800, 18.0),
        "dip.imp.1.r02": (1, 2, None, None, None),
    }
    truth = pixels(encoded()).astype(np.float64) / 255
    for row in rows[:-1]:
        output = ROUNDS[str(row.candidate)][0]
        assert output is not None
        assert row.state is RowState.RESTORED
        assert row.psnr == pytest.approx(psnr(np.full_like(truth, output), truth), abs=1e-3)
        assert (row.held_out_error, row.stop_iteration, row.psnr_oracle_stop, row.source) == (0.2, 2, 21.5, None)
    failed = rows[-1]
    assert (failed.state, failed.reason, failed.psnr) == (RowState.FAILED, "the fit diverged", None)
    # The images of the picked row are written, and no others.
    assert (pixels(restored(bench, arm="lottery-imp")) == 191).all()
    written = list(bench.store.keys(f"{bench.context.layout.root}/restored"))
    assert {key.split("/")[-2] for key in written} == {"best", "pick", "mean", "stack", "spread"}


def test_a_round_that_was_never_begun_says_why(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    for name in ("dip.imp.0.r02", "dip.imp.1.r01"):
        bench.store.delete_all(fit_keys(bench.context, FitJob(bench.image, "full", parse_name(name))).root)
    rows = {row.candidate: row for row in lottery_rows(bench, failed={"dip.imp.0.r02": "no ticket"})}
    lost = rows["dip.imp.0.r02"]
    assert (lost.state, lost.reason, lost.round, lost.initialisation) == (RowState.FAILED, "no ticket", 2, 0)
    assert rows["dip.imp.1.r02"].reason == "the fit diverged"
    # Unknown values are left out.
    assert (rows["dip.imp.1.r01"].state, rows["dip.imp.1.r01"].reason) == (RowState.FAILED, None)


def test_where_all_rounds_failed_there_is_a_row_for_the_image_and_for_each_of_them(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    for name in ROUNDS:
        leave(bench, "full", name, None)
    first, *others = lottery_rows(bench, [], dict.fromkeys(ROUNDS, "the fit diverged"), previews=True)
    assert (first.picked, first.state, first.candidate) == (True, RowState.FAILED, None)
    assert first.reason == "no fit came to an end; the last reason: the fit diverged"
    assert [(row.candidate, row.state, row.picked) for row in others] == [
        (name, RowState.FAILED, False) for name in ROUNDS
    ]
    assert {row.reason for row in others} == {"the fit diverged"}


@pytest.mark.parametrize("previews", [True, False])
def test_rounds_of_the_first_initialisation_are_shown_where_previews_are_wanted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, previews: bool
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    lottery_rows(bench, previews=previews)
    folder = f"{bench.context.layout.root}/previews/{bench.image.id}/lottery-imp"
    shown = {key.removeprefix(f"{folder}/"): bench.store.get(key) for key in bench.store.keys(folder)}
    rounds = {name: int(pixels(data)[0, 0, 0]) for name, data in shown.items() if name.startswith("round")}
    # The pick has it too.
    assert rounds == ({"round-00.png": 128, "round-01.png": 191, "round-02.png": 26} if previews else {})
    assert ("restored.png" in shown) is previews


def test_of_correlated_noise_every_round_is_told_where_its_outputs_varied_least(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    (arm,) = arms_of(bench.context.config)
    rounds = named(*ROUNDS)
    decision = Decision("consensus", rounds[:-1], {}, correlated=True, residual_correlation=0.5)
    choice = Chosen(arm, [Scored(name, 0.0) for name in rounds], decision, rounds[:1], {})
    rows = collect(bench.context, bench.image, [choice], previews=True)
    truth = pixels(encoded()).astype(np.float64) / 255
    assert len({row.note for row in rows}) == 1
    assert "correlated" in str(rows[0].note)
    for row in rows[:-1]:
        # Half of the output where it was stopped, see `leave`.
        half = (ROUNDS[str(row.candidate)][0] or 0) / 2
        assert row.psnr == pytest.approx(psnr(np.full_like(truth, half), truth), abs=1e-3)
        assert (row.stop_iteration, row.stopping) == (1, "es-emv")


@pytest.mark.parametrize("blind", [True, False])
def test_masks_that_were_found_on_a_clean_image_are_told_in_every_row(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, blind: bool
) -> None:
    bench = lottery_bench(make_bench, make_config, encoded)
    leave(bench, "full", "dip.imp.1.r02", 0.3, blind=blind)
    rows = lottery_rows(bench)
    assert [row.note for row in rows] == [None if blind else NOT_BLIND] * 6
    assert [row.blind for row in rows] == [blind] * 6


def test_a_ticket_from_elsewhere_is_told_with_its_source(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    moved = {"name": "moved", "like": "lottery-imp", "source": "f16-5fb2ac1e"}
    bench = make_bench(make_config(arms=[moved], lottery={"tickets": "earlier"}), encoded())
    texts = [f"dip.imp.{number}.f16-5fb2ac1e.r01" for number in (0, 1)]
    leave(bench, "full", texts[0], 0.5)
    leave(bench, "full", texts[1], None)
    names = named(*texts)
    (arm,) = arms_of(bench.context.config)
    choice = Chosen(arm, [Scored(name, 0.0) for name in names], Decision("held-out", names[:1], {}), names[:1], {})
    rows = collect(bench.context, bench.image, [choice], previews=False)
    assert [(row.arm, row.source, row.round, row.initialisation) for row in rows] == [
        ("moved", "f16-5fb2ac1e", 1, 0),
        ("moved", "f16-5fb2ac1e", 1, 1),
    ]


def test_other_arms_have_one_row_that_is_picked_and_no_rounds(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(arms=["dip"]), encoded())
    leave(bench, "full", "dip", 0.5)
    (arm,) = arms_of(bench.context.config)
    choice = Chosen(arm, [Scored(PriorName("dip"), 0.0)], Decision("held-out", named("dip"), {}), named("dip"), {})
    (row,) = collect(bench.context, bench.image, [choice], previews=False)
    assert (row.picked, row.round, row.initialisation, row.sparsity, row.source) == (True, None, None, None, None)
    assert row.parameters == 1234
