"""Faults that a run survives on one machine: a worker killed in the middle of a fit, an input that vanishes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

from tests.system.conftest import LONGER, TINY, CommandLine, assert_as_calm, folder_of, save_rgb


def kill_a_worker(process: subprocess.Popen[str]) -> None:
    """Wait until a trial is running, then kill its process as the kernel would for lack of memory."""
    driver = psutil.Process(process.pid)
    while process.poll() is None:
        for child in driver.children(recursive=True):
            try:
                busy = "ImplicitFunc.train" in " ".join(child.cmdline())
            except psutil.NoSuchProcess:
                continue
            if busy:
                os.kill(child.pid, signal.SIGKILL)
                return
        try:
            process.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("no trial was ever under way")


def test_a_worker_killed_in_mid_fit_costs_nothing_but_time(calm: CommandLine) -> None:
    command = calm.submit("--images", "noisy", "--run", "bereft", settings=LONGER)
    with subprocess.Popen(
        command, cwd=calm.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        kill_a_worker(process)
        output, errors = process.communicate(timeout=200)
    assert process.returncode == 0, output + errors
    assert_as_calm(calm, "bereft")


def test_a_store_that_fails_in_mid_run_stops_it_with_one_line(cli: CommandLine) -> None:
    save_rgb(cli.folder / "noisy/a.png", noise=0.1)
    # Where a folder should be there is a file: the trial that writes there meets an error.
    run = cli.folder / "dip-store/runs/odd"
    run.mkdir(parents=True)
    (run / "fits").write_text("in the way")
    done = cli.run(cli.submit("--images", "noisy", "--run", "odd"))
    assert done.returncode == 2, done.stdout + done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "cannot write runs/odd/fits/" in done.stderr
    assert not list(run.glob("rows/*"))
    (record,) = json.loads(cli.run(cli.command("runs", "--json")).stdout)
    assert record["state"] == "failed"


VANISHING = """
import sys
from orchestrator.cli import main
from orchestrator.drive import driver
from orchestrator.run.layout import image_key
from orchestrator.schedule.work import work

def sabotaged(context, plan, *arguments, **options):
    context.store.delete(image_key(plan.images[0].file))
    work(context, plan, *arguments, **options)

driver.work = sabotaged
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def test_trials_that_crash_again_and_again_cost_one_image_and_say_why(cli: CommandLine) -> None:
    save_rgb(cli.folder / "noisy/a.png", noise=0.1)
    save_rgb(cli.folder / "noisy/b.png", phase=1, noise=0.1)
    Path(cli.folder, "sabotage.py").write_text(VANISHING)
    command = ["--images", "noisy", "--run", "odd", "--arms", "random"]
    arguments = cli.submit(*command, settings=[*TINY, "resources.retries=1"])
    done = cli.run([sys.executable, "sabotage.py", *arguments[arguments.index("submit") :]])
    assert done.returncode == 1, done.stdout + done.stderr
    failed, restored = cli.rows("odd")
    assert (failed["image"], failed["state"]) == ("a.png", "failed")
    assert "holds no images/" in failed["reason"]
    assert (restored["image"], restored["state"], restored["arm"]) == ("b.png", "restored", "random")


def test_a_pick_whose_full_size_fit_fails_gives_way_to_the_next_best(calm: CommandLine) -> None:
    first = json.loads(next((folder_of(calm, "calm") / "picks").glob("a-*/*.json")).read_text())
    results = (folder_of(calm, "calm") / "fits").glob(f"a-*/full/{first['order'][0]}/result.json")
    for result in results:
        record = json.loads(result.read_text()) | {"state": "failed", "reason": "it diverged"}
        planted = folder_of(calm, "second") / result.relative_to(folder_of(calm, "calm"))
        planted.parent.mkdir(parents=True)
        planted.write_text(json.dumps(record | dict.fromkeys(("held_out_error", "stop_iteration", "iterations"))))
    settings = [*LONGER, "pick.full_fits=1"]
    done = calm.run(calm.submit("--images", "noisy", "--run", "second", settings=settings))
    assert done.returncode == 0, done.stdout + done.stderr
    row = calm.rows("second")[0]
    assert (row["image"], row["state"]) == ("a.png", "restored")
    assert row["candidate"] == first["order"][1]
