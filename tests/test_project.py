"""Rules for the project as a whole: its documents, its packaging, its imports."""

import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from orchestrator.settings import Config, resolve

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    dead = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert dead == []


def test_the_page_of_settings_is_what_the_settings_say() -> None:
    page = runpy.run_path(str(ROOT / "docs/make_settings.py"))["settings_page"]()
    assert (ROOT / "docs/settings.md").read_text(encoding="utf-8") == page


def test_denoise_sets_what_the_defaults_are() -> None:
    assert resolve("denoise") == Config()


def test_every_setting_that_a_document_names_exists() -> None:
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"`?(?:--set )?\b((?:task|network|score|cohort|fit|pick|resources|ingest|keep)\.[a-z_]+)\b",
            page.read_text(),
        )
    }
    known = {
        f"{section}.{name}"
        for section, fields in Config().model_dump().items()
        if isinstance(fields, dict)
        for name in fields
    }
    files = {name for name in named if name.endswith((".py", ".yaml", ".md", ".json"))}
    assert named - files - known == set()


def test_workers_can_be_imported_without_ray_and_the_orchestrator() -> None:
    code = (
        "import sys, pkgutil, importlib, workers\n"
        "for m in pkgutil.walk_packages(workers.__path__, 'workers.'): importlib.import_module(m.name)\n"
        "assert not {'ray', 'orchestrator', 'boto3', 'yaml', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


def test_help_answers_without_importing_torch_or_ray() -> None:
    code = (
        "import sys\nfrom orchestrator.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'ray', 'pyarrow'} & set(sys.modules), sorted(set(sys.modules) & {'torch', 'ray',"
        " 'pyarrow'})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def test_drivers_and_workers_import_nothing_that_others_need_or_that_few_runs_need() -> None:
    code = (
        "import sys, orchestrator.drive.start\n"
        "from workers.networks.memory import fit_bytes_per_pixel\n"
        "assert fit_bytes_per_pixel('dip', 3, 8, 32) > 0\n"
        "dear = {'torch._dynamo', 'sympy', 'aiohttp', 'scipy', 'skimage', 'sklearn', 'pywt', 'boto3'}\n"
        "of_trials = {'ray.tune', 'pandas'}\n"
        # What image workers import, then what trials do.
        "import orchestrator.schedule.workers\n"
        "assert not (dear | of_trials) & set(sys.modules), (dear | of_trials) & set(sys.modules)\n"
        "import orchestrator.schedule.trial, orchestrator.schedule.tune\n"
        "assert not dear & set(sys.modules), dear & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, cwd=ROOT)


def test_a_wheel_brings_its_settings_and_its_page_along(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    (wheel,) = tmp_path.glob("dip_orchestrator-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import orchestrator, orchestrator.settings as c\n"
        "print(c.resolve('denoise').network.width, c.shipped_configs())\n"
        "from orchestrator.report import RunReport, render\n"
        "assert render(RunReport('r', 'finished', '2026-01-01T00:00:00+00:00', 1.0, '0', {}, [], [],"
        " 0)).startswith('<!')"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "installed"), "PATH": ""},
    )
    assert shown.stdout.split() == ["128", str(tmp_path / "installed/orchestrator/configs")]


def test_shipped_settings_are_plain_yaml_that_resolves() -> None:
    for path in (ROOT / "configs").glob("*.yaml"):
        assert isinstance(yaml.safe_load(path.read_text()), dict)
        resolve(str(path))
