import io
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from workers import recording
from workers.deterministic import deterministic_operations
from workers.fitting import Fit, FitSettings
from workers.networks import NAS_DIP, prior_of
from workers.networks.steps import Step
from workers.objective import Measurement
from workers.operators import Identity, gaussian_kernel, motion_kernel
from workers.quality import PsnrObserver
from workers.seeds import generator_of
from workers.space import Upsampler, upsamplers
from workers.stopping import held_out_mask
from workers.tasks import Deblur, Denoise, Inpaint, Jpeg, SuperResolve, Task

# The names in ATen of the operations that torch.use_deterministic_algorithms (2.13) lists: first those that raise on a
# GPU, then those that it makes slower, which nothing here needs either. Convolutions, the one exception, are meant to
# be used.
RAISE = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward"),
    *("avg_pool3d_backward", "fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("max_unpool2d", "max_unpool3d", "_ctc_loss_backward", "_embedding_bag", "nll_loss_forward", "nll_loss2d_forward"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "upsample_linear1d_backward"),
    *("upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_trilinear3d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "reflection_pad3d_backward"),
    *("bincount", "cumsum", "cumsum_", "histc", "kthvalue", "median", "put", "put_"),
}
SLOWER = {
    *("gather", "index", "index_add", "index_add_", "index_copy", "index_copy_", "index_put", "index_put_"),
    *("_index_put_impl_", "index_select", "max_pool3d_with_indices_backward", "repeat_interleave"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("scatter", "scatter_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_"),
}
# Operations that use cuBLAS.
PRODUCTS = {"addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "dot", "linear", "matmul", "mm", "mv", "vdot"}
UNWANTED = RAISE | SLOWER | PRODUCTS

# Level 2 takes the input down one scale and encoder level 2 up one, so that both kinds of chain are exercised.
SKIPS = "1000010110000000000000000"
BICUBIC = f"66-{SKIPS}"
PRIORS = {
    "dip": {"reflection_pad2d_backward", "upsample_bilinear2d_backward"},
    "dip-inpaint": {"reflection_pad2d_backward"},
    "deep-decoder-8": {"upsample_bilinear2d_backward"},
    NAS_DIP["denoise"]: {"reflection_pad2d_backward"},
    NAS_DIP["inpaint"]: {"reflection_pad2d_backward", "upsample_bicubic2d_backward"},
    NAS_DIP["super-resolve"]: {"reflection_pad2d_backward", "upsample_bicubic2d_backward"},
}
# One of a convolution's kernels, which differ only in their sizes.
CELLS = [cell for cell in upsamplers() if cell.valid and (cell.kernel == 3 or cell.convolution == "identity")]
FIRST_OF_ITS_KIND = {cell.primitive: cell for cell in reversed(CELLS)}
TASKS: list[tuple[Task, set[str]]] = [
    (Denoise(25), set()),
    (Inpaint(0.5), set()),
    (SuperResolve(4), {"replication_pad2d_backward"}),
    (SuperResolve(3, "bicubic"), {"replication_pad2d_backward"}),
    (SuperResolve(2, "box"), {"replication_pad2d_backward"}),
    (Deblur(gaussian_kernel(1.0), 2), {"replication_pad2d_backward"}),
    (Deblur(motion_kernel(5, 30)), {"replication_pad2d_backward"}),
    (Jpeg(10), set()),
]


class Recorder(TorchDispatchMode):
    """Keeps the names of all operations of ATen, for gradients and optimisers too."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def picture(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width] / 16
    return np.stack([0.5 + 0.4 * np.sin(rows + columns), 0.5 + 0.4 * np.cos(rows)]).astype(np.float32)


def make_fit(
    prior: str,
    task: Task | None = None,
    *,
    device: str = "cpu",
    width: int = 4,
    settings: FitSettings | None = None,
    recorder: recording.Recorder | None = None,
    **others: Any,
) -> Fit:
    """A fit with an observer; of 60 x 66 pixels, two channels. Its settings, or those in which it is an ordinary one
    of a GPU."""
    task, random = task or Denoise(25), np.random.default_rng(0)
    observed = task.simulate(picture(60, 66), random)
    sides = observed.pixels.shape[1:]
    measurement = Measurement(observed.pixels, held_out_mask(*sides, 0.05, random, observed.known), observed.known)
    width = max(width, prior_of(prior).width_multiple)
    network = prior_of(prior).build(2, width, input_channels=2, generator=generator_of("weights"))
    reference = picture(*(task.operator.scale * side for side in sides))
    return Fit(
        network,
        measurement,
        task.operator,
        settings or FitSettings(step=Step.TORCH, **others),
        seed=3,
        device=device,
        observers=[PsnrObserver(reference, device)],
        recorder=recorder,
    )


def unwanted(fit: Fit) -> set[str]:
    """The operations of two iterations that should not be there."""
    with Recorder() as recorder:
        fit.advance(2)
    assert {"convolution_backward", "_fused_adam_", "where"} <= recorder.names
    return recorder.names & UNWANTED


def doubled(mode: str) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, scale_factor=2, mode=mode, align_corners=False)


def padded(mode: str, *pad: int) -> Callable[[Tensor], Tensor]:
    return lambda x: F.pad(x, pad, mode=mode)


SIDES = [(1, 1), (1, 6), (2, 3), (5, 2), (8, 11)]
CASES = [(doubled(mode), sides) for mode in ("bilinear", "bicubic") for sides in SIDES]
CASES += [(padded("replicate", *pad), sides) for pad in ((0, 0, 3, 3), (4, 1, 0, 2), (0, 0, 0, 0)) for sides in SIDES]
CASES += [(padded("reflect", 1, 1, 1, 1), sides) for sides in SIDES[2:]]
CASES += [(padded("reflect", 0, 0, 0, 0), (1, 1)), (padded("reflect", 0, 3, 1, 0), (2, 4))]
CASES += [(padded("reflect", 4, 2, 1, 7), (8, 11))]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("operation", "sides"), CASES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_outputs_are_pytorchs_and_gradients_agree_with_its(
    operation: Callable[[Tensor], Tensor], sides: tuple[int, int], layout: torch.memory_format
) -> None:
    ours = torch.rand(2, 3, *sides, generator=generator_of("x")).to(memory_format=layout).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    expected = operation(theirs)
    weight = torch.rand(expected.shape, generator=generator_of("weight")) - 0.5
    expected.backward(weight)
    with Recorder() as recorder, deterministic_operations():
        output = operation(ours)
        output.backward(weight)
    assert not recorder.names & UNWANTED
    assert torch.equal(output, expected)
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=0, atol=4e-6)


@pytest.mark.parametrize(("operation", "sides"), CASES)
def test_gradients_are_those_of_the_outputs(operation: Callable[[Tensor], Tensor], sides: tuple[int, int]) -> None:
    x = torch.rand(1, 2, *sides, generator=generator_of("x"), dtype=torch.float64, requires_grad=True)
    with deterministic_operations():
        assert torch.autograd.gradcheck(operation, x)


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: F.interpolate(x, scale_factor=2, mode="nearest"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        lambda x: F.interpolate(x, scale_factor=3, mode="bicubic"),
        lambda x: F.interpolate(x, size=(7, 9), mode="bicubic"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", antialias=True),
        lambda x: F.pad(x, (1, 2), value=3.0),
        lambda x: F.pad(x[0], (1, 2), mode="reflect"),
        lambda x: F.pad(x, (1, 1, 2, 2), mode="circular"),
    ],
)
def test_what_has_no_replacement_is_as_it_was(operation: Callable[[Tensor], Tensor]) -> None:
    x = torch.rand(1, 2, 4, 5, generator=generator_of("x"))
    expected = operation(x)
    with deterministic_operations():
        assert torch.equal(operation(x), expected)


def test_outputs_on_a_gpu_are_made_by_the_operations_that_make_them_here() -> None:
    # PyTorch's own functions would ask where a tensor is, and make some outputs differently there. These tensors have
    # no data.
    with FakeTensorMode(), Recorder() as recorder, deterministic_operations():
        x = torch.empty(1, 2, 8, 9, device="cuda")
        for operation in (
            doubled("bilinear"),
            doubled("bicubic"),
            *(padded(mode, 1, 2, 3, 4) for mode in ("reflect", "replicate")),
        ):
            assert operation(x).is_cuda
    assert {name for name in recorder.names if name not in ("empty", "device")} == {
        *("upsample_bilinear2d", "upsample_bicubic2d", "reflection_pad2d", "replication_pad2d")
    }


@pytest.mark.parametrize("name", sorted(UNWANTED))
def test_every_unwanted_operation_exists(name: str) -> None:
    assert hasattr(torch.ops.aten, name)


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: str(cell.index))
def test_a_fit_of_every_cell_does_nothing_that_a_gpu_adds_in_no_fixed_order(cell: Upsampler) -> None:
    candidate = f"{cell.index}-{SKIPS}"
    assert unwanted(make_fit(candidate, deterministic=True)) == set()


@pytest.mark.parametrize("primitive", FIRST_OF_ITS_KIND)
def test_an_ordinary_fit_does_what_its_interpolation_does(primitive: str) -> None:
    interpolates = {f"upsample_{primitive}2d_backward"} & UNWANTED
    fit = make_fit(f"{FIRST_OF_ITS_KIND[primitive].index}-{SKIPS}")
    assert unwanted(fit) == {"reflection_pad2d_backward"} | interpolates


@pytest.mark.parametrize("prior", PRIORS)
def test_a_fit_of_every_prior_neither(prior: str) -> None:
    assert unwanted(make_fit(prior)) == PRIORS[prior]
    assert unwanted(make_fit(prior, deterministic=True)) == set()


@pytest.mark.parametrize(("task", "ordinarily"), TASKS)
@pytest.mark.parametrize("stopping", ["held-out", "es-wmv", "es-emv"])
def test_a_fit_of_every_task_neither(task: Task, ordinarily: set[str], stopping: str) -> None:
    assert unwanted(make_fit("dip-inpaint", task, stopping=stopping)) == ordinarily | PRIORS["dip-inpaint"]
    assert unwanted(make_fit("dip-inpaint", task, stopping=stopping, deterministic=True)) == set()


@pytest.mark.parametrize(("prior", "task"), [(BICUBIC, Denoise(25)), ("dip", SuperResolve(4))])
def test_a_deterministic_fit_restored_from_a_checkpoint_ends_byte_equal(prior: str, task: Task) -> None:
    calm, first, second = (make_fit(prior, task, iterations=12, deterministic=True) for _ in range(3))
    calm.advance(12)
    first.advance(7)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    second.advance(5)
    for mine, theirs in zip(astuple(second.result()), astuple(calm.result()), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for mine, theirs in zip(second.network.parameters(), calm.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("prior", [BICUBIC, "dip", "deep-decoder-8"])
def test_a_deterministic_fit_is_the_ordinary_one_but_for_rounding(prior: str) -> None:
    ordinary, deterministic = (make_fit(prior, SuperResolve(4), deterministic=wanted) for wanted in (False, True))
    for fit in (ordinary, deterministic):
        fit.advance(5)
    mine, theirs = deterministic.result().held_out_curve, ordinary.result().held_out_curve
    # Before the first gradient nothing could differ.
    assert mine[0] == theirs[0]
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


def switches() -> tuple[int, bool]:
    return torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark


@pytest.mark.parametrize("before", [(0, False), (1, True), (2, True)])
def test_pytorchs_own_switches_are_on_during_a_deterministic_fit_and_then_as_before(before: tuple[int, bool]) -> None:
    seen = []

    class Noting(Identity):
        def __call__(self, image: Tensor) -> Tensor:
            seen.append(switches())
            return image

    class Noted(Denoise):
        operator = Noting()

    fits = [make_fit("deep-decoder-8", Noted(25), iterations=9, deterministic=wanted) for wanted in (False, True)]
    torch.set_deterministic_debug_mode(before[0])
    torch.backends.cudnn.benchmark = before[1]
    try:
        for fit in fits:
            fit.advance(1)
            assert switches() == before
            fit.result()
            assert switches() == before
        fits[1].network.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fits[1].advance(1)
        assert switches() == before
    finally:
        torch.set_deterministic_debug_mode(0)
        torch.backends.cudnn.benchmark = False
    # For either fit the output and its average, then the results of both rules.
    assert seen == [before] * 4 + [(2, False)] * 4


@pytest.mark.gpu
@pytest.mark.parametrize("prior", [*PRIORS, BICUBIC, f"315-{SKIPS}"])
@pytest.mark.parametrize(
    "task", [Denoise(25), SuperResolve(4), Deblur(gaussian_kernel(1.0))], ids=lambda task: task.name
)
def test_on_a_gpu_equal_deterministic_fits_end_byte_equal(prior: str, task: Task) -> None:
    results = []
    for _ in range(3):
        fit = make_fit(prior, task, device="cuda", width=32, iterations=30, deterministic=True)
        fit.advance(30)
        results.append(astuple(fit.result()))
    for other in results[1:]:
        for mine, theirs in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(mine, theirs)
