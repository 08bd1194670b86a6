import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.config import Config, described_settings, find_config, resolve, shipped_configs
from orchestrator.errors import ConfigError
from workers.space import upsamplers

GOOD = "158-1111101111001110001100001"
NAMES = [name for name, _, _ in described_settings()]


def mistakes(*assignments: str, file: str = "quickstart") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve(file, assignments)
    return str(caught.value).split("\n")


def written(folder: Path, text: str, name: str = "settings.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_configs().glob("*.yaml")))
def test_every_shipped_file_resolves_and_holds_what_it_says(name: str) -> None:
    config = resolve(name)
    said = yaml.safe_load((shipped_configs() / f"{name}.yaml").read_text())
    for section, values in said.items():
        for setting, value in values.items():
            assert getattr(getattr(config, section), setting) == value


def test_the_quickstart_and_the_papers_sizes_ship() -> None:
    assert {"quickstart", "denoise"} <= {path.stem for path in shipped_configs().glob("*.yaml")}
    assert resolve() == resolve("quickstart")
    assert resolve("denoise").score.candidates == 1000


def test_assignments_are_put_over_the_file_with_the_types_of_yaml() -> None:
    config = resolve(
        "quickstart",
        [
            "fit.iterations=7",
            "fit.learning_rate=1e-3",
            "cohort.iterations=null",
            "score.metric=psd strip hist emd",
            f"score.candidates=[{GOOD}]",
            "arm=my-arm",
            "resources.gpus=0.5",
            "seed = 9",
        ],
    )
    assert config.fit.iterations == 7
    assert config.fit.learning_rate == 0.001
    assert config.cohort.iterations is None
    assert config.score.metric == "psd strip hist emd"
    assert config.score.candidates == [GOOD]
    assert config.arm == "my-arm"
    assert config.resources.gpus == 0.5
    assert config.seed == 9
    assert config.fit.patience == resolve("quickstart").fit.patience


def test_the_last_of_several_assignments_wins_and_a_whole_section_can_be_set() -> None:
    assert resolve("quickstart", ["fit.iterations=7", "fit.iterations=8"]).fit.iterations == 8
    assert resolve("quickstart", ["fit={iterations: 5}"]).fit == Config.model_validate({"fit": {"iterations": 5}}).fit


@pytest.mark.parametrize("assignment", ["fit.iterations", "=3", "", ".=3", "fit..iterations=3", "fit.=3", "fit"])
def test_an_assignment_that_is_none_says_how_to_write_one(assignment: str) -> None:
    (line,) = mistakes(assignment)
    assert line.startswith(f"--set {assignment}: ")
    assert "fit.iterations=600" in line


@pytest.mark.parametrize("value", ["[1", "{a: b", "\x00", "!!python/object:os.system x", "{[1]: 2}", "a: b: c"])
def test_a_value_that_is_no_yaml_is_named(value: str) -> None:
    (line,) = mistakes(f"seed={value}")
    assert line.endswith("is not a value")


@pytest.mark.parametrize(
    "value", ["2020-13-45", "0x_", "!!int x", "!!timestamp x", "!!bool x", "9" * 5000, "[" * 3000], ids=lambda v: v[:9]
)
def test_a_value_that_trips_the_yaml_reader_is_a_mistake_and_no_crash(value: str, tmp_path: Path) -> None:
    assert mistakes(f"seed={value}")
    assert mistakes(file=written(tmp_path, f"seed: {value}\n"))


@pytest.mark.parametrize(
    ("assignment", "suggestion"),
    [
        ("fit.iteratons=6", "fit.iterations"),
        ("fit.learning=0.1", "fit.learning_rate"),
        ("sigma=4", "task.sigma"),
        ("iterations=4", "cohort.iterations"),
        ("cohort.width=9", "network.width"),
        ("width=8", "network.width"),
        ("fit.crop_px=64", "cohort.crop_px"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_that_exists(assignment: str, suggestion: str) -> None:
    (line,) = mistakes(assignment)
    name = assignment.split("=", maxsplit=1)[0]
    assert line == f"{name}: no such setting; did you mean {suggestion}?"


def test_an_unknown_section_is_refused_with_the_nearest() -> None:
    assert mistakes("fti.iterations=6", "fti.patience=6") == ["fti: no such setting; did you mean fit?"]


def test_an_unknown_name_near_to_nothing_is_refused_with_the_names_there_are() -> None:
    (line,) = mistakes("fit.zzz=1")
    assert line.startswith("fit.zzz: no such setting; known here: iterations, patience, ")
    (line,) = mistakes("qqq=1")
    assert line.startswith("qqq: no such setting; known here: seed, arm, task, ")


def test_all_mistakes_are_reported_at_once_one_a_line(tmp_path: Path) -> None:
    file = written(tmp_path, "fit: {iterations: 0, patiense: 4}\nnetwork: {width: 6}\n7: 8\n")
    lines = mistakes("nonsense", "task.sigma=-1", "arm=Upper", "score.draws=x", file=file)
    starts = [
        "--set nonsense",
        "arm",
        "task.sigma",
        "network.width",
        "score.draws",
        "fit.iterations",
        "fit.patiense",
        "7",
    ]
    assert sorted(line.split(":")[0] for line in lines) == sorted(starts)


def test_a_name_of_two_lines_is_still_reported_on_one() -> None:
    assert len(mistakes("fit.a\nb=3")) == 1
    assert len(mistakes("fit\niterations")) == 1


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("fit.iterations=0", "0"),
        ("fit.iterations=many", "'many'"),
        ("fit.iterations=1.5", "1.5"),
        ("fit.iterations=", "None"),
        ("fit.iterations=.nan", "nan"),
        ("fit.learning_rate=.inf", "inf"),
        ("fit.held_out=0.6", "0.6"),
        ("fit.average=1", "1"),
        ("task.sigma=256", "256"),
        ("network.width=130", "130"),
        ("network.width=2", "2"),
        ("score.candidates=0", "0"),
        ("score.candidates=100001", "100001"),
        ("score.metric=ssim", "'ssim'"),
        ("cohort.view=half", "'half'"),
        ("cohort.crop_px=31", "31"),
        ("arm=Mine", "'Mine'"),
        ("arm=a/b", "'a/b'"),
        ("seed=-1", "-1"),
        ("keep.fits=some", "'some'"),
        ("fit=3", "3"),
        ("network.input_channels=photo", "'photo'"),
        ("network.input_channels=0", "0"),
        ("network.input_channels=-3", "-3"),
    ],
)
def test_a_value_out_of_range_is_reported_with_its_setting(assignment: str, value: str) -> None:
    (line,) = mistakes(assignment)
    assert line.startswith(f"{assignment.split('=', maxsplit=1)[0]}: ")
    assert line.endswith(f", not {value}")


def test_a_trial_cannot_have_more_than_one_gpu() -> None:
    (line,) = mistakes("resources.gpus=2")
    assert "gpus must be between 0 and 1" in line


@pytest.mark.parametrize("upsampler", [240, 300])
def test_a_candidate_that_cannot_be_built_is_refused_with_its_place_and_the_reason(upsampler: int) -> None:
    (line,) = mistakes(f"score.candidates=[{GOOD}, {upsampler}-{'0' * 25}]")
    assert line.startswith(f"score.candidates.1: candidate {upsampler}-{'0' * 25}: ")
    assert "cannot be built" in line


def test_every_wrong_candidate_of_a_list_has_its_line() -> None:
    lines = mistakes(f"score.candidates=[999-{'0' * 25}, {GOOD}, hello, 158-1, 7]")
    assert [line.split(": ")[0] for line in lines] == [f"score.candidates.{n}" for n in (0, 2, 3, 4)]


def test_a_list_of_candidates_is_neither_empty_nor_names_one_twice() -> None:
    assert mistakes("score.candidates=[]") == ["score: the list of candidates is empty"]
    same = f"['{GOOD}', ' 0{GOOD} ']"
    assert mistakes(f"score.candidates={same}") == ["score: the list of candidates names one twice"]


def test_a_candidate_is_kept_by_its_plain_id() -> None:
    assert resolve("quickstart", [f"score.candidates=[' 0{GOOD} ']"]).score.candidates == [GOOD]


def test_candidates_that_do_not_fit_the_width_are_refused() -> None:
    cell = next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16)
    candidate = f"{cell.index}-{'0' * 25}"
    assert resolve("quickstart", [f"score.candidates=[{candidate}]", "network.width=16"]).network.width == 16
    (line,) = mistakes(f"score.candidates=[{candidate}, {GOOD}]", "network.width=24")
    assert line == f"candidate {candidate} needs a network.width that is a multiple of 16"


@pytest.mark.parametrize(
    "assignments",
    [
        [],
        ["fit.iterations=9", "arm=mine", "resources.gpus=0.25", "cohort.iterations=null"],
        [f"score.candidates=[{GOOD}]", "network.input_channels=32", "fit.input_noise=0.1"],
    ],
)
def test_resolved_settings_written_as_yaml_resolve_to_the_same(assignments: list[str], tmp_path: Path) -> None:
    config = resolve("denoise", assignments)
    again = resolve(written(tmp_path, yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config


def test_settings_cannot_be_changed_afterwards() -> None:
    config = resolve()
    with pytest.raises(ValidationError):
        config.seed = 3


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
    assert str(caught.value) == f"no settings file {name!r}; these ship: denoise, quickstart"


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


@pytest.mark.parametrize(
    ("assignments", "method"),
    [
        ([], "isnas-dip-blind"),
        (["score.metric=random"], "random"),
        (["cohort.view=downscale"], "isnas-dip-blind"),
        (["pick.rule=weighted-mean"], "isnas-dip-blind"),
        (["cohort.view=downscale", "pick.rule=weighted-mean"], "isnas-dip"),
        (["cohort.view=downscale", "pick.rule=weighted-mean", "score.metric=random"], "random"),
        (["arm=mine", "score.metric=random"], "mine"),
    ],
)
def test_the_method_is_named_by_what_is_set(assignments: list[str], method: str) -> None:
    assert resolve("quickstart", assignments).method == method


def test_a_fit_at_full_size_is_not_cut_short_for_the_cohort() -> None:
    config = resolve("quickstart", ["fit.iterations=60", "cohort.iterations=20"])
    assert (config.iterations("crop"), config.iterations("full")) == (20, 60)
    alike = resolve("quickstart", ["fit.iterations=60", "cohort.iterations=null"])
    assert (alike.iterations("crop"), alike.iterations("full")) == (60, 60)


def test_the_noise_input_is_as_deep_as_the_image_unless_a_depth_is_set() -> None:
    assert resolve().network.input_depth(3) == 3
    assert resolve("quickstart", ["network.input_channels=32"]).network.input_depth(3) == 32


def test_every_setting_is_described_and_can_be_set_by_its_name() -> None:
    for name, default, description in described_settings():
        assert description, name
        section = Config()
        for part in name.split("."):
            section = getattr(section, part)
        assert str(section) == default
    assert len(NAMES) == len(set(NAMES)) > 30


def yaml_text(value: Any) -> str:
    file = io.StringIO()
    yaml.safe_dump(value, file, allow_unicode=True)
    return file.getvalue()


_scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from([GOOD, "240-" + "0" * 25, "denoise", "random", "crop", "full", "held-out", "image"]),
)
_keys = st.one_of(
    st.sampled_from(sorted({part for name in NAMES for part in name.split(".")})), st.text(max_size=6), st.integers()
)
_values = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3), max_leaves=8
)
_assignments = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.builds("{}={}".format, st.sampled_from(NAMES), st.text(max_size=12)),
        st.builds("{}={}".format, st.sampled_from(NAMES), _values.map(yaml_text)),
        st.builds("{}.{}={}".format, st.sampled_from(NAMES), st.text(max_size=4), st.integers()),
    ),
    max_size=4,
)


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(content=st.dictionaries(_keys, _values, max_size=5), assignments=_assignments)
def test_whatever_is_given_there_are_settings_or_named_mistakes(
    tmp_path_factory: pytest.TempPathFactory, content: dict[Any, Any], assignments: list[str]
) -> None:
    path = tmp_path_factory.getbasetemp() / "arbitrary.yaml"
    path.write_text(yaml_text(content), encoding="utf-8")
    try:
        config = resolve(str(path), assignments)
    except ConfigError as error:
        lines = str(error).split("\n")
    else:
        lines = ["none"]
        assert Config.model_validate(config.model_dump(mode="json")) == config
    assert all(line.strip() for line in lines)
