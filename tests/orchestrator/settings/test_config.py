import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.errors import ConfigError
from orchestrator.settings.config import (
    ArmSettings,
    Config,
    Task,
    described_settings,
    find_config,
    kernel_of,
    resolve,
    shipped_configs,
)
from workers.operators import gaussian_kernel, motion_kernel
from workers.space import upsamplers

GOOD = "158-1111101111001110001100001"
NAMES = [name for name, _, _ in described_settings()]


WIDE = f"{next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16).index}-{'0' * 25}"
"""A network that needs a width that is a multiple of 16."""


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
    arms = said.pop("arms", ["isnas-dip-blind"])
    assert [arm.name for arm in config.arms] == [arm if isinstance(arm, str) else arm["name"] for arm in arms]
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
    assert line.startswith("fit.zzz: no such setting; known here: stopping, iterations, patience, ")
    (line,) = mistakes("qqq=1")
    assert line.startswith("qqq: no such setting; known here: seed, arms, task, ")


def test_all_mistakes_are_reported_at_once_one_a_line(tmp_path: Path) -> None:
    file = written(tmp_path, "fit: {iterations: 0, patiense: 4}\nnetwork: {width: 6}\n7: 8\n")
    lines = mistakes("nonsense", "task.sigma=-1", "arms=[Upper]", "score.draws=x", file=file)
    starts = [
        "--set nonsense",
        "arms.0.name",
        "arms.0.like",
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
        ("cohort.view=half", "'half'"),
        ("cohort.crop_px=31", "31"),
        ("cohort.halving=often", "'often'"),
        ("cohort.keep_share=1", "1"),
        ("cohort.rung_factor=1", "1"),
        ("pick.rule=best", "'best'"),
        ("task.name=rain", "'rain'"),
        ("task.factor=5", "5"),
        ("task.missing=1", "1"),
        ("task.peak=0", "0"),
        ("task.quality=96", "96"),
        ("fit.stopping=late", "'late'"),
        ("arms=[]", "[]"),
        ("arms=dip", "'dip'"),
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


def arm_mistakes(names: str, *assignments: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        resolve("quickstart", assignments, arms=names)
    return str(caught.value).split("\n")


def test_arms_are_chosen_by_name_in_their_order_and_the_settings_know_more_of_them() -> None:
    own = "arms=[{name: mine, like: random, size: 2}, nas-dip, {name: dip, like: dip, networks: [deep-decoder-32]}]"
    assert [arm.name for arm in resolve().arms] == ["isnas-dip-blind"]
    assert [arm.name for arm in resolve(arms=" random , isnas-dip,").arms] == ["random", "isnas-dip"]
    mine, other, described = resolve("quickstart", [own], arms="mine,all,dip").arms
    assert (mine.like, mine.size, other.like) == ("random", 2, "all")
    assert described.networks == ["deep-decoder-32"]
    # What else is described there, and wrong, is not asked for.
    (mine,) = resolve("quickstart", ["arms=[{name: mine}, {like: dip}, 3, {name: [1]}]"], arms="mine").arms
    assert mine.like == "isnas-dip-blind"


def test_an_arm_that_is_none_is_named_beside_those_there_are() -> None:
    lotteries = ", ".join(f"lottery-{method}" for method in ("imp", "random", "snip", "oes", "dense", "decoder"))
    known = f"isnas-dip-blind, isnas-dip, random, dip, nas-dip, deep-decoder, all, {lotteries}"
    assert arm_mistakes("dip,dup") == [f"--arms: no arm is called 'dup'; there are: {known}"]
    (line,) = arm_mistakes("dup", "arms=[{name: mine}]")
    assert line == f"--arms: no arm is called 'dup'; there are: mine, {known}"
    assert arm_mistakes(" , ") == [f"--arms: name one at least; there are: {known}"]


def test_two_arms_cannot_share_a_name() -> None:
    assert arm_mistakes("dip,random,dip") == ["arms: dip is there twice; give one of them another name"]
    assert mistakes("arms=[dip, {name: dip, like: random}]") == arm_mistakes("dip,dip")


@pytest.mark.parametrize(
    ("arm", "start"),
    [
        ("{name: Mine}", "arms.0.name: string should match pattern"),
        ("{name: a/b}", "arms.0.name: string should match pattern"),
        ("{name: [1]}", "arms.0.name: input should be a valid string"),
        ("{like: dip}", "arms.0.name: field required"),
        ("{name: a, like: b}", "arms.0.like: input should be 'isnas-dip-blind'"),
        ("{name: a, size: 0}", "arms.0.size: input should be greater than or equal to 1, not 0"),
        ("{name: a, siz: 1}", "arms.0.siz: no such setting; did you mean arms.0.size?"),
        ("{name: a, crop_px: 1}", "arms.0.crop_px: no such setting; did you mean cohort.crop_px?"),
        ("{name: a, qqq: 1}", "arms.0.qqq: no such setting; known here: name, like, networks, "),
        ("{name: a, metric: b}", "arms.0.metric: no metric is called 'b'; "),
        ("{name: a, networks: []}", "arms.0.networks: list should have at least 1 item"),
        ("{name: a, networks: [dip, unet]}", "arms.0.networks.1: prior 'unet' does not exist"),
        ("{name: a, networks: [dip, dip]}", "arms.0: its list of networks names one twice"),
        ("3", "arms.0: input should be a valid dictionary"),
    ],
)
def test_what_is_wrong_with_an_arm_is_said_with_its_place(arm: str, start: str) -> None:
    (line,) = mistakes(f"arms=[{arm}]")
    assert line.startswith(start)


def test_a_network_of_an_arm_must_fit_the_width() -> None:
    cell = next(cell for cell in upsamplers() if cell.valid and cell.width_multiple == 16)
    network = f"nas-dip-{cell.index}-{'0' * 25}"
    assert resolve("quickstart", [f"arms=[{{name: a, networks: [{network}]}}]", "network.width=16"])
    assert mistakes(f"arms=[{{name: a, networks: [dip, {network}]}}]", "network.width=24") == [
        f"arm a: network {network} needs a network.width that is a multiple of 16"
    ]


MOVED = "{name: moved, like: lottery-imp, source: f16-5fb2ac1e}"


def test_lotteries_are_chosen_by_name_and_their_settings_are_below_lottery() -> None:
    config = resolve("quickstart", ["lottery.rounds=4"], arms="lottery-imp,lottery-oes,dip")
    assert [arm.name for arm in config.arms] == ["lottery-imp", "lottery-oes", "dip"]
    assert [arm.is_lottery for arm in config.arms] == [True, True, False]
    assert (config.lottery.rounds, config.lottery.network) == (4, None)
    (moved,) = resolve("quickstart", [f"arms=[{MOVED}]", "lottery.tickets=earlier"]).arms
    assert moved.source == "f16-5fb2ac1e"
    assert resolve("quickstart", ["arms=[dip, lottery-imp]", "lottery.network=picked"]).lottery.network == "picked"


@pytest.mark.parametrize(
    ("assignments", "line"),
    [
        (
            ["arms=[lottery-imp, lottery-oes]", "lottery.network=picked"],
            "lottery.network: 'picked' by which arm? There are only lotteries",
        ),
        (
            ["arms=[lottery-imp]", f"lottery.network={WIDE}", "network.width=24"],
            f"lottery.network {WIDE} needs a network.width that is a multiple of 16",
        ),
        (
            ["arms=[dip, lottery-imp]", "lottery.network=picked", "lottery.together=true"],
            "lottery.together: images for which different networks are picked have no mask in common",
        ),
        (
            ["arms=[lottery-imp]", "lottery.together=true", "lottery.tickets=earlier"],
            "lottery.together: masks are found here, on all images, or are another run's (lottery.tickets)",
        ),
        ([f"arms=[{MOVED}]"], "arm moved: it has a source, but lottery.tickets names no run"),
        (
            ["arms=[lottery-imp]", "lottery.fit_rounds=[2]"],
            "lottery.fit_rounds: arm lottery-imp finds its masks round by round, and needs all of them",
        ),
        (
            ["lottery.rounds=4", "lottery.fit_rounds=[2, 5]"],
            "lottery.fit_rounds: each once, from 1 to lottery.rounds, 4",
        ),
        (["lottery.fit_rounds=[2, 2]"], "lottery.fit_rounds: each once, from 1 to lottery.rounds, 16"),
        (["lottery.fit_rounds=[0]"], "lottery.fit_rounds.0: input should be greater than or equal to 1, not 0"),
        (["lottery.fit_rounds=[]"], "lottery.fit_rounds: list should have at least 1 item"),
        (["lottery.rate=1"], "lottery.rate: input should be less than 1"),
        (["lottery.rounds=100"], "lottery.rounds: input should be less than or equal to 99"),
        (["lottery.network=unet"], "lottery.network: prior 'unet' does not exist"),
        (["lottery.target=wanted"], "lottery.target: input should be 'observed' or 'clean'"),
        (
            ["arms=[{name: a, like: lottery-imp, networks: [dip], size: 3}]"],
            "arms.0: networks, size: not of a lottery, whose settings are below lottery",
        ),
        (
            ["arms=[{name: a, like: lottery-imp, metric: random, view: crop, halving: none}]"],
            "arms.0: metric, view, halving: not of a lottery, whose settings are below lottery",
        ),
        (["arms=[{name: a, source: f16-5f}]"], "arms.0: source: only a lottery's masks come from somewhere"),
        (["arms=[{name: a, like: lottery-imp, source: F16}]"], "arms.0.source: string should match pattern"),
    ],
)
def test_what_is_wrong_with_a_lottery_is_said_with_its_setting(assignments: list[str], line: str) -> None:
    (said,) = mistakes(*assignments)
    assert said.startswith(line)


def test_rounds_can_be_chosen_where_masks_do_not_come_out_of_the_round_before() -> None:
    rounds = "lottery.fit_rounds=[2, 16]"
    for assignments in (
        ["arms=[lottery-oes, lottery-random, lottery-snip, lottery-decoder, lottery-dense]"],
        ["arms=[lottery-imp]", "lottery.target=clean"],
        ["arms=[lottery-imp]", "lottery.together=true"],
        [f"arms=[{MOVED}]", "lottery.tickets=earlier"],
    ):
        assert resolve("quickstart", [*assignments, rounds]).lottery.fit_rounds == [2, 16]


def test_the_settings_of_a_lottery_are_of_no_matter_where_there_is_none() -> None:
    assert resolve("quickstart", ["lottery.network=picked", "lottery.together=true"]).lottery.together


def test_an_image_to_deblur_is_not_made_small() -> None:
    (line,) = mistakes("task.name=deblur", "cohort.view=downscale")
    assert line.startswith("cohort.view: an image to deblur cannot be made small")
    (line,) = mistakes("task.name=deblur", "arms=[dip, {name: small, view: downscale}]")
    assert line.startswith("arm small: an image to deblur cannot be made small")
    assert resolve("quickstart", ["task.name=deblur"], arms="isnas-dip").task.name == "deblur"
    assert resolve("quickstart", ["cohort.view=downscale"]).cohort.view == "downscale"


def test_metrics_are_known_by_name_or_can_be_imported() -> None:
    named = resolve("quickstart", ["score.metric=operator:sub", "score.also=[task loss, random]"]).score
    assert (named.metric, named.also) == ("operator:sub", ["task loss", "random"])
    (line,) = mistakes("score.metric=psd db mze")
    assert line.startswith("score.metric: no metric is called 'psd db mze'; did you mean 'psd db mse'?")
    (line,) = mistakes("score.metric=no_such_module:f")
    assert line.startswith("score.metric: the metric 'no_such_module:f' cannot be loaded: ModuleNotFoundError: ")
    (line,) = mistakes("score.metric=os:sep")
    assert line == "score.metric: the metric 'os:sep' is str, which cannot be called"
    (line,) = mistakes("score.also=[task loss, ssim]")
    assert line.startswith("score.also.1: no metric is called 'ssim'")


def test_candidates_come_from_a_file_or_from_a_list_that_ships(tmp_path: Path) -> None:
    file = written(tmp_path, f"# best first\n{GOOD}\n\n 158,{'0' * 25} \n", "mine.csv")
    assert resolve("quickstart", [f"score.candidates={file}"]).score.candidates == [GOOD, f"158-{'0' * 25}"]
    for name in ("isnas522", "isnas522.csv", "configs/candidates/isnas522.csv"):
        shipped = resolve("quickstart", [f"score.candidates={name}"]).score.candidates
        assert isinstance(shipped, list)
        assert len(shipped) == 522


@pytest.mark.parametrize("name", ["nope.csv", "elsewhere/isnas522", "a" * 300, "configs", ""])
def test_a_list_of_candidates_that_is_not_there_is_named_beside_those_that_ship(name: str) -> None:
    assert mistakes(f"score.candidates='{name}'") == [
        f"score.candidates: there is no list '{name}'; these ship: isnas522"
    ]


def test_an_interval_of_noise_ascends() -> None:
    assert resolve("quickstart", ["task.sigma=[5, 50]"]).task.sigma == (5, 50)
    assert mistakes("task.sigma=[50, 5]") == ["task.sigma: the interval's ends must ascend"]


def test_a_kernel_is_named_or_given_as_numbers_or_read_from_a_file(tmp_path: Path) -> None:
    rows = [[0.0, 1.0, 0.0], [1.0, 2.0, 1.0], [0.0, 1.0, 0.0]]
    text = written(tmp_path, "0 1 0\n1, 2, 1\n\n0 1 0", "kernel.txt")
    np.save(tmp_path / "kernel.npy", np.array(rows, dtype=np.int16))
    for value in (rows, text, tmp_path / "kernel.npy"):
        kernel = resolve("quickstart", [f"task.kernel={value}"]).task.kernel
        assert kernel == rows
    np.testing.assert_array_equal(kernel_of(rows), rows)
    np.testing.assert_array_equal(kernel_of(Task().kernel), gaussian_kernel(1.6))
    np.testing.assert_array_equal(kernel_of("motion 9 45"), motion_kernel(9, 45))


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("gaussian", "gaussian 0", "gaussian nan")),
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("gaussian 101", "motion 9", "motion 0.4 3")),
        *((f"{name}", "is no kernel; write 'gaussian SIGMA'") for name in ("motion 9 4 5", "motion 9 inf")),
        ("no-such-file", "is neither a kernel's name nor a file of numbers"),
        ("''", "is neither a kernel's name nor a file of numbers"),
        ("[[1, 1], [1, 1]]", "two odd sides, not the shape (2, 2)"),
        ("[[1, 2, 1], [1]]", "rows of equal length"),
        ("[]", "rows of equal length"),
        ("[[-1]]", "must sum to more than 0"),
        ("[[a]]", "task.kernel.0.0: input should be a valid number"),
        ("3", "not 3"),
    ],
)
def test_a_kernel_that_cannot_be_used_is_refused(kernel: str, why: str) -> None:
    (line,) = mistakes(f"task.kernel={kernel}")
    assert line.startswith("task.kernel")
    assert why in line


@pytest.mark.parametrize("content", [b"", b"1 2\n3", b"1 x", b"\xff\xfe", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["kernel.npy", "kernel.txt"])
def test_a_file_that_holds_no_kernel_is_refused(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    (line,) = mistakes(f"task.kernel={tmp_path / name}")
    assert line.startswith("task.kernel: ")


def test_the_image_grows_by_the_factor_in_super_resolution_alone() -> None:
    assert resolve("quickstart", ["task.factor=8"]).task.scale == 1
    assert resolve("quickstart", ["task.factor=8", "task.name=super-resolve"]).task.scale == 8


def test_rungs_grow_by_their_factor_and_end_before_a_fit_does() -> None:
    cohort = resolve("quickstart", ["cohort.first_rung=100", "cohort.rung_factor=3"]).cohort
    assert cohort.rungs(900) == [100, 300]
    assert cohort.rungs(901) == [100, 300, 900]
    assert cohort.rungs(100) == []


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
        place: object = Config
        for part in name.split("."):
            model = place if isinstance(place, type) else None
            field = model.model_fields[part.removesuffix("[]")]
            place = ArmSettings if part == "arms[]" else field.annotation
        assert default == str(None if field.is_required() else field.default)
    assert len(NAMES) == len(set(NAMES)) > 50
    assert {"arms", "arms[].name", "arms[].networks"} <= set(NAMES)


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
