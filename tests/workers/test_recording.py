"""Steps that are recorded and replayed, here on a CPU by a tape."""

import gc
import io
import weakref
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.workers.tape import Tape
from tests.workers.test_deterministic import make_fit
from workers.fitting import Fit, FitSettings
from workers.networks.steps import Step
from workers.operators import gaussian_kernel
from workers.recording import WARM_UP
from workers.tasks import Deblur, Denoise, SuperResolve, Task

SMALL = "deep-decoder-8"
BICUBIC = "111-0011111011011011010100001"
SETTINGS = FitSettings(iterations=16, patience=4, learning_rate=0.05, average=0.5, reveal=1, step=Step.GRAPH)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ended(fit: Fit) -> tuple[Any, ...]:
    """All that comes of a fit and of its iterations with all pixels."""
    while not fit.finished:
        fit.advance(7)
    result = fit.result()
    # The last block goes on after the rule has stopped.
    curves = [observer.curve()[: result.iterations] for observer in fit._observers]
    reveal = fit.reveal()
    while reveal is not None and not reveal.finished:
        reveal.advance(4)
    return *astuple(result), *curves, None if reveal is None else reveal.output()


def assert_equal(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize(
    ("prior", "task", "stopping", "deterministic"),
    [
        (SMALL, Denoise(25), "held-out", False),
        (SMALL, Denoise(25), "es-wmv", False),
        ("dip-inpaint", Deblur(gaussian_kernel(1.0)), "held-out", False),
        (BICUBIC, SuperResolve(2), "es-emv", True),
    ],
    ids=["small", "windows", "dip", "bicubic"],
)
def test_a_recorded_fit_is_the_fit_byte_for_byte(prior: str, task: Task, stopping: str, deterministic: bool) -> None:
    settings = replace(SETTINGS, stopping=stopping, deterministic=deterministic)
    tape = Tape()
    expected = ended(make_fit(prior, task, settings=settings))
    fit = make_fit(prior, task, settings=settings, recorder=tape)
    assert_equal(ended(fit), expected)
    assert fit.steps.failure is None
    # One of the fit, and one of the iterations with all pixels.
    assert tape.recorded == 1 + (stopping == "held-out")
    assert tape.replays > WARM_UP


def test_a_recorded_fit_goes_on_from_a_checkpoint_of_one_that_was_not_and_is_recorded_anew() -> None:
    expected = ended(make_fit(SMALL, settings=SETTINGS))
    for before, after in ((None, Tape()), (Tape(), None), (Tape(), Tape())):
        first = make_fit(SMALL, settings=SETTINGS, recorder=before)
        first.advance(9)
        file = io.BytesIO()
        torch.save(first.state_dict(), file)
        file.seek(0)
        second = make_fit(SMALL, settings=SETTINGS, recorder=after)
        second.advance(5)
        second.load_state_dict(torch.load(file, weights_only=True))
        assert_equal(ended(second), expected)


def test_where_recording_fails_steps_go_on_from_python_and_say_why() -> None:
    fit = make_fit(SMALL, settings=SETTINGS, recorder=(tape := Tape(refuses="not on this device")))
    expected = ended(make_fit(SMALL, settings=SETTINGS))
    assert_equal(ended(fit), expected)
    assert fit.steps.failure == "not on this device"
    assert tape.recorded == tape.replays == 0


def test_fits_side_by_side_are_as_each_alone() -> None:
    settings = [SETTINGS, replace(SETTINGS, patience=2), replace(SETTINGS, stopping="es-emv")]
    expected = [ended(make_fit(SMALL, settings=each)) for each in settings]
    fits = [make_fit(SMALL, settings=each, recorder=Tape()) for each in settings]
    while not all(fit.finished for fit in fits):
        for settle in [fit.launch(5) for fit in fits if not fit.finished]:
            settle()
    for fit, alone in zip(fits, expected, strict=True):
        assert_equal(ended(fit), alone)


@pytest.mark.parametrize("what", ["asks", "remembers"])
def test_the_tape_refuses_what_a_gpu_would(what: str) -> None:
    fit = make_fit(SMALL, settings=SETTINGS, recorder=Tape())

    class Asking:
        def __call__(self, average: torch.Tensor) -> torch.Tensor:
            return average.mean() if average.mean() > 2 else torch.tensor(1.0)

        def keep(self, figures: torch.Tensor) -> None:
            pass

    fit._observers = [Asking()] if what == "asks" else [lambda average: torch.tensor(1.0)]
    fit.launch(5)
    assert fit.steps.failure is not None
    assert what == "remembers" or "asks the device" in fit.steps.failure


def test_what_is_queued_is_waited_for_where_a_step_raises() -> None:
    fit = make_fit(SMALL, settings=SETTINGS, recorder=(tape := Tape()))
    fit.advance(1)
    assert (tape.queued, tape.waited) == (1, 1)
    fit.network.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fit.launch(2)
    assert (tape.queued, tape.waited) == (2, 2)


@pytest.mark.parametrize("recorder", [None, Tape()], ids=["started", "recorded"])
def test_a_fit_leaves_its_memory_as_soon_as_nobody_has_it(recorder: Tape | None) -> None:
    fit = make_fit(SMALL, settings=SETTINGS, recorder=recorder)
    fit.advance(5)
    gone = weakref.ref(fit)
    gc.disable()
    try:
        del fit
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.gpu
@pytest.mark.parametrize("prior", ["dip", BICUBIC])
def test_on_a_gpu_a_recorded_fit_is_the_fit(prior: str) -> None:
    settings = replace(SETTINGS, deterministic=True)
    started = make_fit(prior, width=32, device="cuda", settings=replace(settings, step=Step.TORCH))
    recorded = make_fit(prior, width=32, device="cuda", settings=settings)
    assert_equal(ended(recorded), ended(started))
    assert recorded.steps.failure is None


@pytest.mark.gpu
def test_on_a_gpu_fits_side_by_side_are_as_each_alone() -> None:
    settings = replace(SETTINGS, deterministic=True)
    expected = [ended(make_fit(prior, width=32, device="cuda", settings=settings)) for prior in ("dip", BICUBIC)]
    fits = [make_fit(prior, width=32, device="cuda", settings=settings) for prior in ("dip", BICUBIC)]
    while not all(fit.finished for fit in fits):
        for settle in [fit.launch(5) for fit in fits if not fit.finished]:
            settle()
    for fit, alone in zip(fits, expected, strict=True):
        assert_equal(ended(fit), alone)
        assert fit.steps.failure is None
