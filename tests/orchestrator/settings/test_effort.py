import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError, UserMistakeError
from orchestrator.settings import Config, resolve
from orchestrator.settings.effort import EFFORTS, TASK_OPTIONS, Effort, Wanted, check_effort, file_of

OLD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "data/old_spellings.json").read_text(encoding="utf-8"))
"""The settings that the command line of version 0.1.0 made of options, before there were efforts (commit ac4d8b4)."""


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    named: dict[str, Any] = {}
    for name, value in settings.items():
        named |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return named


def wanted(arguments: list[str]) -> Wanted:
    """The settings that `submit` with these options asks for."""
    pairs = list(zip(arguments[::2], arguments[1::2], strict=True))
    given = dict(pairs)
    sets = [value for name, value in pairs if name == "--set"]
    return Wanted(given.get("--config"), assignments=sets, arms=given.get("--arms"))


@pytest.mark.parametrize("case", OLD["cases"], ids=lambda case: " ".join(case["arguments"]))
def test_an_old_spelling_has_the_settings_that_it_had(case: dict[str, Any]) -> None:
    asked = wanted(case["arguments"])
    # Without --config the sizes were those of quickstart, as they are now on a CPU.
    settings = flat(asked.resolve(None if asked.base is not None else "quick").model_dump(mode="json"))
    before = OLD["plain"] | case["changes"]
    before["arms"] = [{"portfolio": None, **arm} for arm in before["arms"]]
    if asked.base is None and asked.arms is None:
        # That an effort says what to fit is new.
        assert [arm["name"] for arm in settings.pop("arms")] == ["portfolio"]
        del before["arms"]
    # A setting that did not exist then is at its default.
    assert {name: settings[name] for name in before} == before
    assert all(settings[name] == flat(Config().model_dump(mode="json"))[name] for name in settings.keys() - before)


@pytest.mark.parametrize("task", ["inpaint", "super-resolve"])
def test_standard_is_the_papers_sizes_of_the_task(task: str) -> None:
    assert Wanted(task={"name": task}).resolve("standard") == resolve(task)
    # A task that is set counts as one that is named.
    assert Wanted(assignments=[f"task.name={task}"]).resolve("standard") == resolve(task)


@pytest.mark.parametrize("task", ["denoise", "deblur", "jpeg"])
def test_standard_of_a_task_without_a_file_is_the_sizes_of_denoise(task: str) -> None:
    assert Wanted(task={"name": task}).resolve("standard") == resolve("denoise", [f"task.name={task}"])


def test_thorough_is_more_than_standard() -> None:
    standard, thorough = (Wanted().resolve(effort) for effort in ("standard", "thorough"))
    assert thorough.score.candidates > standard.score.candidates
    assert thorough.cohort.size > standard.cohort.size
    assert thorough.pick.full_fits > standard.pick.full_fits
    assert thorough.fit == standard.fit


@pytest.mark.parametrize("effort", EFFORTS)
def test_set_overrides_task_and_effort_and_these_override_the_file(effort: Effort, tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("task: {name: jpeg, quality: 50}\nnetwork: {width: 64}\nfit: {learning_rate: 0.002}\nseed: 7\n")
    asked = Wanted(str(mine), effort, {"name": "deblur", "kernel": "motion 9 45"}, ["cohort.size=2", "task.sigma=3"])
    config = asked.resolve(effort)
    assert (config.task.name, config.task.kernel, config.task.sigma) == ("deblur", "motion 9 45", 3)
    assert config.network.width == Wanted().resolve(effort).network.width
    assert config.cohort.size == 2
    # The file decides everything that is no size and no option of a task.
    assert (config.fit.learning_rate, config.seed, config.task.quality) == (0.002, 7, 50)
    assert Wanted(str(mine), assignments=["task.name=inpaint"], task={"name": "deblur"}).resolve(None).task.name == (
        "inpaint"
    )


@pytest.mark.parametrize(
    ("asked", "arms"),
    [
        (Wanted(), ["portfolio"]),
        (Wanted(task={"name": "inpaint"}, assignments=["fit.iterations=60", "cohort.budget=9000"]), ["portfolio"]),
        (Wanted(assignments=["score.candidates=500"]), ["isnas-dip-blind"]),
        (Wanted(assignments=["cohort.size = 8"]), ["isnas-dip-blind"]),
        (Wanted(assignments=['arms=["random"]']), ["random"]),
        (Wanted(arms="dip,isnas-dip-blind"), ["dip", "isnas-dip-blind"]),
        (Wanted("quickstart"), ["isnas-dip-blind"]),
        (Wanted(Config()), ["isnas-dip-blind"]),
    ],
)
def test_quick_fits_a_portfolio_unless_arms_or_settings_of_a_search_are_given(asked: Wanted, arms: list[str]) -> None:
    assert [arm.name for arm in asked.resolve("quick").arms] == arms
    for effort in ("standard", "thorough"):
        expected = ["isnas-dip-blind"] if arms == ["portfolio"] else arms
        assert [arm.name for arm in asked.resolve(check_effort(effort)).arms] == expected


def test_the_settings_of_another_run_are_a_base_too() -> None:
    base = Config.model_validate({"seed": 5, "network": {"width": 64}})
    assert Wanted(base).resolve(None) == base
    assert Wanted(base, task={"name": "inpaint"}).resolve("quick") == resolve(
        "quickstart", ["seed=5", "task.name=inpaint"]
    )


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"factor": 2}, "--factor: the task is denoise; this option goes with --task super-resolve"),
        (
            {"name": "jpeg", "sigma": 5.0},
            "--sigma: the task is jpeg; this option goes with --task denoise or --task deblur or"
            " --task compressed-sensing",
        ),
        (
            {"name": "inpaint", "kernel": "gaussian 2"},
            "--kernel: the task is inpaint; this option goes with --task deblur",
        ),
        ({"name": "deblur", "quality": 5}, "--quality: the task is deblur; this option goes with --task jpeg"),
    ],
)
def test_an_option_of_another_task_is_a_mistake(task: dict[str, object], message: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        Wanted(task=task).resolve("quick")
    assert str(caught.value) == message


def test_an_option_belongs_to_the_task_wherever_that_was_named() -> None:
    assert Wanted(task={"factor": 2}, assignments=["task.name=super-resolve"]).resolve("quick").task.factor == 2
    assert Wanted("super-resolve", task={"factor": 2}).resolve(None).task.factor == 2


def test_mistakes_in_options_and_settings_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        Wanted(task={"name": "super-resolve", "factor": 5}, assignments=["fit.iteratons=6"]).resolve("quick")
    first, second = sorted(str(caught.value).splitlines())
    assert first.startswith("--factor: ")
    assert "did you mean fit.iterations?" in second


@pytest.mark.parametrize(
    ("task", "lines"),
    [
        ({"name": "rain"}, ["--task: input should be 'denoise', 'inpaint', "]),
        ({"sigma": 300.0}, ["--sigma: input should be less than or equal to 255"]),
        ({"sigma": (-1.0, 400.0)}, ["--sigma: input should be greater", "--sigma: input should be less"]),
        ({"sigma": (9.0, 4.0)}, ["--sigma: the interval's ends must ascend"]),
        ({"name": "super-resolve", "factor": 5}, ["--factor: input should be 2, 3, 4 or 8, not 5"]),
        ({"name": "deblur", "kernel": "gaussian x"}, ["--kernel: 'gaussian x' is no kernel; write 'gaussian SIGMA'"]),
        ({"name": "deblur", "kernel": "no.npy"}, ["--kernel: 'no.npy' is neither a kernel's name nor a file"]),
        ({"name": "jpeg", "quality": 99}, ["--quality: input should be less than or equal to 95, not 99"]),
        (
            {"name": "compressed-sensing", "measurements": 0, "matrix": "random"},
            ["--measurements: input should be greater than or equal to 1", "--matrix: input should be 'gaussian', "],
        ),
    ],
)
def test_a_mistake_is_told_by_the_option_that_was_typed(task: dict[str, object], lines: list[str]) -> None:
    for base in (None, Config()):
        with pytest.raises(ConfigError) as caught:
            Wanted(base, task=task).resolve("quick")
        for line, expected in zip(str(caught.value).splitlines(), lines, strict=True):
            assert line.startswith(expected)


def test_every_option_of_a_task_has_a_case_of_that() -> None:
    (mark,) = test_a_mistake_is_told_by_the_option_that_was_typed.pytestmark
    assert {option for task, _ in mark.args[1] for option in task} == {"name", *TASK_OPTIONS}


@pytest.mark.parametrize("override", ["task.factor=7", "task={name: super-resolve, factor: 7}", "task.factor =7"])
def test_what_set_overrides_is_told_by_the_settings_name(override: str) -> None:
    with pytest.raises(ConfigError, match=r"^task.factor: .*, not 7$"):
        Wanted(task={"name": "super-resolve", "factor": 5}, assignments=[override]).resolve("quick")


def test_what_is_asked_of_the_machines_is_known_before_the_sizes() -> None:
    assert Wanted(assignments=["resources.gpus=0", "fit.iterations=x"]).resources().resources.gpus == 0
    # Mistakes are reported when the settings are resolved.
    assert Wanted(assignments=["resources.gpus=x"]).resources() == Config()


def test_efforts_have_names_and_files_that_ship() -> None:
    assert [check_effort(name) for name in ("quick", None)] == ["quick", None]
    with pytest.raises(ConfigError, match="there is no 'slow'; there are: quick, standard, thorough"):
        check_effort("slow")
    assert [file_of(effort, "inpaint") for effort in EFFORTS] == ["quickstart", "inpaint", "inpaint"]
