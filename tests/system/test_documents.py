"""The examples in Python that documents show, run as they stand."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.system.conftest import PATIENCE_S, TINY, save_rgb

ROOT = Path(__file__).parents[2]


def run_code(code: str, folder: Path) -> str:
    """Run it in a process of its own, as a script in a folder; what it prints."""
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
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


def test_the_notebook_runs_from_its_first_cell_to_its_last(tmp_path: Path) -> None:
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
    assert "--factor: the task is denoise" in run_code("\n".join([*cells, checks]), tmp_path)


def test_the_examples_of_the_readme_run(tmp_path: Path) -> None:
    save_rgb(tmp_path / "photos/a.png", noise=0.1)
    settings = dict(assignment.split("=") for assignment in TINY)
    folder, one = readme_block("import orchestrator"), readme_block("from workers import restore")
    assert 'effort="quick"' in folder
    # The same with the sizes of the tests.
    folder = folder.replace('effort="quick"', f'effort="quick", settings={[f"{k}={v}" for k, v in settings.items()]}')
    noisy = "import numpy as np\nnoisy = np.random.default_rng(0).random((3, 64, 64))\n"
    one = noisy + one.replace("iterations=1000", "iterations=3")
    told = run_code(f"{folder}\n{one}\nprint(table.num_rows, pixels.shape, restored.image.shape)", tmp_path)
    assert told.splitlines()[-1] == "1 (3, 70, 64) (3, 64, 64)"
    assert (tmp_path / "dip-store/runs").is_dir()
