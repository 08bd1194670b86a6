from pathlib import Path

import pytest
import yaml

from orchestrator.errors import ConfigError
from orchestrator.settings import Config, find_config, resolve, shipped_configs
from orchestrator.settings.files import parse_yaml, read_yaml
from tests.orchestrator.settings.given import mistakes, written


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_configs().glob("*.yaml")))
def test_every_shipped_file_resolves_and_holds_what_it_says(name: str) -> None:
    config = resolve(name)
    said = yaml.safe_load((shipped_configs() / f"{name}.yaml").read_text())
    arms = said.pop("arms", ["isnas-dip-blind"])
    assert [arm.name for arm in config.arms] == [arm if isinstance(arm, str) else arm["name"] for arm in arms]
    for section, values in said.items():
        for setting, value in values.items():
            assert getattr(getattr(config, section), setting) == value


def test_the_quickstart_and_the_papers_sizes_ship() -> None:
    assert {"quickstart", "denoise"} <= {path.stem for path in shipped_configs().glob("*.yaml")}
    assert resolve() == resolve("quickstart")
    assert resolve("denoise").score.candidates == 1000


def test_a_file_is_found_by_path_and_a_shipped_one_by_name_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = shipped_configs() / "denoise.yaml"
    for name in ("denoise", "denoise.yaml", "configs/denoise.yaml", str(shipped)):
        assert find_config(name).samefile(shipped)
    own = written(tmp_path, "seed: 5", "denoise")
    assert find_config(own) == Path(own)
    assert resolve("denoise").seed == 5
    assert resolve("./denoise").seed == 5


@pytest.mark.parametrize("name", ["nope", "nope/denoise.yaml", "configs", "..", "\0", "", ".", "/", "a" * 300])
def test_a_file_that_is_not_there_is_named_beside_those_that_ship(name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(name)
    ship = ", ".join(sorted(path.stem for path in shipped_configs().glob("*.yaml")))
    assert str(caught.value) == f"no settings file {name!r}; these ship: {ship}"


def test_a_whole_path_that_is_not_there_is_not_replaced_by_a_shipped_file(tmp_path: Path) -> None:
    for name in (tmp_path / "configs" / "denoise.yaml", tmp_path / "quickstart.yaml", Path("/denoise.yaml")):
        with pytest.raises(ConfigError, match="no settings file"):
            find_config(str(name))


def test_another_suffix_is_not_taken_for_a_shipped_files_name() -> None:
    with pytest.raises(ConfigError, match=r"no settings file 'denoise\.json'"):
        find_config("denoise.json")


@pytest.mark.parametrize(
    "content", [b"fit: [1", b"fit: {a", b"\xff\xfe\xfa", b"a: b: c", b"\x00", b"a: *nowhere", b"? {[1]: 2}\n: 3"]
)
def test_a_file_that_is_no_yaml_is_named_on_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    (line,) = mistakes(file=str(path))
    assert line.startswith(f"{path} cannot be read as YAML: ")


@pytest.mark.parametrize("content", ["[1, 2]", "just text", "3"])
def test_a_file_must_hold_settings_by_name(content: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    (line,) = mistakes(file=path)
    assert line.startswith(f"{path} must hold settings by name")


def test_an_empty_file_leaves_all_defaults(tmp_path: Path) -> None:
    assert resolve(written(tmp_path, "# nothing\n")) == Config()


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (BOMB, "what begins in line 6 unpacks to more than 100000 values"),
        ("a: &a [*a]", "what begins in line 1 contains itself"),
        ("a: &a {b: *a}", "what begins in line 1 contains itself"),
        ("[" * 40 + "]" * 40, "nested more than 30 deep, in line 1"),
        ("fit:\n  iterations: 60\nseed: 1\nfit:\n  patience: 5\n", "'fit' is given twice, in lines 1 and 4"),
        ("fit: {block: 5, block: 6}", "'block' is given twice, in lines 1 and 1"),
        ("x" * (4 * 2**20 + 1), "it is longer than settings are"),
    ],
    ids=["bomb", "a list in itself", "a mapping in itself", "deep", "twice", "twice inside", "long"],
)
def test_text_that_is_more_than_settings_is_refused_in_a_line(text: str, found: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_yaml(text)
    assert found in str(refused.value)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        read_yaml(path)
    assert found in str(refused.value)
    assert len(str(refused.value)) < 300


def test_anchors_and_merges_may_be_used_as_yaml_has_them() -> None:
    text = "base: &base {block: 5, patience: 9}\nfit: {<<: *base, block: 6}\nagain: *base\n"
    assert parse_yaml(text) == {
        "base": {"block": 5, "patience": 9},
        "fit": {"block": 6, "patience": 9},
        "again": {"block": 5, "patience": 9},
    }
