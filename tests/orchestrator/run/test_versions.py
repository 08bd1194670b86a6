import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import workers
from orchestrator import __version__
from orchestrator.run import versions
from orchestrator.run.versions import code_version, mixture, project_version


class Checkout:
    """A project of a few files in two packages, which may lie in different places."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self._monkeypatch = folder, monkeypatch
        self.write("orchestrator/run/versions.py", "a = 1\n")
        self.write("orchestrator/cli/submit.py", "b = 2\n")
        self.write("workers/__init__.py", "")
        self.write("workers/seeds.py", "c = 3\n")

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def version(self, orchestrator: Path | None = None, worker: Path | None = None) -> str:
        ours = (orchestrator or self.folder) / "orchestrator/run/versions.py"
        theirs = (worker or self.folder) / "workers/__init__.py"
        self._monkeypatch.setattr(versions, "__file__", str(ours))
        self._monkeypatch.setattr(workers, "__file__", str(theirs))
        project_version.cache_clear()
        return project_version()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Checkout]:
    yield Checkout(tmp_path / "one", monkeypatch)
    # The version of these files is not that of others.
    project_version.cache_clear()


def test_a_version_says_what_must_be_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "version", {"torch": "2.13.0+cu130", "ray": "2.60.0"}.__getitem__)
    monkeypatch.setattr(platform, "python_version_tuple", lambda: ("3", "11", "7"))
    assert code_version() == f"dip-orchestrator {project_version()}, torch 2.13.0, ray 2.60.0, Python 3.11"


def test_the_project_s_version_is_that_of_its_release_and_of_its_files(checkout: Checkout) -> None:
    assert re.fullmatch(re.escape(__version__) + r"\+[0-9a-f]{8}", checkout.version())
    assert checkout.version() == checkout.version()


def test_the_same_files_are_the_same_version_wherever_they_lie(checkout: Checkout, tmp_path: Path) -> None:
    before = checkout.version()
    apart = tmp_path / "sent/along"
    shutil.copytree(checkout.folder / "workers", apart / "workers")
    shutil.rmtree(checkout.folder / "workers")
    assert checkout.version(worker=apart) == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("orchestrator/cli/submit.py", "b = 3\n"),
        ("workers/seeds.py", "c = 3\n# another state\n"),
        ("workers/new.py", ""),
        ("orchestrator/cli/deep/er.py", ""),
    ],
)
def test_any_other_source_file_is_another_version(checkout: Checkout, name: str, text: str) -> None:
    before = checkout.version()
    checkout.write(name, text)
    assert checkout.version() != before


def test_a_file_of_another_name_or_place_is_another_version(checkout: Checkout) -> None:
    seen = {checkout.version()}
    last = checkout.folder / "workers/seeds.py"
    (checkout.folder / "orchestrator/a").mkdir()
    (checkout.folder / "orchestrator/b").mkdir()
    for place in ("workers/seed.py", "orchestrator/seeds.py", "orchestrator/a/seeds.py", "orchestrator/b/seeds.py"):
        last = last.rename(checkout.folder / place)
        seen.add(checkout.version())
    assert len(seen) == 5


def test_what_is_no_source_is_no_part_of_the_version(checkout: Checkout) -> None:
    before = checkout.version()
    checkout.write("workers/__pycache__/seeds.cpython-311.pyc", "x")
    checkout.write("orchestrator/report/style.css", "x")
    checkout.write("notes.py", "x")
    assert checkout.version() == before


def test_what_is_not_the_same_on_all_machines_of_a_run_is_named() -> None:
    first = {"torch": "2.12.0", "numpy": "2.4.6", "cpu": "AVX512", "cpus": 2, "parallel_trials": 2}
    assert mixture([]) is None
    assert mixture([first, {**first, "cpus": 8, "parallel_trials": 8}]) is None
    # A claim without a machine (a run's deletion, an older version without SciPy's) says nothing.
    assert mixture([first, {"what": "delete"}, {**first, "scipy": "1.17"}]) is None
    said = mixture([first, {**first, "torch": "2.13.0"}, {**first, "cpu": "AVX2\n"}, first])
    assert said is not None
    assert said.startswith(
        r"this run is made with torch 2.12.0 and 2.13.0, cpu AVX512 and AVX2\n: last digits may differ"
    )
