import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from orchestrator.resources.share import Resources, bytes_per_pixel, fit_bytes
from orchestrator.resources.tiling import too_large
from orchestrator.run.inputs import InputImage
from orchestrator.settings import Config, resolve
from orchestrator.settings.trust import Stored, code_settings
from tests import toy_generator
from tests.orchestrator.cli.test_cli import Command
from tests.orchestrator.conftest import MakeConfig
from workers.generators import Facts
from workers.names import parse_name

IMAGE = InputImage("a.png", "a", "a.png", None, "a.png", height=40, width=48, channels=3)


def test_a_generator_is_looked_at_once_and_what_was_found_goes_with_the_settings(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config(**toy_generator.settings(tmp_path))
    generator = config.generator("generator:toy")
    assert generator is config.generator("adapted-generator:toy")
    assert generator is not None
    assert generator.facts == Facts((3,), (3, 40, 48), 0.0, 1.0)
    assert generator.sha256 == hashlib.sha256(Path(generator.file).read_bytes()).hexdigest()
    # Two latents, forward and backward, through one matrix.
    assert generator.multiply_adds == 2 * 2 * 3 * 90
    assert config.generator("dip") is None
    Path(generator.file).unlink()
    assert Config.model_validate(config.model_dump(mode="json")) == config


def test_the_memory_of_its_fit_is_its_own_whatever_the_width_of_networks(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config(**toy_generator.settings(tmp_path))
    needed = fit_bytes(config, IMAGE, "full", parse_name("generator:toy"))
    assert needed == config.generators[0].kept_bytes
    # At least the images of both latents, and the weights, their gradients and moments.
    assert needed > 4 * (2 * 3 * 40 * 48 + 4 * 4 * 90)
    assert bytes_per_pixel(config, 3) * 40 * 48 == pytest.approx(needed)


def test_images_of_another_size_are_rejected_with_both_sizes(tmp_path: Path, make_config: MakeConfig) -> None:
    config = make_config(**toy_generator.settings(tmp_path))
    grey, large = replace(IMAGE, id="b", channels=1), replace(IMAGE, id="c", width=64)
    assert too_large(config, [IMAGE, grey, large], Resources(1, 1, "cpu", 0.0, 1e9)) == {
        "b": "the generator toy makes images of 48x40 pixels in colour, and this one has 48x40 pixels in grey",
        "c": "the generator toy makes images of 48x40 pixels in colour, and this one has 64x40 pixels in colour",
    }


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arms": [{"name": "csgm", "networks": ["generator:toys"]}]}, "generators has no toys; there are: toy"),
        ({"task": {"name": "denoise"}}, "a generator is a prior of compressed-sensing, not of denoise"),
        ({"lottery": {"network": "generator:toy"}}, "a generator is no network of a lottery"),
    ],
)
def test_settings_that_disagree_say_so(
    tmp_path: Path, make_config: MakeConfig, changes: dict[str, Any], words: str
) -> None:
    settings = {**toy_generator.settings(tmp_path), **changes}
    with pytest.raises(ValidationError, match=words):
        make_config(**settings)


def test_no_generator_is_named_like_a_draw(tmp_path: Path, make_config: MakeConfig) -> None:
    (given,) = toy_generator.settings(tmp_path)["generators"]
    with pytest.raises(ValidationError, match="toy-draw-2 would name another draw of a network"):
        make_config(generators=[{**given, "name": "toy-draw-2"}])
    assert make_config(generators=[{**given, "name": "toy-draw-1"}]).generators[0].name == "toy-draw-1"


def test_a_name_is_there_once(tmp_path: Path, make_config: MakeConfig) -> None:
    settings = toy_generator.settings(tmp_path)
    with pytest.raises(ValidationError, match="one name is there twice"):
        make_config(**{**settings, "generators": 2 * settings["generators"]})


def test_a_record_runs_no_code_of_a_generator_that_the_user_does_not_trust(
    tmp_path: Path, make_config: MakeConfig
) -> None:
    config = make_config(**toy_generator.settings(tmp_path))
    stored = config.model_dump(mode="json")
    with pytest.raises(ValidationError, match=r"names code, 'tests\.toy_generator:toy'"):
        Config.model_validate(stored, context=Stored())
    own = frozenset({"tests.toy_generator:toy"})
    assert Config.model_validate(stored, context=Stored(own)) == config
    # A record that does not say what was found would have a file of this machine looked at.
    for name in ("sha256", "shape", "range"):
        unfound = {**stored, "generators": [{**stored["generators"][0], name: None}]}
        with pytest.raises(ValidationError, match="does not say what its file holds"):
            Config.model_validate(unfound, context=Stored(own))
    (assignment,) = code_settings(config)
    assert assignment.startswith("generators=[")
    assert str(config.generators[0].sha256) in assignment


def test_settings_files_can_name_generators(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(
        "task: {name: compressed-sensing, measurements: 200}\n"
        "arms: [{name: csgm, networks: ['generator:toy', 'adapted-generator:toy']}]\n"
        f"generators: [{{name: toy, file: '{toy_generator.written(tmp_path)}', factory: 'tests.toy_generator:toy',"
        " latent: 3}]\n"
    )
    assert resolve(str(path)).generators[0].shape == (3, 40, 48)


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


def harmful(folder: Path) -> str:
    """A pickle that writes a file when it is read."""

    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.write_text, (folder / "run", "run")

    path = folder / "harmful.pt"
    torch.save({"weight": Harmful()}, path)
    return str(path)


def old_pickle(folder: Path) -> str:
    path = folder / "old.pt"
    path.write_bytes(pickle.dumps({"weight": eval}))
    return str(path)


BAD: dict[str, tuple[dict[str, object], Callable[[Path], str], str]] = {
    "no image": ({"factory": "tests.toy_generator:flat"}, toy_generator.written, "its output for 8 latents is 8 x 3 x"),
    "weights that do not fit": (
        {"factory": "tests.toy_generator:wider"},
        toy_generator.written,
        "mix.weight (90 x 3, not 180 x 3), mix.bias (90, not 180)",
    ),
    "another latent": ({"latent": 7}, toy_generator.written, "it takes no latent of the shape 7"),
    "beyond its range": ({"range": [0.9, 1]}, toy_generator.written, "beyond its range [0.9, 1]"),
    "no factory": ({"factory": None}, toy_generator.written, "name the factory of their module"),
    "no such factory": ({"factory": "tests.toy_generator:no"}, toy_generator.written, "cannot be loaded"),
    "code": ({}, harmful, "holds a pickle with code in it, which is not run"),
    "code in an old pickle": ({}, old_pickle, "holds a pickle with code in it, which is not run"),
    "no file": ({}, lambda folder: str(folder / "none.pt"), "there is no such file"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_generator_that_is_none_is_a_mistake_of_one_line(run: Command, tmp_path: Path, case: str) -> None:
    changes, file, words = BAD[case]
    generator = toy_generator.settings(tmp_path)["generators"][0] | {"file": file(tmp_path)} | changes
    (line,) = run.mistake(*submitted(tmp_path, generator))
    assert words in line
    assert "generator toy" in line
    assert not (tmp_path / "run").exists()


def test_a_generator_for_another_size_than_all_images_is_a_mistake_of_one_line(run: Command, tmp_path: Path) -> None:
    generator = toy_generator.settings(tmp_path)["generators"][0]
    (line,) = run.mistake(*submitted(tmp_path, generator, (96, 80)))
    assert "the generator toy makes images of 48x40 pixels in colour, and this one has 96x80 pixels in colour" in line


def test_a_generator_for_the_images_is_planned(run: Command, tmp_path: Path) -> None:
    generator = toy_generator.settings(tmp_path)["generators"][0]
    told = run(*submitted(tmp_path, generator))
    assert told.status == 0, told.err
    assert "generator:toy" in told.out


def submitted(folder: Path, generator: dict[str, object], size: tuple[int, int] = (48, 40)) -> list[str]:
    """The words of a dry run over one image."""
    images = folder / "images"
    images.mkdir()
    Image.new("RGB", size, (90, 120, 60)).save(images / "a.png")
    arms = [{"name": "csgm", "networks": ["generator:toy", "adapted-generator:toy"]}]
    sets = {"generators": [generator], "arms": arms, "network.width": 8, "fit.iterations": 10}
    words = ["submit", "--images", str(images), "--simulate", "--task", "compressed-sensing", "--measurements", "200"]
    return [*words, "--dry-run", *(word for name in sets for word in ("--set", f"{name}={json.dumps(sets[name])}"))]
