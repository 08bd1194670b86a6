import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.doctor.machine import check_ray_place
from orchestrator.resources import place


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder of a short path, as Ray needs one."""
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as folder:
        yield Path(folder)


def test_rays_files_go_where_the_user_says(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(short))
    assert place.ray_place() == short
    assert place.why_no_ray() is None
    assert check_ray_place().ok
    assert list(short.iterdir()) == []
    monkeypatch.delenv("RAY_TMPDIR")
    assert place.ray_place() == Path("/tmp")  # noqa: S108


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("/var/" + "x" * 18, "is too long for Ray's sockets, whose names have at most 107 bytes"),
        ("here", "RAY_TMPDIR: here is no absolute path"),
        ("/nothing/there", r"RAY_TMPDIR: nothing can be written to /nothing/there, .* \(No such file or directory\)"),
        ("/proc", "RAY_TMPDIR: nothing can be written to /proc, "),
    ],
)
def test_a_place_that_will_not_do_is_named_with_advice_before_anything_begins(
    where: str, found: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", where)
    check = check_ray_place()
    assert not check.ok
    assert re.search(found, check.found)
    assert check.advice is not None
    assert "at most 22 bytes" in check.advice
    store = tmp_path / "store"
    assert main(["submit", "--images", str(tmp_path), "--store", str(store)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"submit: {check.found}; {check.advice}"
    assert not store.exists()


def test_the_longest_place_leaves_room_for_rays_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = "/" + "x" * 21
    private = f"{longest}/dip-{place.PURPOSE}-abcdefgh/ray/session_2026-01-01_00-00-00_000000_4194304/sockets"
    assert len(f"{private}/plasma_store") <= 107
    monkeypatch.setenv("RAY_TMPDIR", longest)
    wrong = place.why_no_ray()
    assert wrong is not None
    assert "too long" not in wrong[0]


def test_a_python_whose_path_has_a_space_starts_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/home/me/my tools/.venv/bin/python")
    wrong = place.why_no_ray()
    assert wrong is not None
    assert "/home/me/my tools/.venv/bin/python" in wrong[0]
