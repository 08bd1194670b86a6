import sys
from pathlib import Path

import pytest

import orchestrator
from orchestrator.__main__ import leave_out_the_working_directory


def test_no_module_is_imported_from_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    # As `python -m` sets it.
    monkeypatch.setattr(sys, "path", [str(Path.cwd()), "/elsewhere"])
    leave_out_the_working_directory()
    assert sys.path == ["/elsewhere"]
    # A folder that the user has named, by PYTHONPATH, stays.
    leave_out_the_working_directory()
    assert sys.path == ["/elsewhere"]


def test_a_checkout_that_is_not_installed_is_imported_from_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = Path(str(orchestrator.__file__)).parents[1]
    monkeypatch.chdir(checkout)
    monkeypatch.setattr(sys, "path", [str(checkout), "/elsewhere"])
    leave_out_the_working_directory()
    assert sys.path == [str(checkout), "/elsewhere"]
