from pathlib import Path

import pytest
import yaml

from orchestrator.figures.portfolio import PastFit, learn, to_plain
from orchestrator.settings import Config, resolve, shipped_configs
from orchestrator.settings.portfolio import read_portfolios
from orchestrator.settings.trust import KEPT
from tests.orchestrator.settings.given import GOOD, WIDE, mistakes, written

NAS_DIP = "nas-dip-86-1100001100101100101100101"


def arm_with(table: str) -> str:
    return f"arms=[{{name: portfolio, like: portfolio, portfolio: {table}}}]"


def test_the_arm_has_the_table_that_ships_and_a_record_has_its_lists() -> None:
    config = resolve("quickstart", arms="portfolio")
    (arm,) = config.arms
    assert arm.portfolio is not None
    recorded = config.model_dump(mode="json")
    assert recorded["arms"][0]["portfolio"][0]["networks"] == arm.portfolio[0].networks
    # A record is read without any file.
    assert Config.model_validate(recorded, context=KEPT) == config


@pytest.mark.parametrize("file", sorted((shipped_configs() / "portfolios").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_table_that_ships_serves_every_task_and_says_what_it_was_learnt_on(file: Path) -> None:
    for name in (str(file), file.name, file.stem, f"configs/portfolios/{file.name}"):
        for task in ("denoise", "inpaint", "super-resolve", "deblur", "jpeg"):
            (arm,) = resolve("quickstart", [arm_with(name), f"task.name={task}"]).arms
            assert arm.portfolio is not None
            assert all(each.images for each in arm.portfolio)
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["source"]


def test_a_table_that_was_learnt_is_read_as_it_was_written(tmp_path: Path) -> None:
    fits = [
        PastFit("denoise", sigma, image, name, psnr, 0.1, 1.0)
        for sigma in (15.0, 25.0)
        for image in ("a", "b")
        for name, psnr in (("dip", 30.0), (NAS_DIP, 31.0))
    ]
    table = written(tmp_path, yaml.safe_dump(to_plain(learn(fits, size=2), "a test")))
    (arm,) = resolve("quickstart", [arm_with(table)]).arms
    assert arm.portfolio is not None
    lists = [(each.task, each.noise, each.networks, each.images) for each in arm.portfolio]
    assert lists == [
        ("denoise", (0, 20), [NAS_DIP, "dip"], ["a", "b"]),
        ("denoise", (20, 35), [NAS_DIP, "dip"], ["a", "b"]),
        ("any", None, [NAS_DIP, "dip"], ["a", "b"]),
    ]


def test_a_person_may_write_a_table_of_names_alone(tmp_path: Path) -> None:
    table = written(tmp_path, f"portfolios:\n- {{task: denoise, networks: [dip, {GOOD}]}}\n")
    assert read_portfolios(table) == [{"task": "denoise", "networks": ["dip", GOOD]}]
    (arm,) = resolve("quickstart", [arm_with(table)]).arms
    assert arm.portfolio is not None
    assert arm.portfolio[0].networks == ["dip", GOOD]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("portfolios: []", "arms.0.portfolio: list should have at least 1 item"),
        ("fits: 3", "arms.0.portfolio: {table} is no table of portfolios; python -m orchestrator study --portfolio"),
        ("[", "arms.0.portfolio: {table} cannot be read as YAML"),
        ("portfolios: [{task: any, networks: []}]", "arms.0.portfolio.0.networks: list should have at least 1 item"),
        ("portfolios: [{task: any, networks: [unet]}]", "arms.0.portfolio.0.networks.0: prior 'unet' does not exist"),
        ("portfolios: [{task: any, networks: [dip, dip]}]", "arms.0.portfolio.0: its list of networks names one twice"),
        ("portfolios: [{task: blur, networks: [dip]}]", "arms.0.portfolio.0.task: input should be 'denoise'"),
        ("portfolios: [{task: any, networks: [dip], nets: 1}]", "arms.0.portfolio.0.nets: no such setting"),
        (
            "portfolios: [{task: denoise, noise: [9, 9], networks: [dip]}]",
            "arms.0.portfolio.0: noise: the band's ends must ascend",
        ),
        (
            "portfolios: [{task: denoise, noise: [9, 999], networks: [dip]}]",
            "arms.0.portfolio.0.noise.1: input should be less than or equal to 255",
        ),
        (
            "portfolios: [{task: any, networks: [dip]}, {task: any, networks: [dip]}]",
            "arm portfolio: its portfolio has two lists for the same noise of the task denoise",
        ),
        (
            "portfolios: [{task: jpeg, networks: [dip]}]",
            "arm portfolio: its portfolio has no list for the task denoise, only for jpeg; give it another table",
        ),
    ],
)
def test_what_is_wrong_with_a_table_is_said_with_its_place(tmp_path: Path, text: str, start: str) -> None:
    table = written(tmp_path, text, "mine.yaml")
    (line,) = mistakes(arm_with(table))
    assert line.startswith(start.format(table=table))


def test_a_table_that_is_not_there_is_named_beside_those_that_ship() -> None:
    assert mistakes(arm_with("nope")) == ["arms.0.portfolio: there is no table 'nope'; these ship: width32"]


def test_lists_go_with_the_arm_and_with_no_others() -> None:
    other = "arms=[{name: mine, like: random, portfolio: width32}]"
    assert mistakes(other) == ["arms.0: portfolio: the arm needs 'like: portfolio' to take its networks from a table"]
    both = "arms=[{name: mine, like: portfolio, networks: [dip], portfolio: width32}]"
    assert mistakes(both) == ["arms.0: portfolio: its networks come from a table or from its own list, not from both"]
    (arm,) = resolve("quickstart", ["arms=[{name: mine, like: portfolio, networks: [dip]}]"]).arms
    assert arm.portfolio is None


def test_its_networks_fit_the_width() -> None:
    lists = f"[{{task: inpaint, networks: [{WIDE}]}}, {{task: any, networks: [dip]}}]"
    (line,) = mistakes(arm_with(lists), "network.width=8", "task.name=inpaint")
    assert line == f"arm portfolio: network {WIDE} needs a network.width that is a multiple of 16"
    # What is for another task is not built.
    assert resolve("quickstart", [arm_with(lists), "network.width=8"]).network.width == 8
