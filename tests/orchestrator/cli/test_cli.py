import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from orchestrator import __version__
from orchestrator.cli import COMMANDS, main
from orchestrator.cli.exits import Exit
from orchestrator.cli.shown.units import decibels
from orchestrator.drive.following import Followed
from orchestrator.drive.handover import Job
from orchestrator.errors import UserMistakeError
from orchestrator.images import encode_mask
from orchestrator.run.attempt import HOLDERS, RunState, Standing, now
from orchestrator.run.layout import RunLayout
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import Row, RowState, rows_to_json
from orchestrator.run.versions import project_version
from orchestrator.store import LocalStore
from orchestrator.text import duration
from tests.orchestrator.conftest import CANDIDATES, ELSEWHERE, Encoded, leave_run

ROW = Row("a.png", "isnas-dip-blind", RowState.RESTORED, candidate=CANDIDATES[0], stop_iteration=5, seconds=8.0)
FAILED = Row("b.png", "isnas-dip-blind", RowState.FAILED, reason="no fit came to an end")
RECORD = RunRecord("r1", "2026-01-31T14:25:01+00:00", 2, 0, False, {}, {}, state=RunState.FINISHED, seconds=3725.0)


class Told(NamedTuple):
    status: int
    out: str
    err: str


class Command:
    """The command line over a store of its own; a mistake may never leave a traceback."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.store = LocalStore(folder / "store")

    def __call__(self, *arguments: str, store: str | None = None) -> Told:
        command, *rest = arguments
        status = main([command, "--store", self.store.url if store is None else store, *rest])
        out, err = self._capsys.readouterr()
        assert "Traceback" not in out + err
        return Told(status, out, err)

    def mistake(self, *arguments: str, store: str | None = None) -> list[str]:
        """The lines on the standard error of a command that ends with status 2, having done nothing."""
        told = self(*arguments, store=store)
        assert told.status == 2
        assert told.out == ""
        assert not Path(self.store.url).exists()
        assert told.err.endswith("\n")
        return told.err.removesuffix("\n").split("\n")


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, capsys)


@pytest.fixture
def images(tmp_path: Path, encoded: Encoded) -> str:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(encoded(9, 7))
    return str(folder)


@pytest.fixture
def finished(run: Command) -> Command:
    leave_run(run.store, RECORD)
    for name, row in (("a-1", ROW), ("b-2", FAILED)):
        run.store.put(RunLayout("r1").row(name), rows_to_json([row]).encode())
    return run


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)], ids=" ".join)
def test_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert out.startswith("usage: python -m orchestrator")
    assert err == ""
    if len(arguments) == 1:
        assert all(name in out for name in COMMANDS)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"dip-orchestrator {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["submit"],
        ["results"],
        ["runs", "--jso"],
        ["results", "r1", "--json", "--csv"],
        ["submit", "--images", "x", "--references", "y", "--simulate"],
        ["submit", "--images", "x", "--mask-known", "grey"],
    ],
    ids=" ".join,
)
def test_arguments_that_make_no_command_end_with_status_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "error: " in err


def test_an_empty_store_has_no_runs_and_is_not_made(run: Command) -> None:
    assert run("runs") == (0, f"no runs in {run.store.url}\n", "")
    status, out, err = run("runs", "--json")
    assert (status, json.loads(out), err) == (0, [], "")
    assert not Path(run.store.url).exists()


def test_runs_are_listed_oldest_first(finished: Command) -> None:
    later = replace(RECORD, run="a-later", created="2026-02-01", seconds=None, state=RunState.FAILED)
    leave_run(finished.store, later)
    first, second = finished("runs").out.splitlines()
    assert first.split() == ["r1", "finished", "2", "images", RECORD.created, "1", "h", "02", "min"]
    assert second.split() == ["a-later", "failed", "2", "images", "2026-02-01"]
    assert json.loads(finished("runs", "--json").out) == [RECORD.summary(), later.summary()]


def test_results_are_a_table_for_people_and_json_or_csv_for_programs(finished: Command) -> None:
    status, out, err = finished("results", "r1")
    assert (status, err) == (0, "")
    assert "a.png" in out
    assert "b.png: no fit came to an end" in out
    assert finished("results", "r1", "--json").out == rows_to_json([ROW, FAILED]) + "\n"
    rows = list(csv.DictReader(io.StringIO(finished("results", "r1", "--csv").out)))
    assert [row["image"] for row in rows] == ["a.png", "b.png"]


def test_results_of_several_arms_are_compared_and_their_images_counted_once(finished: Command) -> None:
    rows = [replace(ROW, arm=arm, psnr=psnr) for arm, psnr in (("dip", 30.0), ("random", 28.5))]
    finished.store.put(RunLayout("r1").row("a-1"), rows_to_json(rows).encode())
    finished.store.put(RunLayout("r1").row("b-2"), rows_to_json([replace(FAILED, arm="dip")]).encode())
    lines = finished("results", "r1").out.splitlines()
    assert lines[-1].split() == ["dip", "random", "+1.50", "–", "–", "1", "of", "1"]
    assert not any("so far" in line for line in lines)


def test_results_of_a_run_under_way_say_how_far_it_is(finished: Command) -> None:
    leave_run(finished.store, replace(RECORD, images=5, state=RunState.INTERRUPTED))
    assert finished("results", "r1").out.splitlines()[-1] == "2 of 5 images so far; the run is interrupted"


@pytest.mark.parametrize(
    "words",
    [[name] for name in ("results", "status", "logs", "watch", "cancel", "resume", "verify", "delete")]
    + [["verify", "--repair"], ["results", "--json"], ["delete", "--yes"], ["resume", "--retry-failed"]],
    ids=" ".join,
)
def test_an_unknown_run_is_a_mistake_of_one_line_and_every_command_says_it_alike(
    run: Command, words: list[str]
) -> None:
    command, *options = words
    assert run.mistake(command, "nope", *options) == [
        f"{command}: no run 'nope' in the store {run.store.url}; the latest there: none"
    ]


def test_commands_that_name_a_run_otherwise_say_alike_that_there_is_none(run: Command, images: str) -> None:
    said = f"no run 'nope' in the store {run.store.url}; the latest there: none"
    assert run.mistake("export", "nope", str(run.folder / "run.tar")) == [f"export: {said}"]
    assert run.mistake("evaluate", "--images", images, "--tickets", "nope", "--dry-run") == [f"evaluate: {said}"]


@pytest.mark.parametrize("name", ["", "../r1", "/", "a\0b", "x" * 300, "a\nb"], ids=repr)
def test_a_name_that_no_run_can_have_is_a_mistake_of_one_line(run: Command, name: str) -> None:
    assert len(run.mistake("results", name)) == 1


def test_a_folder_that_is_not_there_is_a_mistake_of_one_line(run: Command) -> None:
    assert run.mistake("submit", "--images", "/no/such") == ["submit: --images /no/such: there is no such folder"]


def test_an_empty_folder_is_a_mistake_of_one_line(run: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (line,) = run.mistake("submit", "--images", str(tmp_path / "empty"))
    assert line.endswith("the folder is empty")


def test_a_folder_without_images_is_a_mistake_of_one_line(run: Command, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("x")
    (line,) = run.mistake("submit", "--images", str(tmp_path / "texts"))
    assert "it holds 1 file, and none can be restored" in line


def test_every_mistake_in_the_settings_has_its_line(run: Command, images: str) -> None:
    lines = run.mistake(
        "submit", "--images", images, "--set", "fit.iteratons=6", "--set", "network.width=6", "--set", "nonsense"
    )
    assert len(lines) == 3
    assert any("did you mean fit.iterations?" in line for line in lines)
    assert any(line.startswith("network.width: ") for line in lines)


def test_a_candidate_that_cannot_be_built_is_a_mistake_of_one_line(run: Command, images: str) -> None:
    (line,) = run.mistake("submit", "--images", images, "--set", f"score.candidates=[240-{'0' * 25}]")
    assert "cannot be built" in line


@pytest.mark.parametrize("name", ["nope", "", "images"])
def test_settings_that_are_not_there_are_a_mistake_of_one_line(run: Command, images: str, name: str) -> None:
    (line,) = run.mistake("submit", "--images", images, "--config", name)
    assert line.startswith(f"submit: no settings file {name!r}")


def test_references_that_do_not_match_are_a_mistake_of_one_line(
    run: Command, images: str, tmp_path: Path, encoded: Encoded
) -> None:
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.png").write_bytes(encoded(9, 8))
    (line,) = run.mistake("submit", "--images", images, "--references", str(tmp_path / "clean"))
    assert "a.png: is 7x9 with 3 channels, but its reference is 8x9 with 3 channels" in line
    assert "b.png: no reference has this name" in line


def test_a_mask_of_another_size_is_a_mistake_of_one_line_that_names_both(
    run: Command, images: str, tmp_path: Path
) -> None:
    (tmp_path / "masks").mkdir()
    for name, shape in (("a.png", (9, 7)), ("b.png", (7, 9))):
        (tmp_path / "masks" / name).write_bytes(encode_mask(np.ones(shape, dtype=bool)))
    masks = str(tmp_path / "masks")
    (line,) = run.mistake("submit", "--images", images, "--masks", masks, "--set", "task.name=inpaint")
    assert line == (
        f"submit: --masks {masks}: a mask needs its image's name and size: "
        "b.png: is 7x9 with 3 channels, but its mask is 9x7 with 1 channel"
    )


@pytest.mark.parametrize("name", ["../x", "", "a b", "-"])
def test_a_bad_run_name_is_a_mistake_of_one_line(run: Command, images: str, name: str) -> None:
    (line,) = run.mistake("submit", "--images", images, f"--run={name}")
    assert "letters, digits" in line


def test_the_name_of_a_run_with_other_settings_is_a_mistake(finished: Command, images: str) -> None:
    before = sorted(finished.store.keys("runs"))
    status, out, err = finished("submit", "--images", images, "--run", "r1")
    assert (status, out) == (2, "")
    assert err.startswith("submit: the store has a run r1 with other settings (")
    assert len(err.splitlines()) == 1
    assert sorted(finished.store.keys("runs")) == before


def test_a_store_that_cannot_be_written_is_a_mistake_of_one_line(run: Command, images: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (line,) = run.mistake("submit", "--images", images, store=str(tmp_path / "file" / "store"))
    assert line.endswith("a part of the path is a file: choose another place with --store")


@pytest.mark.parametrize("store", ["x" * 300, "~no-such-user-here/store"], ids=["long", "home"])
@pytest.mark.parametrize("command", [["runs"], ["results", "r1"]], ids=" ".join)
def test_a_store_that_cannot_exist_is_no_crash(run: Command, command: list[str], store: str) -> None:
    told = run(*command, store=store)
    assert told.status in (0, 2)
    assert len((told.out + told.err).splitlines()) == 1


def test_with_debug_a_mistake_shows_where_it_was_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["results", "nope", "--store", str(tmp_path), "--debug"]) == Exit.MISTAKE
    first, *_, last = capsys.readouterr().err.splitlines()
    assert (first.split()[0], last.split()[0]) == ("Traceback", "results:")


def test_with_debug_a_fault_of_the_program_has_the_status_of_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(COMMANDS["runs"], "act", fail)
    for debug in ((), ("--debug",)):
        assert main(["runs", *debug]) == Exit.FAILED
        assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_how_it_is_used(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    assert "\nexamples:\n" in told
    assert ("--store" in told) == (command != "completion")


def test_the_store_is_the_one_given_or_that_of_the_environment_or_the_one_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIP_STORE", raising=False)
    main(["runs"])
    monkeypatch.setenv("DIP_STORE", str(tmp_path / "of-environment"))
    main(["runs"])
    main(["runs", "--store", str(tmp_path / "given")])
    places = [line.removeprefix("no runs in ") for line in capsys.readouterr().out.splitlines()]
    assert places == [str(tmp_path / name) for name in ("dip-store", "of-environment", "given")]


def dry_run(run: Command, images: str, *more: str) -> dict[str, str]:
    """The plan that a dry run prints, by its first words."""
    candidates = f"score.candidates=[{CANDIDATES[0]}]"
    status, out, err = run(
        "submit", "--images", images, "--dry-run", "--set", "network.width=8", "--set", candidates, *more
    )
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[-1] == "nothing was run"
    assert not Path(run.store.url).exists()
    return {line[:12].strip(): line[12:] for line in lines[:-1] if line[:12].strip()} | {"all": out}


def test_a_dry_run_prints_the_plan_and_writes_nothing(run: Command, images: str, tmp_path: Path) -> None:
    (tmp_path / "images" / "a\nb.txt").write_text("x")
    plan = dry_run(run, images, "--run", "mine")
    assert plan["settings"] == "quickstart, task denoise"
    assert plan["images"] == "2 (2 of 7x9x3), 1 rejected"
    assert r"a\nb.txt: not a PNG" in plan["all"]
    assert plan["references"].startswith("none")
    assert plan["candidates"] == "1, 1 draw each"
    assert plan["arm"] == "isnas-dip-blind: the best 1 by psd db strip mse, at full size"
    assert plan["trials"] == "at most 2; arms share the fits that they have in common"
    assert plan["store"].startswith(f"{run.store.url}, at most ")
    assert plan["time"].startswith("at most ")
    assert not {"long", "cost", "hours"} & plan.keys()


def test_a_dry_run_tells_programs_the_same(run: Command, images: str, tmp_path: Path) -> None:
    (tmp_path / "images" / "c.txt").write_text("x")
    candidates = f"score.candidates=[{CANDIDATES[0]}]"
    words = ["--set", "network.width=8", "--set", candidates, "--set", "resources.price_per_hour=3600"]
    status, out, err = run("submit", "--images", images, "--dry-run", "--json", *words)
    assert (status, err) == (0, "")
    plan = json.loads(out)
    assert (plan["images"], plan["tiles"], plan["trials"], plan["gpu_hours"]) == (2, 0, 2, 0.0)
    assert plan["rejected"] == [{"name": "c.txt", "reason": "not a PNG, JPEG, WebP, TIFF or BMP image"}]
    assert plan["cost"] == pytest.approx(plan["seconds"])
    assert plan["seconds"] > 0
    assert plan["store_bytes"] > 2 * 9 * 7 * 3
    assert plan["advice"] is None
    assert not Path(run.store.url).exists()
    assert run.mistake("submit", "--images", images, "--json")[0].startswith("submit: --json goes with --dry-run")


def test_a_dry_run_shows_its_cost_and_its_bound(run: Command, images: str) -> None:
    plan = dry_run(run, images, "--set", "resources.price_per_hour=0.5", "--set", "resources.hours=2")
    assert plan["cost"].endswith(" machine hours at 0.5 (resources.price_per_hour)")
    assert plan["hours"] == "the run ends after 2 machine hours, with what is finished (resources.hours)"


def test_a_run_that_takes_longer_than_a_day_says_so_first(
    run: Command, images: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.plan.estimate._seconds_per_iteration", lambda plan, name, side, on: 30.0)
    words = ["--effort", "standard", "--set", "cohort.size=2", "--set", "resources.parallel=1"]
    plan = dry_run(run, images, *words)
    line = plan["all"].splitlines()[0]
    assert line.startswith("long        this takes at most ")
    assert "--effort quick takes at most " in line


def test_a_dry_run_knows_where_references_come_from(run: Command, images: str) -> None:
    assert dry_run(run, images, "--simulate", "--set", "cohort.view=full")["references"] == "simulated"
    assert dry_run(run, images, "--references", images)["references"] == "given"


def test_a_dry_run_says_what_each_arm_does(run: Command, images: str) -> None:
    mine = "{name: mine, networks: [dip, deep-decoder-64], view: full, rule: consensus}"
    arms = f"arms=[isnas-dip-blind, isnas-dip, random, dip, {mine}]"
    halved = ["cohort.halving=synchronous", "cohort.size=2", "cohort.iterations=250", "task.name=super-resolve"]
    candidates = f"score.candidates=[{CANDIDATES[0]}, {CANDIDATES[1]}]"
    words = [word for setting in (arms, *halved, candidates) for word in ("--set", setting)]
    plan = dry_run(run, images, *words)
    assert plan["settings"] == "quickstart, task super-resolve x4"
    assert [line[12:] for line in plan["all"].splitlines() if line.startswith("arm ")] == [
        "isnas-dip-blind: the best 2 by psd db strip mse, on crops of 64 px, halved after 125 iterations, chosen"
        " by held-out+consensus, then the best 2 at full size",
        "isnas-dip: the best 2 by psd db strip mse, on full size, chosen by weighted-mean",
        "random: 2 at random, on crops of 64 px, halved after 125 iterations, chosen by held-out+consensus, then"
        " the best 2 at full size",
        "dip: dip, at full size",
        "mine: dip, deep-decoder-64, on full size, halved after 500 iterations, chosen by consensus",
    ]
    assert plan["trials"].startswith("at most 26;")


def test_a_dry_run_of_named_networks_scores_no_candidates(run: Command, images: str) -> None:
    plan = dry_run(run, images, "--arms", "dip")
    assert "candidates" not in plan
    assert plan["arm"] == "dip: dip, at full size"


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (["--arms", "dip,dup"], ["--arms: no arm is called 'dup'; there are: isnas-dip-blind, "]),
        (["--arms", "dip,dip"], ["arms: dip is there twice; give one of them another name"]),
        (["--arms", ""], ["--arms: name one at least; there are: "]),
        (["--set", "score.metric=psd"], ["score.metric: no metric is called 'psd'"]),
        (
            ["--set", "score.metric=no_such_module:f"],
            ["score.metric: the metric 'no_such_module:f' cannot be loaded: "],
        ),
        (["--set", "score.candidates=nope.csv"], ["score.candidates: there is no list 'nope.csv'; these ship: "]),
        (["--set", "task.sigma=[30, 10]"], ["task.sigma: the interval's ends must ascend"]),
        (
            ["--set", "task.name=deblur", "--set", "task.kernel=round 3"],
            ["task.kernel: 'round 3' is neither a kernel's name nor a file of numbers"],
        ),
        (
            ["--set", "task.name=deblur", "--set", "cohort.view=downscale"],
            ["cohort.view: an image to deblur cannot be made small"],
        ),
        (
            ["--arms", "dup", "--set", "task.sigma=-1", "--set", "fit.stopping=late"],
            ["--arms: no arm is called 'dup'", "task.sigma: ", "fit.stopping: "],
        ),
        (
            ["--task", "compressed-sensing", "--measurements", "9"],
            ["--simulate: the task compressed-sensing measures clean images itself; give --simulate with them"],
        ),
        (["--masks", "images"], ["--masks: the task is denoise, which has no holes"]),
        (
            ["--set", "task.name=inpaint"],
            ["--masks: inpainting needs to know which pixels are missing; give --masks DIR"],
        ),
        (["--set", "task.name=inpaint", "--masks", "nope"], ["--masks nope: there is no such folder"]),
        (
            ["--set", "task.name=inpaint", "--masks", "empty"],
            ["--masks empty: a mask needs its image's name and size: a.png: no mask has this name; b.png: "],
        ),
    ],
    ids=lambda value: " ".join(value) if "--" in value[0][:2] else "",
)
def test_every_mistake_with_a_task_or_an_arm_is_one_line(
    run: Command, images: str, arguments: list[str], lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.folder)
    (run.folder / "empty").mkdir()
    told = run.mistake("submit", "--images", images, "--dry-run", *arguments)
    told[0] = told[0].removeprefix("submit: ")
    assert len(told) == len(lines)
    assert all(any(line.startswith(start) for line in told) for start in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (47 * 3600 + 3540, "47 h 59 min"),
        (99 * 3600, "4 d 3 h"),
    ],
)
def test_a_duration_is_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_decibels_have_two_decimals_or_a_dash() -> None:
    assert decibels(30.456) == "30.46"
    assert decibels(None) == "–"


# A run as another machine sees it.

WAITS = "2 fits wait for a machine with 1 CPU and 1 GPU each"
STAGES = [
    {"name": "cohort", "done": 3, "total": 9, "running": 2},
    {"name": "full size", "done": 0, "total": 6, "running": 0},
]


def leave_claim(store: LocalStore, number: int = 1, log: str = "", **standing: Any) -> None:
    """The log and state that the driver of a claim on run r1 has left."""
    layout = RunLayout("r1").claim(number)
    store.put(layout.holder, json.dumps(asdict(replace(ELSEWHERE, number=number))).encode())
    store.put(layout.state, Standing(**{"state": RunState.RUNNING, "beat": 1, "at": now(), **standing}).to_json())
    store.put(layout.log, log.encode())


def leave_word(store: LocalStore, number: int = 1, log: str = "", **standing: Any) -> None:
    """The same, of a run of two images."""
    store.put(RunLayout("r1").record, RECORD.to_json())
    leave_claim(store, number, log, **standing)


def test_the_status_of_a_run_under_way_is_a_line_for_all_that_is_known(run: Command) -> None:
    usage = {"cpu_hours": 40.0, "fit_gpu_hours": 0.0, "gpu_hours": 0.12345, "machine_hours": 2.5}
    leave_word(run.store, stages=STAGES, waits_for=[WAITS, "autoscaler: \x1b[31mno"], usage=usage)
    assert run("status", "r1") == (
        0,
        "state       running\n"
        "images      2, 0 rejected at once\n"
        f"driver      {ELSEWHERE.name}\n"
        "cohort      3 of 9, 2 under way\n"
        "full size   0 of 6\n"
        f"waits       {WAITS}\n"
        "waits       autoscaler: \\x1b[31mno\n"
        "used        40 cpu-hours, 0.123 gpu-hours, 2.5 machine-hours\n",
        "",
    )


def test_the_status_counts_images_that_were_given_and_those_that_are_done_apart(run: Command) -> None:
    leave_word(run.store, stages=[{"name": "images", "done": 1, "total": 2, "running": 0}])
    lines = run("status", "r1").out.splitlines()
    assert {"images      2, 0 rejected at once", "images done 1 of 2"} <= set(lines)


def test_the_status_of_a_run_that_ended_says_how_and_when(run: Command) -> None:
    leave_word(run.store, state=RunState.FAILED, seconds=200.0, reason="no\x1b luck", finished=now())
    state, images, driver = run("status", "r1").out.splitlines()
    assert state == "state       failed after 3 min 20 s (no\\x1b luck)"
    assert (images, driver) == ("images      2, 0 rejected at once", f"driver      {ELSEWHERE.name}")


def test_the_status_of_a_run_of_several_versions_says_so(run: Command) -> None:
    leave_word(run.store)
    assert json.loads(run("status", "r1", "--json").out)["mixed"] is None
    for number, torch in ((1, "2.12.0"), (2, "2.13.0")):
        key = RunLayout("r1").claim(number).holder
        run.store.put(key, HOLDERS.to_json(replace(ELSEWHERE, number=number, machine={"torch": torch})))
    assert "mixed       this run is made with torch 2.12.0 and 2.13.0: " in run("status", "r1").out
    assert json.loads(run("status", "r1", "--json").out)["mixed"].startswith("this run is made with torch")


def test_the_status_of_a_run_that_nobody_has_begun_says_so(run: Command) -> None:
    run.store.put(RunLayout("r1").record, RECORD.to_json())
    assert run("status", "r1").out.splitlines() == [
        "state       interrupted (no driver has begun it yet)",
        "images      2, 0 rejected at once",
    ]


def test_the_status_for_programs_is_an_object_of_all_that_is_known(run: Command) -> None:
    usage = {"gpu_hours": 0.5, "machine_hours": 2.5}
    leave_word(run.store, stages=STAGES, waits_for=[WAITS], usage=usage)
    status, out, err = run("status", "r1", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out) == {
        **{"run": "r1", "state": "running", "created": RECORD.created, "finished": None, "seconds": None},
        **{"images": 2, "rejected": 0, "reason": None, "driver": ELSEWHERE.name},
        **{"stages": STAGES, "waits_for": [WAITS], "usage": usage, "cost": None, "mixed": None},
    }


@pytest.mark.parametrize("command", ["status", "watch", "logs", "resume"])
def test_a_run_that_is_not_there_cannot_be_looked_at(run: Command, command: str) -> None:
    (line,) = run.mistake(command, "nope")
    assert line.startswith(f"{command}: no run 'nope' in the store")


def test_a_run_that_is_finished_is_watched_to_its_results(finished: Command) -> None:
    rows = finished("results", "r1").out
    leave_word(finished.store, state=RunState.FINISHED, seconds=200.0, stages=STAGES, log="b.png: failed\n")
    status, out, err = finished("watch", "r1")
    # As `submit` would have ended: an image has no result.
    assert (status, err) == (65, "")
    lines = out.splitlines()
    assert lines[:3] == [f"-- {ELSEWHERE.name}", "b.png: failed", "cohort 3/9  full size 0/6"]
    assert rows.splitlines()[0] in lines
    assert "1 restored, 1 failed in 3 min 20 s" in lines
    assert f"report           {finished.store.show(RunLayout('r1').report)}" in lines
    finished.store.delete(RunLayout("r1").row("b-2"))
    assert finished("watch", "r1").status == 0


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (RunState.FAILED, "Tune failed"),
        (RunState.INTERRUPTED, "stopped by the user"),
        (RunState.CANCELLED, None),
        (RunState.SPENT, "its 2 machine hours are spent"),
    ],
)
def test_a_run_that_did_not_finish_is_watched_to_the_way_on(
    finished: Command, state: RunState, reason: str | None
) -> None:
    leave_word(finished.store, state=state, reason=reason, log="so far\n")
    status, out, err = finished("watch", "r1")
    statuses = {RunState.FAILED: 70, RunState.INTERRUPTED: 75, RunState.CANCELLED: 130, RunState.SPENT: 69}
    assert status == statuses[state]
    more = " --set resources.hours=N" if state is RunState.SPENT else ""
    assert err == f"r1 is {state}{f': {reason}' if reason else ''}\n"
    assert out.splitlines() == [
        f"-- {ELSEWHERE.name}",
        "so far",
        f"go on with       python -m orchestrator resume r1 --store {finished.store.url}{more}",
    ]


def test_of_a_run_with_several_drivers_the_last_is_watched_and_all_are_in_the_logs(finished: Command) -> None:
    leave_word(finished.store, 1, "early\n", state=RunState.INTERRUPTED)
    leave_word(finished.store, 2, "late\nend\n", state=RunState.FINISHED)
    assert "early" not in finished("watch", "r1").out
    name = f"-- {ELSEWHERE.name}\n"
    assert finished("logs", "r1") == (0, f"{name}early\n{name}late\nend\n", "")


def test_who_has_seen_enough_leaves_the_run_alone(finished: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def enough(self: Followed, listener: object) -> RunRecord:
        raise KeyboardInterrupt

    leave_word(finished.store)
    before = sorted(finished.store.keys("runs"))
    monkeypatch.setattr(Followed, "until_it_ends", enough)
    assert finished("watch", "r1") == (
        130,
        f"the run r1 goes on; come back to it with python -m orchestrator watch r1 --store {finished.store.url}\n",
        "",
    )
    assert sorted(finished.store.keys("runs")) == before


def test_the_logs_of_a_run_without_a_driver_are_empty(run: Command) -> None:
    run.store.put(RunLayout("r1").record, RECORD.to_json())
    assert run("logs", "r1") == (0, "", "")


# A cluster.


class Elsewhere:
    """A cluster on which a job runs its command at once."""

    def __init__(self, store: LocalStore) -> None:
        self.store = store
        self.asked: list[tuple[str, str, list[str], bool]] = []
        self.does: Callable[[], None] = lambda: None
        self.said: str | None = None

    def __call__(self, address: str) -> "Elsewhere":
        self.address = address
        return self

    def drive(self, store: LocalStore, run: str, assignments: Sequence[str], *, after: int, ship_code: bool) -> Job:
        self.asked.append((store.url, run, list(assignments), ship_code))
        self.does()
        return self.last_job(store, run)

    def last_job(self, store: LocalStore, run: str) -> Job:
        return Job(self.address, f"dip-{run}-1")

    def log(self, job: Job) -> str:
        return f"all that {job.id} of {job.cluster} has printed\n"

    def why_it_ended(self, job: Job) -> str | None:
        return self.said


@pytest.fixture
def cluster(run: Command, monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """A cluster that shares this machine's folders."""
    made = Elsewhere(run.store)
    for module in ("handover", "start"):
        monkeypatch.setattr(f"orchestrator.drive.{module}.Cluster", made)
    monkeypatch.setattr("orchestrator.drive.start.check_reachable_from_machines", lambda store: None)
    return made


THERE = ["--address", "http://h:1"]


def test_a_job_that_is_left_alone_leaves_the_commands_to_come_back_to_it(
    run: Command, cluster: Elsewhere, images: str
) -> None:
    status, out, err = run("submit", "--images", images, "--run", "r1", *THERE, "--detach", "--ship-code")
    assert (status, err) == (0, "")
    assert cluster.asked == [(run.store.url, "r1", [], True)]
    told = out.splitlines()
    assert told[0] == f"run r1: bringing 2 images to {run.store.url}"
    assert told[-5] == "its driver is the job dip-r1-1 of http://h:1"
    assert [line.split() for line in told[-4:]] == [
        [command, "python", "-m", "orchestrator", command, "r1", "--store", run.store.url]
        for command in ("watch", "status", "logs", "cancel")
    ]
    assert json.loads(run("status", "r1", "--json").out)["reason"] == "no driver has begun it yet"


def test_a_job_is_followed_to_its_results(run: Command, cluster: Elsewhere, images: str) -> None:
    def restores() -> None:
        leave_claim(run.store, state=RunState.FINISHED, seconds=200.0, log="a.png: done\n")
        run.store.put(RunLayout("r1").row("a-1"), rows_to_json([ROW]).encode())

    cluster.does = restores
    status, out, err = run("submit", "--images", images, "--run", "r1", *THERE)
    assert (status, err) == (0, "")
    assert "a.png: done" in out.splitlines()
    assert "1 restored in 3 min 20 s" in out.splitlines()


def test_a_job_that_could_not_begin_is_told_with_what_it_said(run: Command, cluster: Elsewhere, images: str) -> None:
    cluster.said = "resume: no such module\n"
    status, _, err = run("submit", "--images", images, "--run", "r1", *THERE)
    assert status == 70
    assert err == "submit: the driver of r1 could not begin; its last output:\nresume: no such module\n"


def test_a_run_goes_on_as_a_job_with_the_settings_that_it_is_told(
    run: Command, cluster: Elsewhere, images: str
) -> None:
    parallel = ["--set", "resources.parallel=2"]
    run("submit", "--images", images, "--run", "r1", *parallel, *THERE, "--detach")
    run("resume", "r1", "--set", "resources.parallel=3", *THERE, "--detach")
    run("submit", "--images", images, "--run", "r1", "--set", "resources.parallel=4", *THERE, "--detach")
    # Those that it was first submitted with are in its record.
    assert [assignments for _, _, assignments, _ in cluster.asked] == [
        *([], ["resources.parallel=3"], ["resources.parallel=4"])
    ]
    assert json.loads(run.store.get(RunLayout("r1").record))["config"]["resources"]["parallel"] == 2


@pytest.mark.parametrize("command", ["submit", "resume"])
def test_a_run_that_is_under_way_is_not_handed_over(
    run: Command, cluster: Elsewhere, images: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(store: LocalStore, layout: RunLayout, *, note: object) -> None:
        raise UserMistakeError(f"the run {layout.run} is under way, by somebody")

    what = ["r1"] if command == "resume" else ["--images", images, "--run", "r1"]
    assert run("submit", "--images", images, "--run", "r1", *THERE, "--detach").status == 0
    monkeypatch.setattr("orchestrator.drive.start.wait_until_free", held)
    assert run(command, *what, *THERE) == (2, "", f"{command}: the run r1 is under way, by somebody\n")
    assert len(cluster.asked) == 1


def test_a_run_that_was_cancelled_before_its_driver_began_does_not_begin(
    run: Command, cluster: Elsewhere, images: str
) -> None:
    assert run("submit", "--images", images, "--run", "r1", *THERE, "--detach").status == 0
    assert run("cancel", "r1").status == 0
    status, _, err = run("resume", "r1", "--after", "0")
    assert (status, err) == (2, "resume: the run r1 was cancelled before this driver began\n")


def test_the_logs_of_a_job_are_what_it_has_printed_on_its_cluster(finished: Command, cluster: Elsewhere) -> None:
    told = finished("logs", "r1", *THERE)
    assert told == (0, "all that dip-r1-1 of http://h:1 has printed\n", "")


@pytest.mark.parametrize("option", ["--detach", "--ship-code"])
@pytest.mark.parametrize("where", [[], ["--address", "auto"], ["--address", "10.0.0.1:6379"]], ids=" ".join)
@pytest.mark.parametrize("command", ["submit", "resume"])
def test_only_a_job_on_a_cluster_can_be_left_alone_or_sent_code(
    run: Command, images: str, command: str, where: list[str], option: str
) -> None:
    what = ["--images", images] if command == "submit" else ["r1"]
    (line,) = run.mistake(command, *what, *where, option)
    assert line == f"{command}: --detach and --ship-code go with --address http://..., a job on a cluster"


@pytest.mark.parametrize("what", [["submit"], ["study", "--candidates", "3"], ["resume", "r1"]], ids=" ".join)
def test_a_folder_as_the_store_of_a_job_is_refused_before_the_cluster_is_asked(
    finished: Command, images: str, what: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(address: str) -> None:
        raise AssertionError(f"{address} was asked")

    monkeypatch.setattr("orchestrator.drive.start.Cluster", asked)
    more = [] if what[0] == "resume" else ["--images", images]
    before = sorted(finished.store.keys("runs"))
    status, out, err = finished(*what, *more, "--address", "http://127.0.0.1:1")
    assert (status, out) == (2, "")
    assert err.startswith(
        f"{what[0]}: --store {finished.store.url}: a folder of this machine cannot be seen by the cluster"
    )
    assert sorted(finished.store.keys("runs")) == before


def test_a_job_of_another_version_than_its_submitter_s_refuses_the_run_and_names_both(finished: Command) -> None:
    before = sorted(finished.store.keys("runs"))
    status, out, err = finished("resume", "r1", "--submitted-by", "0.1.0+deadbeef")
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"submitted by dip-orchestrator 0.1.0+deadbeef, and this machine has {project_version()}:" in err
    assert "--ship-code" in err
    assert sorted(finished.store.keys("runs")) == before


def test_a_job_of_its_submitter_s_version_goes_on(run: Command) -> None:
    (line,) = run.mistake("resume", "nope", "--submitted-by", project_version())
    assert line.startswith("resume: no run 'nope'")


def test_who_has_submitted_a_run_is_no_option_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["resume", "--help"])
    told = capsys.readouterr().out
    assert "--ship-code" in told
    assert "--submitted-by" not in told
