import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.settings import ArmSettings, Config, resolve
from tests.orchestrator.settings.given import GOOD, NAMES, arm_mistakes, mistakes, written


def test_assignments_are_put_over_the_file_with_the_types_of_yaml() -> None:
    config = resolve(
        "quickstart",
        [
            "fit.iterations=7",
            "fit.learning_rate=1e-3",
            "cohort.iterations=null",
            "score.metric=psd strip hist emd",
            f"score.candidates=[{GOOD}]",
            "arms=[dip, {name: my-arm, like: random, size: 2}]",
            "resources.gpus=0.5",
            "seed = 9",
        ],
    )
    assert config.fit.iterations == 7
    assert config.fit.learning_rate == 0.001
    assert config.cohort.iterations is None
    assert config.score.metric == "psd strip hist emd"
    assert config.score.candidates == [GOOD]
    assert config.arms == [
        ArmSettings(name="dip", like="dip"),
        ArmSettings(name="my-arm", like="random", size=2),
    ]
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
    "assignments",
    [
        [],
        ["fit.iterations=9", "arms=[dip, {name: mine, networks: [dip, deep-decoder-64], view: full}]"],
        ["resources.gpus=0.25", "cohort.iterations=null", "task.sigma=[5, 50]", "score.candidates=isnas522"],
        ["task.name=deblur", "task.kernel=[[0, 1, 0], [1, 2, 1], [0, 1, 0]]"],
        [f"score.candidates=[{GOOD}]", "network.input_channels=32", "fit.input_noise=0.1"],
    ],
)
def test_resolved_settings_written_as_yaml_resolve_to_the_same(assignments: list[str], tmp_path: Path) -> None:
    config = resolve("denoise", assignments)
    again = resolve(written(tmp_path, yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config


def test_arms_are_chosen_by_name_in_their_order_and_the_settings_know_more_of_them() -> None:
    own = "arms=[{name: mine, like: random, size: 2}, nas-dip, {name: dip, like: dip, networks: [deep-decoder-32]}]"
    assert [arm.name for arm in resolve().arms] == ["isnas-dip-blind"]
    assert [arm.name for arm in resolve(arms=" random , isnas-dip,").arms] == ["random", "isnas-dip"]
    mine, other, described = resolve("quickstart", [own], arms="mine,all,dip").arms
    assert (mine.like, mine.size, other.like) == ("random", 2, "all")
    assert described.networks == ["deep-decoder-32"]
    # Other mistakes described there are not looked at.
    (mine,) = resolve("quickstart", ["arms=[{name: mine}, {like: dip}, 3, {name: [1]}]"], arms="mine").arms
    assert mine.like == "isnas-dip-blind"


def test_an_arm_that_is_none_is_named_beside_those_there_are() -> None:
    lotteries = ", ".join(f"lottery-{method}" for method in ("imp", "random", "snip", "oes", "dense", "decoder"))
    known = f"isnas-dip-blind, isnas-dip, random, dip, seeds, nas-dip, portfolio, deep-decoder, all, {lotteries}"
    assert arm_mistakes("dip,dup") == [f"--arms: no arm is called 'dup'; there are: {known}"]
    (line,) = arm_mistakes("dup", "arms=[{name: mine}]")
    assert line == f"--arms: no arm is called 'dup'; there are: mine, {known}"
    assert arm_mistakes(" , ") == [f"--arms: name one at least; there are: {known}"]


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
    st.sampled_from(
        [GOOD, "240-" + "0" * 25, "denoise", "random", "crop", "full", "held-out", "image", "dip", "isnas522"]
    ),
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


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
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
