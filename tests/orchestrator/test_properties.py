"""Properties that hold for any input of a user: names of files and runs, and settings."""

import json
import os
import re
import unicodedata
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError, UserMistakeError
from orchestrator.images import Encoding
from orchestrator.ingest.files import ReadFile, relative_name
from orchestrator.ingest.names import RestoredNames
from orchestrator.run.inputs import InputImage
from orchestrator.run.layout import RunLayout, image_id
from orchestrator.run.record import check_run_name
from orchestrator.settings import Config, described_settings, resolve
from orchestrator.store import check_key
from workers.names import PriorName

quick = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])

# Names of files.

letters = st.one_of(
    st.sampled_from(list(" .-_aAßéÉıIſKK\n\r\t'\"&<>[]%\\=日長\u0301\u202e🙂")),
    st.characters(codec="utf-8", exclude_characters="/\0"),
)
parts = st.text(letters, min_size=1, max_size=8).filter(lambda part: not part.startswith("."))
suffixes = st.sampled_from(["", ".png", ".PNG", ".png.tif", ".jpg", ".tif", ".TIFF", ".Bmp", ".x", ".", ".2.png"])
stems = st.one_of(parts, st.builds(lambda letter: letter * 80, letters.filter(lambda letter: letter != ".")))
file_names = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]), st.lists(parts, max_size=2), stems, suffixes
)


def folders_of(name: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(name).parents]


@st.composite
def images(draw: st.DrawFn) -> list[ReadFile]:
    """Images that may lie in one folder: no name is another's folder, none is longer than a file system takes."""
    names = draw(st.lists(file_names, min_size=1, max_size=6, unique=True))
    # Names that almost meet are the interesting ones.
    names += [
        draw(st.sampled_from([name.swapcase(), unicodedata.normalize("NFD", name), f"{name}/a"])) for name in names
    ]
    names = sorted(set(names))
    taken = {folder for name in names for folder in folders_of(name)}
    kinds: Any = st.sampled_from(["png", "tiff"])
    return [
        ReadFile(Path(name), name, "0" * 64, Encoding(draw(kinds), "uint8", 8, 0.0, 255.0, "rgb"), (3, 1, 1))
        for name in names
        if name not in taken and len(PurePosixPath(name).name.encode()) <= 255
    ]


@quick
@given(images())
def test_restored_names_stay_inside_and_never_meet_whatever_the_files_are_called(read: list[ReadFile]) -> None:
    names = RestoredNames([image.name for image in read], [image.path for image in read])
    restored = [names.next(image.name, image.encoding.suffix) for image in read]
    layout = RunLayout("run")
    folded = {unicodedata.normalize("NFD", name).casefold() for name in restored}
    assert len(folded) == len(read)
    for image, name in zip(read, restored, strict=True):
        assert folders_of(name) == folders_of(image.name)
        assert PurePosixPath(name).name[:1] == PurePosixPath(image.name).name[:1]
        assert name.endswith(image.encoding.suffix) or name == image.name
    for names, which in ((restored, "pick"), ([f"{name}.tif" for name in restored], "spread")):
        folders = {unicodedata.normalize("NFD", folder).casefold() for name in names for folder in folders_of(name)}
        for name in names:
            key = layout.restored("arm", which, name)
            assert check_key(key).startswith("runs/run/restored/arm/")
            assert len(name.rpartition("/")[2].encode()) <= 255
            assert unicodedata.normalize("NFD", name).casefold() not in folders


@quick
@given(st.lists(st.binary(min_size=1, max_size=20).filter(lambda name: not set(name) & set(b"/\0")), max_size=3))
def test_any_bytes_of_a_name_become_text_that_a_key_may_hold(folders: list[bytes]) -> None:
    assume(not {b".", b".."} & set(folders))
    path = Path("/images", *map(os.fsdecode, [*folders, b"\xff\xc3\xa9.png"]))
    name = relative_name(path, Path("/images"))
    assert name.encode().endswith(b"%FF\xc3\xa9.png")
    assert name.count("/") == len(folders)
    assert check_key(RunLayout("run").restored("arm", "pick", name))


@quick
@given(st.text(letters, max_size=300), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_an_id_is_a_part_of_every_key_of_its_image(name: str, sha256: str) -> None:
    made = image_id(name, sha256)
    layout = RunLayout("run")
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}-[0-9a-f]{8}", made)
    for key in (
        layout.scores(made),
        layout.row(made),
        layout.fit(made, "crop", PriorName("1-0")).result,
        layout.cohort(made),
    ):
        assert check_key(key).startswith("runs/run/")


@quick
@given(file_names, file_names, st.integers(1, 10**6), st.sampled_from([1, 3, 4]), st.none() | parts)
def test_an_image_comes_back_from_json_as_it_was(
    name: str, restored: str, side: int, channels: int, reference: str | None
) -> None:
    image = InputImage(name, image_id(name, "0" * 64), "a.png", reference, restored, side, 1, channels, mask=reference)
    assert InputImage(**json.loads(json.dumps(asdict(image)))) == image


# Names of runs.


@quick
@given(st.one_of(st.text(max_size=90), st.from_regex(r"[A-Za-z0-9._-]{1,82}\n?", fullmatch=True)))
def test_a_run_is_called_only_what_a_key_may_hold(name: str) -> None:
    mistake = ""
    try:
        check_run_name(name)
    except UserMistakeError as error:
        mistake = str(error)
    if mistake:
        assert mistake.isprintable()
        return
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,80}", name, re.ASCII)
    assert not name.startswith((".", "-", "_"))
    layout = RunLayout(name)
    assert check_key(layout.record) == f"runs/{name}/run.json"


@quick
@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True).filter(lambda name: "\n" not in name))
def test_a_plain_name_is_no_mistake(name: str) -> None:
    assert check_run_name(name) == name


# Settings.

SETTINGS = [name for name, _, _ in described_settings() if "[]" not in name]
SECTIONS = sorted({name.partition(".")[0] for name in SETTINGS})
FIELDS = sorted({name.rpartition(".")[2] for name in SETTINGS})

words = st.one_of(
    st.sampled_from(
        ["held-out", "crop", "full", "denoise", "isnas522", "gaussian 1.6", "psd strip mse", "158-1", "0x_", "1_0"]
    ),
    st.text(max_size=8),
)
plain: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(0, 200),
    st.floats(),
    words,
    st.dates(),
    st.binary(max_size=3),
)
keys = st.one_of(st.sampled_from(FIELDS), words, st.integers(0, 3), st.booleans(), st.none())
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
sections = st.dictionaries(st.sampled_from(FIELDS), values, max_size=4) | values
documents = st.dictionaries(st.sampled_from(SECTIONS) | keys, sections, max_size=4)


def resolved(config: str, assignments: list[str] = [], arms: str | None = None) -> Config | None:  # noqa: B006
    """The settings, or None where they are a mistake that is reported in printable lines; no other error is raised."""
    try:
        return resolve(config, assignments, arms=arms)
    except ConfigError as error:
        mistakes = str(error).split("\n")
    assert all(mistake.strip() and mistake.isprintable() for mistake in mistakes)
    return None


@quick
@given(documents)
def test_any_plain_yaml_is_settings_or_a_mistake(tmp_path: Path, document: dict[Any, Any]) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    config = resolved(str(file))
    if config is not None:
        assert Config.model_validate(config.model_dump(mode="json")) == config


@quick
@given(st.one_of(st.text(max_size=60), st.binary(max_size=60)))
def test_any_file_is_settings_or_a_mistake(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "settings.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    resolved(str(file))


yaml_values = values.map(lambda value: yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).strip())


@quick
@given(
    st.lists(
        st.builds("{}={}".format, st.sampled_from(SETTINGS) | st.text(max_size=12), yaml_values | st.text(max_size=20)),
        max_size=3,
    )
)
def test_any_assignment_is_a_setting_or_a_mistake(assignments: list[str]) -> None:
    config = resolved("quickstart", assignments)
    if config is not None:
        assert Config.model_validate(config.model_dump(mode="json")) == config


@quick
@given(st.text(max_size=40), st.lists(st.sampled_from(["isnas-dip-blind", "random", "dip", "", " ", "x"]), max_size=4))
def test_any_names_of_arms_and_files_are_right_or_a_mistake(name: str, arms: list[str]) -> None:
    resolved("quickstart", arms=",".join(arms))
    resolved("quickstart", arms=name)
    resolved(name)


@quick
@given(st.data())
def test_valid_settings_come_back_from_yaml_as_they_were(data: st.DataObject) -> None:
    drawn = {
        "network.width": st.sampled_from([8, 16, 32, 128]),
        "score.candidates": st.integers(1, 10**5),
        "cohort.size": st.just(1),
        "fit.patience": st.integers(1, 10**5),
        "fit.average": st.floats(0.5, 0.99),
        "task.sigma": st.floats(0, 255) | st.lists(st.floats(0, 255), min_size=2, max_size=2).map(sorted),
        "seed": st.integers(0, 2**62),
        "resources.parallel": st.none() | st.integers(1, 99),
    }
    names = data.draw(st.lists(st.sampled_from(sorted(drawn)), min_size=1, max_size=4, unique=True))
    config = resolved("denoise", [f"{name}={json.dumps(data.draw(drawn[name]))}" for name in names])
    assert config is not None
    again = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    assert Config.model_validate(again) == config
