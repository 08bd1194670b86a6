from pathlib import Path

import pytest

from orchestrator.cli import build_parser, main
from orchestrator.cli.options import what_of
from orchestrator.plan.plan import Plan
from tests.orchestrator.conftest import CANDIDATES, Encoded


def asked(*arguments: str) -> dict[str, object]:
    """The request of the options, without the values that are not given."""
    options = build_parser().parse_args(["submit", "--images", "x", *arguments])
    return {name: value for name, value in what_of(options).items() if value not in (None, [])}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ([], {}),
        (["--task", "denoise", "--sigma", "25"], {"task": "denoise", "sigma": 25.0}),
        (["--sigma", "10,50"], {"sigma": (10.0, 50.0)}),
        (["--task", "super-resolve", "--factor", "2"], {"task": "super-resolve", "factor": 2}),
        (["--task", "deblur", "--kernel", "motion 9 45"], {"task": "deblur", "kernel": "motion 9 45"}),
        (["--task", "jpeg", "--quality", "30"], {"task": "jpeg", "quality": 30}),
        (["--effort", "thorough", "--config", "mine.yaml"], {"effort": "thorough", "config": "mine.yaml"}),
    ],
)
def test_options_are_arguments_of_the_python_interface(arguments: list[str], what: dict[str, object]) -> None:
    assert asked(*arguments) == {"mask_known": "white", **what}


@pytest.mark.parametrize(
    "arguments",
    [["--task", "dehaze"], ["--sigma", "much"], ["--sigma", "1,x"], ["--factor", "two"], ["--effort", "slow"]],
    ids=" ".join,
)
def test_a_value_that_an_option_cannot_have_ends_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        asked(*arguments)
    assert ended.value.code == 2
    assert f"argument {arguments[0]}: invalid" in capsys.readouterr().err


@pytest.fixture
def images(tmp_path: Path, encoded: Encoded) -> str:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(encoded(9, 7))
    return str(tmp_path / "images")


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """The plans that dry runs print."""
    made: list[Plan] = []
    monkeypatch.setattr("orchestrator.cli.driving.show_plan", lambda request, plan, *_, **__: made.append(plan))
    return made


@pytest.mark.parametrize("command", ["submit", "study"])
def test_task_and_effort_reach_the_plan(command: str, images: str, plans: list[Plan], tmp_path: Path) -> None:
    more = [] if command == "submit" else ["--candidates", CANDIDATES[0]]
    where = ["--images", images, "--store", str(tmp_path / "store"), "--dry-run"]
    sets = ["--set", "score.candidates=3"] if command == "submit" else []
    candidates = tmp_path / "one.csv"
    candidates.write_text(CANDIDATES[0])
    more = [] if command == "submit" else ["--candidates", str(candidates)]
    assert main([command, *where, *more, *sets, "--task", "deblur", "--kernel", "gaussian 2", "--effort", "quick"]) == 0
    (plan,) = plans
    assert (plan.config.task.name, plan.config.task.kernel) == ("deblur", "gaussian 2")
    assert plan.sizing is not None
    assert plan.sizing.why == "as asked"
    assert plan.command == command


def test_an_option_of_another_task_is_a_mistake_of_one_line(
    images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", "--images", images, "--store", str(tmp_path / "store"), "--factor", "2"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "submit: --factor: the task is denoise; this option goes with --task super-resolve\n"
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["submit", "--task", "super-resolve", "--factor", "5"], "--factor: input should be 2, 3, 4 or 8, not 5"),
        (["study", "--candidates", "3", "--task", "jpeg", "--quality", "0"], "--quality: input should be greater"),
        (["study", "--candidates", "0"], "--candidates: input should be greater than or equal to 1"),
        (["study", "--candidates", "[a: b"], "--candidates: '[a: b' is not a value"),
        (["study", "--candidates", "no.csv", "--set", "score.candidates=3"], "--candidates: there is no list 'no.csv'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_by_the_option_that_was_typed(
    words: list[str], line: str, images: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = words
    assert main([command, "--images", images, "--store", str(tmp_path / "store"), "--dry-run", *options]) == 2
    assert capsys.readouterr().err.startswith(f"{command}: {line}")


@pytest.mark.parametrize("command", ["submit", "study", "evaluate"])
def test_help_has_sections_and_ends_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    sections = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    own = ["portfolio:"] if command == "study" else []
    expected = ["images:", *own, "task:", "effort and settings:", "run:", "where:", "examples:"]
    assert sections[-len(expected) :] == expected
    assert f"  python -m orchestrator {command} --" in text
