"""Trained generators from files: modules that turn a latent z into an image.

| file | what it holds | needs |
|---|---|---|
| ``.safetensors`` | a state dict | a factory, which makes the module that the state dict fits |
| of ``torch.save`` | a state dict, or a dict whose only value is one; read with ``weights_only`` | likewise |
| of ``torch.export.save`` | a program with its weights | nothing |
| of ``torch.jit.save`` | likewise (TorchScript) | nothing |

A file of weights never runs code: a pickle that holds any is refused. A factory is code of the user's own, and so is a
program: it computes what its author wanted.
"""

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from workers.plugins import load
from workers.seeds import generator_of

_PROBES = 8
"""Random latents whose images tell a generator's range."""

_NAMED = 3
"""Names of weights in a message."""

_BEYOND = 1e-3
"""How far beyond its range an output may be, in parts of it."""


@dataclass(frozen=True)
class Facts:
    """What a generator's images are.

    Attributes:
        latent: the shape of z.
        shape: (C, H, W) of an image.
        low, high: the interval of its values.
    """

    latent: tuple[int, ...]
    shape: tuple[int, int, int]
    low: float
    high: float


def load_generator(data: bytes, factory: str | None) -> nn.Module:
    """The module of a file, on the CPU, in evaluation mode, with weights that ask for no gradient.

    Args:
        data: the file.
        factory: makes the module that the file's state dict fits: ``module:object``, called without arguments. None
            where the file holds a program.

    Raises:
        ValueError: the file is of no known kind, holds code that would run on loading, or its weights do not fit.
    """
    module = _program(data) if factory is None else _filled(factory, _state_of(data))
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


def facts_of(module: nn.Module, latent: Sequence[int], value_range: tuple[float, float] | None) -> Facts:
    """What a generator's images are, found by a few random latents.

    Args:
        module: from `load_generator`.
        latent: the shape of z. (L,) also stands for (L, 1, 1), which a generator of convolutions takes.
        value_range: the interval of the values; None takes [-1, 1] where some are negative, else [0, 1].

    Raises:
        ValueError: the output is no image, or goes beyond its range.
    """
    images, found = None, tuple(latent)
    reason = "it takes no latent"
    for shape in dict.fromkeys([tuple(latent), (*latent, *(1,) * (3 - len(latent)))]):
        z = torch.randn(_PROBES, *shape, generator=generator_of("generator probe"))
        try:
            with torch.no_grad():
                images, found = generate(module, z), shape
            break
        except Exception as error:  # whatever a user's module raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
    if images is None:
        raise ValueError(f"it takes no latent of the shape {_words(latent)}: {reason[:200]}")
    if not isinstance(images, Tensor) or images.ndim != 4 or len(images) != _PROBES or images.shape[1] not in (1, 3):
        given = _words(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(
            f"its output for {_PROBES} latents is {given}, no image: {_PROBES} x 1 or 3 channels x height x width"
        )
    least, most = float(images.min()), float(images.max())
    low, high = value_range or ((-1.0, 1.0) if least < 0 else (0.0, 1.0))
    beyond = _BEYOND * (high - low)
    # Written so that NaN is refused too.
    if not (least >= low - beyond and most <= high + beyond):
        raise ValueError(f"its output goes from {least:.3g} to {most:.3g}, beyond its range [{low:g}, {high:g}]")
    channels, height, width = images.shape[1:]
    return Facts(found, (channels, height, width), low, high)


@dataclass(frozen=True)
class Cost:
    """What a step of a fit takes.

    Attributes:
        kept_bytes: memory for its gradients, the weights and their moments among them.
        multiply_adds: of convolutions and matrix products, forward and backward, for the latents alone.
    """

    kept_bytes: int
    multiply_adds: int


def cost_of(module: nn.Module, facts: Facts, restarts: int) -> Cost:
    """What a step with so many latents takes."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    z = torch.zeros(restarts, *facts.latent, requires_grad=True)
    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        images = generate(module, z)
        images.sum().backward()  # type: ignore[no-untyped-call]
    # Weights, their gradients, and Adam's two moments.
    weights = 4 * sum(parameter.numel() * parameter.element_size() for parameter in module.parameters())
    activations = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    # The images, their gradients, the average and the best of them.
    outputs = 4 * images.numel() * images.element_size()
    return Cost(weights + activations + outputs, counter.get_total_flops() // 2)


def generate(module: nn.Module, z: Tensor) -> Tensor:
    """The images of latents (N, ...): (N, C, H, W), as the module gives them."""
    images: Tensor = module(z)
    return images


def _words(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _filled(factory: str, state: Mapping[str, Tensor]) -> nn.Module:
    made = load(factory, "dip_orchestrator.generators", "generator", ())()
    if not isinstance(made, nn.Module):
        raise ValueError(f"the factory {factory!r} makes {type(made).__name__}, no torch.nn.Module")
    expected = made.state_dict()
    differing = [
        f"{name} ({_difference(expected.get(name), state.get(name))})"
        for name in dict.fromkeys([*expected, *state])
        if _difference(expected.get(name), state.get(name)) is not None
    ]
    if differing:
        more = f" and {len(differing) - _NAMED} more" if len(differing) > _NAMED else ""
        raise ValueError(f"its weights do not fit {factory}: {', '.join(differing[:_NAMED])}{more}")
    made.load_state_dict(dict(state))
    return made.eval()


def _difference(expected: Tensor | None, found: Tensor | None) -> str | None:
    """In which way a weight of a state dict is not the module's; None where it is."""
    if expected is None:
        return "the module has none"
    if found is None:
        return "the file has none"
    return None if expected.shape == found.shape else f"{_words(found.shape)}, not {_words(expected.shape)}"


def _state_of(data: bytes) -> Mapping[str, Tensor]:
    state = _read_state(data)
    while isinstance(state, Mapping) and len(state) == 1 and isinstance(inner := next(iter(state.values())), Mapping):
        state = inner
    named = isinstance(state, Mapping) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError("it holds no state dict: names of weights and a tensor for each")
    return {str(name): value for name, value in state.items()}


def _read_state(data: bytes) -> Any:
    if data[8:9] == b"{":  # the length of a header in JSON, and the header
        from safetensors.torch import load as load_safetensors  # noqa: PLC0415 - few files need it

        try:
            return load_safetensors(data)
        except Exception as error:
            raise ValueError(f"it is no safetensors file ({error})") from None
    return _without_code(data)


def _without_code(data: bytes) -> Any:
    """What `torch.save` has written, if it holds tensors and plain values alone."""
    try:
        with warnings.catch_warnings():
            # It says that old pickles may not be understood; then they are refused.
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch's message has many lines; the one with the name says what the pickle would run.
        named = next((line for line in str(error).split(". ") if "global" in line.lower()), "")
        if isinstance(error, pickle.UnpicklingError) and (named or data[:1] == b"\x80"):
            what = " ".join(named.split())[:160] or "its kind of pickle is not read"
            raise ValueError(f"it holds a pickle with code in it, which is not run: {what}") from None
        raise ValueError(f"it is no file of weights ({' '.join(str(error).split())[:160]})") from None


def _program(data: bytes) -> nn.Module:
    try:
        names = zipfile.ZipFile(io.BytesIO(data)).namelist()
    except zipfile.BadZipFile:
        names = []
    kinds: dict[str, Callable[[bytes], nn.Module]] = {"archive_format": _exported, "constants.pkl": _scripted}
    for mark, loader in kinds.items():
        if any(name.rsplit("/", 1)[-1] == mark for name in names):
            try:
                return loader(data)
            except ValueError:
                raise
            except Exception as error:
                raise ValueError(f"its program cannot be loaded ({' '.join(str(error).split())[:160]})") from None
    raise ValueError(
        "it holds no program of torch.export or TorchScript; if it holds weights, name the factory of their module"
    )


def _exported(data: bytes) -> nn.Module:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        # torch.export would unpickle these without looking at them.
        pickled = {
            Path(str(entry.get("path_name"))).name
            for name in archive.namelist()
            if name.endswith("_config.json")
            for entry in json.loads(archive.read(name)).get("config", {}).values()
            if entry.get("use_pickle")
        }
        for name in archive.namelist():
            if name.endswith(".pt") or Path(name).name in pickled:
                _without_code(archive.read(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.load(io.BytesIO(data)).module()


def _scripted(data: bytes) -> nn.Module:
    with warnings.catch_warnings():
        # It says that TorchScript is deprecated, which is for those who write such files.
        warnings.simplefilter("ignore")
        module: nn.Module = torch.jit.load(io.BytesIO(data), map_location="cpu")  # type: ignore[no-untyped-call]
    return module.eval()
