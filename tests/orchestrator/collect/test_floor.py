from dataclasses import replace
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from orchestrator.collect.evidence import Evidence
from orchestrator.collect.floor import NO_FLOOR, floor_of
from orchestrator.pick.decide import Decision
from tests.orchestrator.collect.left import A, B, collected, leave, named, pixels, restored
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig
from workers.noise import Estimate
from workers.quality import psnr


def bench_of(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, **changes: Any) -> Bench:
    """A run of one noisy image of 48 x 48 pixels with its reference, and with the filters."""
    config = make_config(classical={"use": True}, **changes)
    return make_bench(config, encoded(48, 48, noise_seed=1), encoded(48, 48))


def leave_fits(bench: Bench, spread: float) -> None:
    """Two fits whose errors are smooth and independent, and have this standard deviation."""
    truth = Evidence(bench.context, bench.image).reference
    assert truth is not None
    random = np.random.default_rng(0)
    for candidate in (B, A):
        error = gaussian_filter(random.normal(size=truth.shape), (0, 2, 2))
        output = (truth + spread * error / error.std()).astype(np.float32)
        leave(bench, "full", candidate, output, held_out_error=0.0096 + spread**2)


def classical(bench: Bench) -> bytes:
    return bench.store.get(bench.context.layout.restored("classical", "best", bench.image.restored))


def test_fits_that_are_far_better_than_the_filters_are_delivered_and_the_row_says_what_is_gained(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_fits(bench, 0.01)
    row = collected(bench, [B, A])
    assert row.classical in ("non-local means", "wavelets", "total variation")
    assert row.delivered in ("pick", "mean", "stack")
    assert row.psnr_classical is not None
    assert row.psnr_delivered is not None
    assert row.psnr_degraded is not None
    assert row.gain_over_classical == pytest.approx(row.psnr_delivered - row.psnr_classical)
    assert row.gain_over_degraded == pytest.approx(row.psnr_delivered - row.psnr_degraded)
    assert row.gain_over_classical > 1
    truth = Evidence(bench.context, bench.image).reference
    assert truth is not None
    written = pixels(classical(bench)).transpose(2, 0, 1).astype(np.float32) / 255
    assert psnr(written, truth) == pytest.approx(row.psnr_classical, abs=0.1)


def test_where_fits_are_worse_than_the_filters_what_is_delivered_is_not_worse(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_fits(bench, 0.2)
    row = collected(bench, [B, A])
    assert row.delivered in ("stack", "classical")
    assert row.gain_over_classical is not None
    assert row.gain_over_classical > -0.1
    assert row.psnr is not None
    assert row.psnr_classical is not None
    assert row.psnr < row.psnr_classical - 3
    own = row.delivered == "classical"
    assert restored(bench, "best") == (classical(bench) if own else restored(bench, "stack"))


def test_a_single_fit_is_compared_too(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    bench = bench_of(make_bench, make_config, encoded, pick={"full_fits": 1})
    leave_fits(bench, 0.2)
    row = collected(bench, [B])
    assert row.delivered in ("stack", "classical")
    assert row.held_out_classical is not None
    assert row.held_out_pick is not None
    assert row.held_out_classical < row.held_out_pick


def test_without_a_reference_the_gain_is_estimated_and_the_choice_is_the_same(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    leave_fits(bench, 0.05)
    row = collected(bench, [B, A])
    best = restored(bench, "best")
    bench.store.delete_all(bench.context.layout.rows)
    leave_fits(bench, 0.05)
    without = replace(bench, image=replace(bench.image, reference=None))
    blind = collected(without, [B, A])
    assert (blind.classical, blind.delivered, blind.stack_weights) == (row.classical, row.delivered, row.stack_weights)
    assert (blind.psnr_classical, blind.held_out_classical) == (None, row.held_out_classical)
    assert restored(without, "best") == best
    assert row.gain_over_classical is not None
    assert blind.gain_over_classical == pytest.approx(row.gain_over_classical, abs=1.5)
    assert row.gain_over_degraded is not None
    assert blind.gain_over_degraded == pytest.approx(row.gain_over_degraded, abs=1.5)


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"task": {"name": "super-resolve", "factor": 2}}, Decision("held-out+consensus", named(B, A), {})),
        ({}, Decision("consensus", named(B, A), {}, correlated=True)),
    ],
)
def test_where_nothing_fair_compares_them_the_pick_is_delivered_and_no_gain_is_estimated(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, changes: dict[str, Any], decision: Decision
) -> None:
    bench = make_bench(make_config(classical={"use": True}, **changes), encoded(40, 48))
    leave(bench, "full", B, 0.5)
    leave(bench, "full", A, 0.25)
    row = collected(bench, [B, A], decision)
    assert row.classical is not None
    assert (row.delivered, row.gain_over_classical, row.gain_over_degraded) == ("pick", None, None)


def correlated_noise(truth: np.ndarray, share: float) -> bytes:
    """A picture with noise of sigma 25, of which a share is blurred."""
    random = np.random.default_rng(4)
    blurred = gaussian_filter(random.normal(size=truth.shape), (0, 1, 1))
    noise = share * blurred / blurred.std() + (1 - share) * random.normal(size=truth.shape)
    noisy = np.clip(truth + noise / noise.std() * 25 / 255, 0, 1)
    file = BytesIO()
    Image.fromarray(np.rint(noisy * 255).astype(np.uint8).transpose(1, 2, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_what_a_filter_leaves_over_tells_correlated_noise_from_a_fit_that_has_learnt_too_little(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, share: float
) -> None:
    truth = pixels(encoded(64, 64)).transpose(2, 0, 1) / 255
    picture = correlated_noise(truth, share)
    bench = make_bench(make_config(classical={"use": True}), picture, encoded(64, 64))
    for candidate in (B, A):
        leave(bench, "full", candidate, 0.5)
    # So the fits seem to say.
    row = collected(bench, [B, A], Decision("consensus", named(B, A), {}, correlated=True))
    assert row.note is not None
    assert row.gain_over_classical is not None
    if share:
        assert (row.delivered, row.stack_weights) == ("pick", None)
        assert "what a filter leaves over" not in row.note
    else:
        assert row.delivered in ("stack", "classical")
        assert row.gain_over_classical > -0.3
        assert "what a filter leaves over is not correlated" in row.note
    user = make_config(classical={"use": True}, pick={"noise": "correlated"})
    told = replace(bench, context=replace(bench.context, config=user))
    bench.store.delete_all(bench.context.layout.rows)
    assert collected(told, [B, A], Decision("consensus", named(B, A), {}, correlated=True)).delivered == "pick"


def test_no_filter_runs_where_none_is_wanted_or_nothing_is_hidden(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = bench_of(make_bench, make_config, encoded)
    evidence = Evidence(bench.context, bench.image)
    told = ("x", evidence.observation)
    noise = Estimate(0.0096, 0.0001)
    assert floor_of(make_config(), *told, evidence.hidden, noise) is NO_FLOOR
    assert floor_of(make_config(classical={"use": True}), *told, evidence.hidden & False, noise) is NO_FLOOR
    older = Evidence(bench.context, replace(bench.image, rules=2))
    assert older.floor(noise) is NO_FLOOR
    assert evidence.floor(noise).best is not None
    # It is made once.
    assert evidence.floor(None) is evidence.floor(noise)


def test_a_users_own_filter_takes_part(make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded) -> None:
    config = make_config(classical={"use": True, "also": [f"{__name__}:identity", f"{__name__}:broken"]})
    bench = make_bench(config, encoded(48, 48, noise_seed=1), encoded(48, 48))
    evidence = Evidence(bench.context, bench.image)
    floor = floor_of(config, "x", evidence.observation, evidence.hidden, Estimate(0.0096, 0.0001))
    assert f"{__name__}:identity" in {member.name for member in floor.members}
    (failure,) = floor.failures
    assert (failure.name, failure.reason) == (f"{__name__}:broken", "RuntimeError: no licence")
    leave_fits(bench, 0.05)
    row = collected(bench, [B, A])
    assert row.note is not None
    assert f"{__name__}:broken" in row.note


def test_an_image_that_is_too_large_is_not_filtered_and_its_row_says_so(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    config = make_config(classical={"use": True, "max_pixels": 48 * 48 - 1})
    bench = make_bench(config, encoded(48, 48, noise_seed=1))
    leave(bench, "full", B, 0.5)
    row = collected(bench, [B])
    assert (row.classical, row.delivered) == (None, "pick")
    assert row.note is not None
    assert row.note.endswith("it has more pixels than classical.max_pixels, so it was not filtered")


def identity(observation: Any, sigma: float) -> Any:
    return observation.pixels


def broken(observation: Any, sigma: float) -> Any:
    raise RuntimeError("no licence")
