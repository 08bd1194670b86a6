from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.collect import evidence as evidence_module
from orchestrator.collect.combining import delivered_of
from orchestrator.collect.evidence import Evidence
from orchestrator.collect.floor import Floor
from orchestrator.fit.record import Evaluation
from orchestrator.pick.decide import Decision
from orchestrator.run.rows import Delivered, Row
from tests.orchestrator.collect.left import A, B, C, collected, leave, named, pixels, restored
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.classical import Member
from workers.quality import psnr
from workers.stacking import Combination


def bench_of(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, **changes: Any) -> Bench:
    """A run of one noisy image of 48 x 48 pixels with its reference, whose arm fits three networks at full size."""
    config = make_config(pick={"full_fits": 3}, **changes)
    return make_bench(config, encoded(48, 48, noise_seed=1), encoded(48, 48))


def leave_members(bench: Bench, *spreads: float) -> dict[str, NDArray[np.float32]]:
    """Fits at full size whose errors are independent and have these standard deviations."""
    truth = Evidence(bench.context, bench.image).reference
    assert truth is not None
    random = np.random.default_rng(0)
    outputs = {}
    for candidate, spread in zip((B, A, C), spreads, strict=False):
        outputs[candidate] = (truth + random.normal(0, spread, truth.shape)).astype(np.float32)
        leave(bench, "full", candidate, outputs[candidate], held_out_error=0.01 + spread**2)
    return outputs


def weights_of(row: Row) -> dict[str, float]:
    assert row.stack_weights is not None
    return {name: float(weight) for name, _, weight in (each.partition("=") for each in row.stack_weights.split())}


def test_fits_with_independent_errors_are_stacked_and_the_stack_is_delivered(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    outputs = leave_members(bench, 0.04, 0.05, 0.08)
    row = collected(bench, [B, A, C])
    weights = weights_of(row)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-3)
    assert list(weights.values()) == sorted(weights.values(), reverse=True)
    stacked = sum(weight * outputs[name] for name, weight in weights.items())
    np.testing.assert_allclose(
        pixels(restored(bench, "stack")), np.clip(stacked.transpose(1, 2, 0), 0, 1) * 255, atol=0.6
    )
    assert restored(bench, "best") == restored(bench, row.delivered)
    assert row.held_out_stack is not None
    assert row.held_out_stack_standard_error is not None
    assert row.held_out_pick is not None
    assert 0 < row.held_out_stack_standard_error < row.held_out_stack < row.held_out_pick
    assert row.delivered in ("mean", "stack")
    assert row.psnr_delivered == (row.psnr_mean if row.delivered == "mean" else row.psnr_stack)
    assert row.psnr is not None
    assert row.psnr_delivered is not None
    assert row.psnr_delivered > row.psnr + 1


def test_a_pick_far_better_than_the_others_is_delivered_or_has_almost_all_the_weight(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_members(bench, 0.0, 0.3, 0.4)
    row = collected(bench, [B, A, C])
    assert weights_of(row)[B] > 0.95
    assert row.held_out_mean is not None
    assert row.held_out_pick is not None
    assert row.held_out_mean > row.held_out_pick
    assert row.delivered in ("pick", "stack")


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"task": {"name": "super-resolve", "factor": 2}}, Decision("held-out+consensus", named(B, A), {})),
        ({"task": {"name": "deblur"}}, Decision("held-out", named(B, A), {})),
        ({}, Decision("consensus", named(B, A), {}, correlated=True)),
        ({}, Decision("weighted-mean", named(B, A), {})),
    ],
)
def test_where_held_out_pixels_do_not_speak_for_the_image_the_pick_is_delivered(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, changes: dict[str, Any], decision: Decision
) -> None:
    bench = make_bench(make_config(**changes), encoded(40, 48))
    leave(bench, "full", B, 0.5)
    leave(bench, "full", A, 0.25)
    row = collected(bench, [B, A], decision)
    assert (row.delivered, row.stack_weights, row.held_out_stack, row.held_out_pick) == ("pick", None, None, None)
    assert restored(bench, "best") == restored(bench, "pick")
    assert not bench.store.exists(bench.context.layout.restored("isnas-dip-blind", "stack", bench.image.restored))


def test_a_single_fit_is_delivered_as_it_is(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_members(bench, 0.04)
    row = collected(bench, [B])
    assert (row.delivered, row.stack_weights) == ("pick", None)
    assert row.psnr_delivered == row.psnr
    assert restored(bench, "best") == restored(bench, "pick")


def test_a_run_of_an_older_version_has_neither_stack_nor_delivered_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_members(bench, 0.04, 0.05)
    older = replace(bench, image=replace(bench.image, rules=2))
    row = collected(older, [B, A])
    assert (row.delivered, row.psnr_delivered, row.stack_weights, row.psnr_stack) == (None, None, None, None)
    folder = f"{bench.context.layout.root}/restored/isnas-dip-blind"
    assert {key.split("/")[-2] for key in bench.store.keys(folder)} == {"pick", "mean", "spread"}


def test_all_members_of_a_cohort_at_full_size_are_stacked(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(
        make_config(cohort={"view": "full"}, pick={"full_fits": 1}), encoded(48, 48, noise_seed=1), encoded(48, 48)
    )
    leave_members(bench, 0.05, 0.05, 0.05)
    row = collected(bench, [B], Decision("held-out", named(B, A, C), {}))
    assert set(weights_of(row)) == {A, B, C}
    assert row.delivered == "stack"
    assert row.psnr_mean is None


def test_a_fit_that_is_not_finite_somewhere_has_no_weight(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(cohort={"view": "full"}, pick={"full_fits": 2})
    bench = make_bench(config, encoded(48, 48, noise_seed=1), encoded(48, 48))
    outputs = leave_members(bench, 0.05, 0.05, 0.05)
    down, right = np.argwhere(~Evidence(bench.context, bench.image).hidden)[0]
    outputs[C][0, down, right] = np.nan
    leave(bench, "full", C, outputs[C], held_out_error=0.0125)
    row = collected(bench, [B, A], Decision("held-out", named(B, A, C), {}))
    assert set(weights_of(row)) == {A, B}


def test_the_reference_changes_neither_weights_nor_what_is_delivered(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_members(bench, 0.04, 0.05, 0.08)
    row = collected(bench, [B, A, C])
    best = restored(bench, "best")
    bench.store.delete_all(bench.context.layout.rows)
    leave_members(bench, 0.04, 0.05, 0.08)
    without = replace(bench, image=replace(bench.image, reference=None))
    blind = collected(without, [B, A, C])
    assert (blind.stack_weights, blind.delivered, blind.held_out_stack) == (
        row.stack_weights,
        row.delivered,
        row.held_out_stack,
    )
    assert (blind.psnr_stack, blind.psnr_delivered) == (None, None)
    assert restored(without, "best") == best


def squared_with(mean: float, spread: float, seed: int) -> NDArray[np.float64]:
    """Squared errors on 100 pixels with exactly this mean and standard deviation."""
    drawn = np.random.default_rng(seed).normal(size=100)
    squared: NDArray[np.float64] = mean + spread * (drawn - drawn.mean()) / drawn.std(ddof=1)
    return squared


@pytest.mark.parametrize(
    ("pick", "mean", "stack", "classical", "delivered"),
    [
        (0.3, 0.2, 0.1, None, "stack"),
        (0.3, 0.2, 0.1, 0.4, "stack"),
        # The standard error of a difference of 100 pixels with a spread of 0.1 is 0.01.
        (0.195, 0.3, 0.2, None, "stack"),
        (0.185, 0.3, 0.2, None, "pick"),
        (0.3, 0.195, 0.2, None, "stack"),
        (0.3, 0.185, 0.2, None, "mean"),
        (0.185, 0.18, 0.2, None, "mean"),
        # A filter is as good a reason as any: what a run delivers never seems worse than a filter.
        (0.3, 0.3, 0.2, 0.1999, "classical"),
        (0.185, 0.3, 0.2, 0.1849, "classical"),
        (0.185, 0.3, 0.2, 0.186, "pick"),
        (0.3, 0.3, 0.2, 0.2, "stack"),
    ],
)
def test_the_stack_is_delivered_unless_another_is_clearly_better_or_a_filter_at_all(
    pick: float, mean: float, stack: float, classical: float | None, delivered: Delivered
) -> None:
    ways = {"stack": Combination(np.ones(1), squared_with(stack, 0.0, 0))}
    others = {"pick": pick, "mean": mean} | ({} if classical is None else {"classical": classical})
    for seed, (way, error) in enumerate(others.items()):
        ways[way] = Combination(np.ones(1), squared_with(error, 0.1, seed))
    assert delivered_of(ways) == delivered


@pytest.mark.parametrize("pixels", [1, 100])
def test_of_what_is_equal_the_simplest_is_delivered(pixels: int) -> None:
    same = Combination(np.ones(1), np.full(pixels, 0.1))
    ways = dict.fromkeys(("pick", "mean", "stack", "classical"), same)
    assert delivered_of(ways) == "pick"


def test_one_pixel_says_nothing_of_a_filter() -> None:
    fits = dict.fromkeys(("pick", "mean", "stack"), Combination(np.ones(1), np.array([0.1])))
    assert delivered_of(fits | {"classical": Combination(np.ones(1), np.array([0.01]))}) == "pick"


def test_psnr_of_the_stack_is_that_of_its_image(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    outputs = leave_members(bench, 0.05, 0.05)
    row = collected(bench, [B, A])
    truth = Evidence(bench.context, bench.image).reference
    assert truth is not None
    weights = weights_of(row)
    stacked = (weights[A] * outputs[A] + weights[B] * outputs[B]).astype(np.float32)
    assert row.psnr_stack == pytest.approx(psnr(stacked, truth), abs=0.01)


def test_weights_come_from_what_hidden_pixels_judge_and_combine_what_has_seen_all(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_members(bench, 0.04, 0.05, 0.08)
    before = collected(bench, [B, A, C])
    bench.store.delete_all(f"{bench.context.layout.root}/rows")
    outputs = leave_members(bench, 0.04, 0.05, 0.08)
    seen_all = {name: (output + 1) / 4 for name, output in outputs.items()}
    for name, output in outputs.items():
        error = {B: 0.04, A: 0.05, C: 0.08}[name] ** 2 + 0.01
        known = {"revealed": seen_all[name], "held_out_error": error, "evaluation": Evaluation(20.0, 19.0, 21.5)}
        leave(bench, "full", name, output, **known)
    row = collected(bench, [B, A, C])
    assert row.stack_weights == before.stack_weights
    assert (row.held_out_stack, row.held_out_error) == (before.held_out_stack, before.held_out_error)
    stacked = sum(weight * seen_all[name] for name, weight in weights_of(row).items())
    for which, expected in (("stack", stacked), ("pick", seen_all[B])):
        np.testing.assert_allclose(
            pixels(restored(bench, which)), np.clip(expected.transpose(1, 2, 0), 0, 1) * 255, atol=0.6
        )
    reference = Evidence(bench.context, bench.image).reference
    assert reference is not None
    assert row.psnr == pytest.approx(psnr(seen_all[B], reference))
    assert (row.revealed, row.psnr_before_reveal) == (5, 20.0)
    assert (row.iterations or 0) == (before.iterations or 0) + 3 * 5


def test_where_noise_is_correlated_what_has_seen_all_is_not_delivered(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded(40, 48))
    leave(bench, "full", B, 0.5, revealed=np.full((3, 40, 48), 0.75, np.float32))
    row = collected(bench, [B], Decision("consensus", named(B), {}, correlated=True))
    np.testing.assert_allclose(pixels(restored(bench, "pick")), 0.25 * 255, atol=1)
    assert (row.revealed, row.psnr_before_reveal) == (None, None)


@pytest.mark.parametrize("revealed", [True, False])
def test_a_filter_that_has_seen_the_hidden_pixels_is_judged_by_what_it_makes_without_them_where_fits_see_them_too(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch, revealed: bool
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    evidence = Evidence(bench.context, bench.image)
    truth = evidence.reference
    assert truth is not None
    noisy = evidence.observation.pixels
    noise = float(np.square(noisy - truth).mean())
    random = np.random.default_rng(0)
    for candidate, spread in ((B, 0.03), (A, 0.03)):
        output = (truth + random.normal(0, spread, truth.shape)).astype(np.float32)
        shown = {"revealed": output} if revealed else {}
        leave(bench, "full", candidate, output, held_out_error=noise + spread**2, **shown)
    # It gives the noise back, but its derivative is said to be a third of what it is, as where noise is uneven.
    blurred = np.full_like(truth, truth.mean())
    follower = Member("follower", None, blurred, noisy, 1 / 3, 0.0)
    monkeypatch.setattr(evidence_module, "floor_of", lambda *_: Floor([follower], [], follower, noise))
    row = collected(bench, [B, A])
    weights = weights_of(row)
    assert (weights.get("follower", 0) < 0.1) == revealed
    assert row.held_out_classical is not None
    assert row.held_out_mean is not None
    assert (row.held_out_classical > row.held_out_mean) == revealed
