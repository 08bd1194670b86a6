import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.resources import scratch as scratches
from orchestrator.resources.scratch import OWNER, scratch, sweep
from tests.orchestrator.resources.left import age, leave_behind


def test_a_folder_is_its_owners_alone_and_is_removed_at_the_end(tmp_path: Path) -> None:
    with scratch("ray", tmp_path) as folder:
        assert folder.parent == tmp_path
        assert folder.name.startswith("dip-ray-")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "a/b").mkdir(parents=True)
        (folder / "a/b/c").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_removed_also_if_dying_processes_still_write_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = ["a", "b"]
    listdir = os.listdir

    def written(folder: Any) -> list[str]:
        if writes:
            os.mkdir(writes.pop(), dir_fd=folder)
        return listdir(folder)

    monkeypatch.setattr(os, "listdir", written)
    monkeypatch.setattr(scratches, "_LOOK_AGAIN_S", 0.0)
    with scratch("ray", tmp_path):
        pass
    assert (list(tmp_path.iterdir()), writes) == ([], [])


def test_what_cannot_be_removed_at_the_end_is_left_to_the_next_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratches, "_GOING_S", 0.0)
    with monkeypatch.context() as patched, scratch("ray", tmp_path) as folder:
        (folder / "a").mkdir()
        patched.setattr(scratches.shutil, "rmtree", lambda *_, **__: None)
    age(folder)
    assert sweep(tmp_path) == 1
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    leave_behind(tmp_path, "ray")
    leave_behind(tmp_path, "session")
    assert sweep(tmp_path) == 2
    assert list(tmp_path.iterdir()) == []
    assert sweep(tmp_path / "nothing") == 0


def test_a_process_that_is_killed_gives_up_its_lock(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from orchestrator.resources.scratch import scratch\n"
        "with scratch('ray', Path(sys.argv[1])) as folder: print(folder, flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        age(folder)
        assert sweep(tmp_path) == 0
        owner.send_signal(signal.SIGKILL)
    assert sweep(tmp_path) == 1
    assert not folder.exists()


def test_the_folder_of_a_living_process_is_kept_however_old(tmp_path: Path) -> None:
    with scratch("ray", tmp_path) as folder:
        age(folder, 1e7)
        assert sweep(tmp_path) == 0
        assert (folder / OWNER).exists()


def _young(folder: Path) -> None:
    age(folder, 1.0)


def _unmarked(folder: Path) -> None:
    (folder / OWNER).unlink()


def _otherwise_marked(folder: Path) -> None:
    (folder / OWNER).write_text("mine")
    age(folder)


def _marked_by_a_link(folder: Path) -> None:
    (folder / OWNER).rename(folder / "elsewhere")
    (folder / OWNER).symlink_to("elsewhere")


def _of_another_name(folder: Path) -> None:
    folder.rename(folder.with_name("tmp-ray-0123"))


def _linked(folder: Path) -> None:
    kept = folder.with_name("kept")
    folder.rename(kept)
    folder.symlink_to(kept)


def _of_another_user(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    os.chown(folder, 65534, 65534)


@pytest.mark.parametrize(
    "change",
    [_young, _unmarked, _otherwise_marked, _marked_by_a_link, _of_another_name, _linked, _of_another_user],
)
def test_what_is_not_known_to_be_ours_and_dead_is_kept(tmp_path: Path, change: Callable[[Path], None]) -> None:
    change(leave_behind(tmp_path, "ray"))
    before = sorted(tmp_path.rglob("*"))
    assert sweep(tmp_path) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_links_inside_a_folder_lead_the_sweep_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").write_text("1")
    folder = leave_behind(tmp_path, "ray")
    (folder / "out").symlink_to(tmp_path / "precious")
    (folder / "a").mkdir()
    (folder / "a/out").symlink_to(tmp_path / "precious")
    assert sweep(tmp_path) == 1
    assert (tmp_path / "precious/file").read_text() == "1"


def test_a_folder_being_made_is_never_seen_without_its_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def sweep_and_rename(new: Path, target: Path) -> Path:
        assert sweep(tmp_path) == 0
        renamed = rename(new, target)
        age(target.parent)
        assert sweep(tmp_path) == 0
        return renamed

    monkeypatch.setattr(Path, "rename", sweep_and_rename)
    with scratch("ray", tmp_path) as folder:
        assert (folder / OWNER).exists()
        assert time.time() - (folder / OWNER).stat().st_mtime > 30
