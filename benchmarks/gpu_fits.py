"""The parts of `benchmarks.gpu` that are about one fit at a time; each yields the lines of a table."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from skimage import io

from benchmarks.fit import measurement, picture
from benchmarks.gpu_common import Row, Setting, attempt, release, typical, wait
from benchmarks.gpu_step import fit_of, runner, set_switches
from workers.fingerprints import BankSpec, bank_metrics, compute_bank, untrained_output
from workers.fitting import FitSettings
from workers.networks import NAS_DIP, noise_input, prior_of
from workers.networks.memory import fit_bytes_per_pixel
from workers.operators import Identity
from workers.quality import psnr
from workers.recording import WARM_UP
from workers.seeds import generator_of
from workers.space import Candidate, sample_candidates

BILINEAR = "6-0001110011010100011001101"
NETWORKS = ("dip", BILINEAR, NAS_DIP["denoise"], "295-1101101111110000010011101", "111-0011111011011011010100001")
"""DIP's, and candidates that upsample by bilinear, nearest, shuffled pixels and bicubic; the
first two get every variant.
"""

EVERY = (
    "plain",
    "plain fp32",
    "ours",
    "ours fp32",
    "ours tuned",
    "graph",
    "graph fp32",
    "graph tuned",
    "graph bf16",
    "graph bf16 tuned",
    "graph contiguous",
    "graph bf16 contiguous",
    "ours deterministic",
    "graph deterministic",
    "graph deterministic unfilled",
    "graph deterministic unfilled contiguous",
)
SOME = ("plain", "ours", "graph", "graph tuned", "graph bf16 tuned")
FEW = ("plain", "ours", "graph tuned")


def ceilings(setting: Setting) -> Iterator[Row]:
    """The limits of the device, and the cost of a launch."""
    if not setting.on_gpu:
        return
    device, side = setting.device, 4096

    def multiply(tf32: bool, kind: torch.dtype) -> float:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        left, right = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
        return 2 * side**3 / typical(lambda n: [left @ right for _ in range(n)], device, 0.3) / 1e9

    for name, tf32, kind in (
        ("fp32", False, torch.float32),
        ("TF32", True, torch.float32),
        ("bf16", False, torch.bfloat16),
    ):
        yield {"what": f"product of matrices, {name}, TFLOP/s", "value": attempt(lambda t=tf32, k=kind: multiply(t, k))}
    torch.backends.cuda.matmul.allow_tf32 = False
    here, there = (torch.empty(2**28, device=device) for _ in range(2))
    copied = typical(lambda n: [there.copy_(here) for _ in range(n)], device, 0.3)
    yield {"what": "copy, read and written, GB/s", "value": 2 * 4 * 2**28 / copied / 1e6}
    scalar = torch.zeros((), device=device)
    launched = typical(lambda n: [scalar.add_(1) for _ in range(100 * n)], device, 0.3)
    yield {"what": "an operation from Python, us", "value": launched * 10}
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(1000):
            scalar.add_(1)
    yield {
        "what": "an operation in a graph, us",
        "value": typical(lambda n: [graph.replay() for _ in range(n)], device, 0.3),
    }


def agreement(setting: Setting) -> Iterator[Row]:
    """How far the curves of held-out errors of recorded fits are from those of others; they should differ only by
    rounding.
    """
    iterations, measured = 20, measurement(picture(setting.sides[0]))
    for prior in NETWORKS[:2]:
        curves = []
        for how in ("ours fp32", "ours fp32", "graph fp32", "ours fp32 deterministic", "graph fp32 deterministic"):
            fit = fit_of(prior, measured, setting.width, setting.device, how)
            fit.advance(iterations)
            curves.append((how, fit.steps.failure or "", np.array(fit.result().held_out_curve)))
        for how, failure, curve in curves[1:]:
            difference = np.abs(curve / curves[3 if "deterministic" in how else 0][2] - 1)
            yield {
                "network": prior,
                "way": how,
                "not recorded": failure,
                "largest difference, 3 iterations": float(difference[:3].max()),
                f"{iterations} iterations": float(difference.max()),
            }


def one_fit(setting: Setting) -> Iterator[Row]:
    """Milliseconds per iteration of one fit alone."""
    first, second, *others = setting.sides if not setting.tiny else (setting.sides[0], None)
    cases = [(side, prior, EVERY) for side in (first, second) if side for prior in NETWORKS[:2]]
    if not setting.tiny:
        cases += [(side, prior, FEW) for side in (first, second) for prior in NETWORKS[2:]]
        cases += [(side, prior, SOME) for side in others for prior in NETWORKS[:2]]
    for side, prior, ways in cases:
        plain: float | None = None
        for way in ways:

            def measure(side: int = side, prior: str = prior, way: str = way) -> float:
                run = runner(prior, side, setting.width, setting.device, way)
                return typical(run, setting.device, 0.1 if setting.tiny else 0.6)

            value = attempt(measure)
            if way == "plain" and isinstance(value, float):
                plain = value
            times = plain / value if plain and isinstance(value, float) else None
            yield {"px": str(side), "network": prior, "way": way, "ms/iteration": value, "plain / this": times}
    set_switches(set())


def clean_picture(path: Path | None, side: int) -> np.ndarray:
    """The picture for the fit in full."""
    if path is None:
        return picture(side)
    pixels = io.imread(path)[:side, :side, :3] / 255
    return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)


def full_fit(setting: Setting) -> Iterator[Row]:
    """One denoising fit of DIP's network with the project's settings, stopped blind."""
    side, most = (64, 40) if setting.tiny else (512, 3000)
    clean = clean_picture(setting.image, side)
    measured = measurement(clean)
    for how in ("graph", "graph bf16"):
        patience = FitSettings().patience
        fit = fit_of("dip", measured, setting.width, setting.device, how, iterations=most, patience=patience)
        started = time.perf_counter()
        fit.advance(WARM_UP + 1)
        recorded = time.perf_counter()
        while not fit.finished:
            fit.advance(50)
        seconds = time.perf_counter() - recorded
        result = fit.result()
        yield {
            "image": setting.image.name if setting.image else "astronaut",
            "px": str(side),
            "way": how,
            "not recorded": fit.steps.failure or "",
            "iterations": str(fit.iteration),
            "s to record": recorded - started,
            "s to fit": seconds,
            "ms/iteration": seconds / max(1, fit.iteration - WARM_UP - 1) * 1000,
            "PSNR, noisy": psnr(measured.pixels, clean),
            "where stopped": psnr(result.output, clean),
            "stopped at": str(result.stop_iteration),
        }
        del fit
        release()
    set_switches(set())


def memory(setting: Setting) -> Iterator[Row]:
    """Peak memory of a fit, as PyTorch has allocated and reserved it, next to the estimate; all in bytes a pixel."""
    cases = [(side, prior) for side in ((64,) if setting.tiny else (512, 256)) for prior in NETWORKS]
    cases += [] if setting.tiny else [(1024, prior) for prior in NETWORKS[:2]]
    for side, prior in cases:
        row: Row = {
            "px": str(side),
            "network": prior,
            "planned": fit_bytes_per_pixel(prior, 3, setting.width, 3),
        }
        for way in ("ours", "graph", "graph bf16") if setting.on_gpu else ():

            def measure(side: int = side, prior: str = prior, way: str = way) -> tuple[float, float]:
                release()
                torch.cuda.reset_peak_memory_stats()
                run = runner(prior, side, setting.width, setting.device, way)
                run(3)
                wait(setting.device)
                return torch.cuda.max_memory_allocated() / side**2, torch.cuda.max_memory_reserved() / side**2

            got = attempt(measure)
            row[way], row[f"{way}, reserved"] = (got, None) if isinstance(got, str) else got
        yield row


def compiled(setting: Setting) -> Iterator[Row]:
    """The gain of `torch.compile` on a recorded step, and its time for the first one."""
    cases = (("dip", "graph compiled tuned"), ("dip", "graph compiled tuned bf16"), (BILINEAR, "graph compiled tuned"))
    for prior, way in cases:
        side = 64 if setting.tiny else 512

        def measure(side: int = side, prior: str = prior, way: str = way) -> tuple[float, float]:
            started = time.perf_counter()
            run = runner(prior, side, setting.width, setting.device, way)
            wait(setting.device)
            return time.perf_counter() - started, typical(run, setting.device, 0.6)

        got = attempt(measure)
        seconds, value = (None, got) if isinstance(got, str) else got
        yield {"px": str(side), "network": prior, "way": way, "s to be ready": seconds, "ms/iteration": value}
    set_switches(set())


def scoring(setting: Setting) -> Iterator[Row]:
    """Where a candidate's time goes when it is scored: milliseconds, the mean over candidates."""
    candidates = sample_candidates(4 if setting.tiny else 16, seed=0, width=setting.width)
    device = setting.device

    def mean(work: Callable[[Candidate], object]) -> float:
        started = time.perf_counter()
        for candidate in candidates:
            work(candidate)
        wait(device)
        return (time.perf_counter() - started) / len(candidates) * 1000

    for side in (64,) if setting.tiny else (128, 256):
        spec = BankSpec(side, side, 3, 3, setting.width, draws=1, seed=0, metrics=bank_metrics(("psd db strip mse",)))
        untrained_output(candidates[0], spec, 0, device)
        networks = {}

        def build(candidate: Candidate, networks: dict = networks) -> None:
            weights = generator_of("benchmark")
            networks[candidate] = prior_of(candidate.id).build(3, setting.width, input_channels=3, generator=weights)

        noise = noise_input(3, side, side, generator_of("benchmark input")).to(device)
        with torch.no_grad():
            row: Row = {
                "px": str(side),
                "build on the CPU": mean(build),
                "to the device": mean(lambda candidate, of=networks: of[candidate].to(device)),
                "forward": mean(lambda candidate, of=networks, x=noise: of[candidate](x)),
            }
        row["untrained output in all"] = mean(lambda candidate, spec=spec: untrained_output(candidate, spec, 0, device))
        row["with its fingerprint"] = mean(
            lambda candidate, spec=spec: compute_bank([candidate], spec, Identity(), device)
        )
        yield row
