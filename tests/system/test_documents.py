"""The examples in Python that documents show, run as they stand."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.system.conftest import PATIENCE_S, save_rgb

ROOT = Path(__file__).parents[2]


def run_code(code: str, folder: Path) -> str:
    """Run it in a process of its own, as a script in a folder; what it prints."""
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        # The page makes a folder that its reader keeps.
        env={**os.environ, "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def readme_block(start: str) -> str:
    """The indented block of the README that begins with this line."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(rf"^    {re.escape(start)}\n(?:(?:    .*)?\n)*", text, re.MULTILINE)
    assert found is not None
    return "".join(line[4:] or "\n" for line in found[0].splitlines(keepends=True))


# What the README asks for is planned, and its run is the one that the page has made: the page runs the same calls.
STAND_IN = """
from orchestrator import api

asked = []


def start(request, **where):
    asked.append((request.plan(), where))
    return run


api._start = start
"""


@pytest.mark.usefixtures("cold")
def test_the_notebook_and_the_examples_of_the_readme_run_as_they_stand(tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "docs/api.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
    checks = (
        "assert psnr(restored.image, clean) > psnr(noisy, clean) + 3\n"
        "assert table.column('state').to_pylist() == ['restored']\n"
        "assert (pixels.shape, pixels.dtype) == ((3, 64, 64), np.float32)\n"
        "assert 0 <= pixels.min() <= pixels.max() <= 1\n"
        "assert [each.name for each in orchestrator.runs(folder / 'store')] == [run.name]\n"
    )
    save_rgb(tmp_path / "photos/a.png", noise=0.1)
    of_a_folder = readme_block("import orchestrator")
    of_one = readme_block("from workers import restore").replace("iterations=1000", "iterations=3")
    said = (
        "((plan, where),) = asked\n"
        "print(plan.sizing.effort, plan.config.task.name, len(plan.images), where)\n"
        "print(table.num_rows, pixels.shape, restored.image.shape)\n"
    )
    told = run_code("\n".join([*cells, checks, STAND_IN, of_a_folder, of_one, said]), tmp_path)
    assert "--factor: the task is denoise" in told
    assert told.splitlines()[-2:] == ["quick denoise 1 {}", "1 (3, 64, 64) (3, 64, 64)"]
