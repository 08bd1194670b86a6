import io
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import nn

from workers.generators import Facts, facts_of, generate, load_generator

FACTORY = "tests.workers.test_generators:small"


class Small(nn.Module):
    """Four latents to images of 8 x 8 in [-1, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(4, 6, 4, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.ConvTranspose2d(6, 3, 4, 2, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """(N, 4, 1, 1) to (N, 3, 8, 8)."""
        return self.last(self.norm(self.first(z))).tanh()


def small() -> Small:
    torch.manual_seed(3)
    return Small()


def not_a_module() -> int:
    return 3


class Constant(nn.Module):
    """Gives the same whatever comes."""

    def __init__(self, *shape: int, value: float = 0.5) -> None:
        super().__init__()
        self.shape, self.value = shape, value

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return torch.full((len(z), *self.shape), self.value)


def saved(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        shapes = ({0: torch.export.Dim.DYNAMIC},)
        torch.export.save(torch.export.export(small().eval(), (torch.zeros(2, 4, 1, 1),), dynamic_shapes=shapes), file)
    return file.getvalue()


def scripted() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(small().eval(), torch.zeros(2, 4, 1, 1)), file)
    return file.getvalue()


FILES = {
    "safetensors": (lambda: save_safetensors(small().state_dict()), FACTORY),
    "state dict": (lambda: saved(small().state_dict()), FACTORY),
    "nested state dict": (lambda: saved({"generator": dict(small().state_dict())}), FACTORY),
    "torch.export": (exported, None),
    "TorchScript": (scripted, None),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_generator_of_every_kind_gives_the_same_images_and_passes_gradients_to_the_latent(kind: str) -> None:
    make, factory = FILES[kind]
    module = load_generator(make(), factory)
    z = torch.randn(3, 4, 1, 1, requires_grad=True)
    images = generate(module, z)
    torch.testing.assert_close(images, small().eval()(z))
    images.sum().backward()
    assert z.grad is not None
    assert z.grad.any()
    assert not any(parameter.requires_grad for parameter in module.parameters())
    assert facts_of(module, (4,), None) == Facts((4, 1, 1), (3, 8, 8), -1.0, 1.0)


def test_weights_that_do_not_fit_are_refused_by_the_first_three_names_that_differ() -> None:
    state = small().state_dict()
    state["last.weight"] = state["last.weight"][:, :1]
    del state["first.weight"], state["norm.bias"]
    with pytest.raises(ValueError, match=r"do not fit .*: first.weight \(the file has none\), norm.bias .*") as caught:
        load_generator(saved({**state, "head.weight": torch.zeros(2)}), FACTORY)
    assert "last.weight (6 x 1 x 4 x 4, not 6 x 3 x 4 x 4) and 1 more" in str(caught.value)
    assert "\n" not in str(caught.value)


class Harmful:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.write_text, (self.path, "run")


@pytest.mark.parametrize("factory", [FACTORY, None])
def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, factory: str | None) -> None:
    path = tmp_path / "run"
    plain = pickle.dumps({"weight": Harmful(path)})
    for data in (saved({"weight": Harmful(path)}), plain):
        with pytest.raises(ValueError, match="pickle with code in it" if factory else "holds no program") as caught:
            load_generator(data, factory)
        assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("place", ["sample_inputs/model.pt", "weights/weight_0"])
def test_a_program_with_a_pickle_in_it_is_refused_and_not_run(tmp_path: Path, place: str, protocol: int) -> None:
    path, file = tmp_path / "run", io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(exported())) as archive, zipfile.ZipFile(file, "w") as changed:
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith(place):
                content = pickle.dumps(Harmful(path), protocol)
            elif name.endswith("weights_config.json") and "weight_0" in place:
                content = content.replace(b'"use_pickle": false', b'"use_pickle": true')
            changed.writestr(name, content)
    with pytest.raises(ValueError, match=r"pickle with code in it|no file of weights") as caught:
        load_generator(file.getvalue(), None)
    assert "\n" not in str(caught.value)
    assert not path.exists()


@pytest.mark.parametrize(
    ("data", "factory", "words"),
    [
        (b"nothing of the kind", FACTORY, "it is no file of weights"),
        (b"nothing of the kind", None, "name the factory"),
        (saved([1, 2]), FACTORY, "holds no state dict"),
        (saved({"weight": 3}), FACTORY, "holds no state dict"),
        (saved({}), "tests.workers.test_generators:not_a_module", "makes int, no torch.nn.Module"),
        (saved({}), "tests.workers.test_generators:missing", "cannot be loaded"),
    ],
)
def test_files_and_factories_of_other_kinds_are_refused_in_one_line(data: bytes, factory: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        load_generator(data, factory)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "latent", "value_range", "words"),
    [
        (Constant(10), (4,), None, "8 x 10, no image"),
        (Constant(2, 8, 8), (4,), None, "8 x 2 x 8 x 8, no image"),
        (Constant(3, 8, 8, value=float("nan")), (4,), None, "from nan to nan"),
        (Constant(3, 8, 8, value=1.7), (4,), None, r"from 1.7 to 1.7, beyond its range \[0, 1\]"),
        (small().eval(), (4,), (0.0, 1.0), r"beyond its range \[0, 1\]"),
        (small().eval(), (5,), None, "takes no latent of the shape 5"),
    ],
)
def test_what_gives_no_image_in_its_range_is_refused(
    module: nn.Module, latent: tuple[int, ...], value_range: tuple[float, float] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        facts_of(module, latent, value_range)
