"""The checksums of a folder, in a file that copies take along."""

import errno
import fcntl
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from orchestrator.errors import DamagedError
from orchestrator.store import LocalStore, sums
from orchestrator.store.contract import ODD_NAMES
from orchestrator.store.sums import SUMS


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def copied(store: LocalStore) -> LocalStore:
    """A copy as ``cp -r`` and ``tar`` make it: without extended attributes."""
    place = Path(store.url)
    copy = place.with_name(f"{place.name}-copy")
    shutil.copytree(place, copy, copy_function=shutil.copyfile)
    return LocalStore(copy)


def names(store: LocalStore, folder: str) -> list[str]:
    return sorted(path.name for path in Path(store.url, folder).iterdir())


def flip(path: Path) -> None:
    """Change one bit."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_in_a_copy_without_attributes_a_flipped_bit_of_any_object_is_found(store: LocalStore) -> None:
    keys = ["store.json", "runs/r/run.json", "images/ab/abc.png", *(f"odd/{name}" for name in ODD_NAMES)]
    for number, key in enumerate(keys):
        (store.put if number % 2 else store.create)(key, f"content {number}".encode())
    copy = copied(store)
    assert list(copy.keys("")) == list(store.keys("")) == sorted(keys)
    for number, key in enumerate(keys):
        assert copy.get(key) == f"content {number}".encode()
        flip(Path(copy.show(key)))
        with pytest.raises(DamagedError, match=r"is damaged: it is not what was written .*delete its lines in"):
            copy.get(key)
        with pytest.raises(DamagedError):
            copy.local_path(key)
        copy.put(key, b"a good one")
        assert copy.get(key) == b"a good one"


def test_the_program_sha256sum_reads_it(store: LocalStore) -> None:
    for name in ("a", "line\nbreak", "back\\slash", "ü"):
        store.put(f"r/{name}", name.encode())
    checked = ["sha256sum", "--check", "--quiet", SUMS]
    folder = Path(store.url, "r")
    if shutil.which("sha256sum") is None:
        pytest.skip("there is no sha256sum")
    assert subprocess.run(checked, cwd=folder, capture_output=True).returncode == 0  # noqa: PLW1510
    flip(folder / "line\nbreak")
    assert subprocess.run(checked, cwd=folder, capture_output=True).returncode == 1  # noqa: PLW1510


def test_what_was_written_anew_has_several_and_any_of_them_will_do(store: LocalStore) -> None:
    for content in (b"1", b"2", b"3"):
        store.put("a", content)
    copy = copied(store)
    assert copy.get("a") == b"3"
    Path(copy.show("a")).write_bytes(b"1")
    assert copy.get("a") == b"1"
    Path(copy.show("a")).write_bytes(b"4")
    with pytest.raises(DamagedError):
        copy.get("a")


def test_many_writers_lose_no_line(store: LocalStore) -> None:
    def write(number: int) -> None:
        for each in range(40):
            store.create(f"rows/{number}-{each}", f"{number}-{each}".encode())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    copy = copied(store)
    keys = list(copy.keys("rows"))
    assert len(keys) == 240
    for key in keys:
        flip(Path(copy.show(key)))
        with pytest.raises(DamagedError):
            copy.get(key)


@pytest.mark.parametrize("torn", [b"\n0123", b"\n" + b"0" * 64 + b"  half-a-na", b"\n" + b"0" * 64, b"garbage \xff\0"])
def test_a_torn_line_says_nothing_and_spoils_no_other(store: LocalStore, torn: bytes) -> None:
    store.put("a", b"1")
    with Path(store.url, SUMS).open("ab") as file:
        file.write(torn)
    Path(store.show("b")).write_bytes(b"by somebody")
    copy = copied(store)
    assert (copy.get("a"), copy.get("b")) == (b"1", b"by somebody")
    copy.put("c", b"1")
    again = copied(copy)
    assert again.get("b") == b"by somebody"
    flip(Path(again.show("c")))
    with pytest.raises(DamagedError):
        again.get("c")


def test_lines_that_come_later_count_also_for_who_has_read_before(store: LocalStore) -> None:
    store.put("a", b"1")
    copy = copied(store)
    assert copy.get("a") == b"1"
    copy.put("b", b"2")
    shutil.copyfile(copy.show("b"), copy.show("new"))
    Path(copy.show("new")).rename(copy.show("b"))  # without its attribute
    assert copy.get("b") == b"2"
    flip(Path(copy.show("b")))
    with pytest.raises(DamagedError):
        copy.get("b")


def test_a_file_of_sums_that_is_another_one_now_is_read_afresh(store: LocalStore) -> None:
    store.put("a", b"1")
    copy, other = copied(store), LocalStore(f"{store.url}-other")
    assert copy.get("a") == b"1"
    other.put("a", b"2")
    other.put("b", b"2")
    # Another file that the system gave the same number.
    for name in ("a", SUMS):
        Path(copy.show(name)).write_bytes(Path(other.show(name)).read_bytes())
    assert copy.get("a") == b"2"


def test_no_line_is_written_through_a_link(store: LocalStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    Path(store.url).mkdir()
    Path(store.url, SUMS).symlink_to(outside)
    store.put("a", b"1")
    assert outside.read_bytes() == b"precious"
    flip(Path((copy := copied(store)).show("a")))
    with pytest.raises(DamagedError):
        copy.get("a")
    Path(copy.url, SUMS).unlink()
    os.mkfifo(Path(copy.url, SUMS))
    copy.put("a", b"2")
    assert Path(copy.url, SUMS).is_file()


def test_a_folder_goes_with_its_last_object_and_its_sums(store: LocalStore) -> None:
    store.put("r/a/b", b"1")
    store.put("r/c", b"1")
    store.delete_many(["r/a/b"])
    assert sorted(path.name for path in Path(store.url, "r").iterdir()) == [SUMS, "c"]
    store.delete_many(["r/c"])
    assert not Path(store.url, "r").exists()


def test_many_lines_of_one_object_are_shortened_and_no_other_line_is_lost(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sums, "_LONG_BYTES", 4000)

    def beat(number: int) -> None:
        for each in range(150):
            store.put(f"claims/state-{number}", f"beat {each}".encode())

    def write(number: int) -> None:
        for each in range(60):
            store.create(f"claims/{number}-{each}", f"{number}-{each}".encode())

    threads = [threading.Thread(target=work, args=(number,)) for work in (beat, write) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = Path(store.url, "claims", SUMS).read_bytes().split()
    assert len(lines) // 2 < 3 * 150 + 3 * 60
    copy = copied(store)
    keys = list(copy.keys("claims"))
    assert len(keys) == 3 * 60 + 3
    for key in keys:
        copy.get(key)
        flip(Path(copy.show(key)))
        with pytest.raises(DamagedError):
            copy.get(key)


def test_a_sign_of_life_every_few_seconds_fills_no_disk(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums, "_LONG_BYTES", 4000)
    store.put("claims/holder.json", b"1")
    for beat in range(300):
        store.put("claims/state.json", f"beat {beat}".encode())
    assert Path(store.url, "claims", SUMS).stat().st_size < 6000
    assert names(store, "claims") == [SUMS, "holder.json", "state.json"]
    copy = copied(store)
    assert copy.get("claims/state.json") == b"beat 299"
    for key in ("claims/state.json", "claims/holder.json"):
        flip(Path(copy.show(key)))
        with pytest.raises(DamagedError):
            copy.get(key)


@pytest.mark.parametrize("code", [errno.EWOULDBLOCK, errno.ENOLCK])
def test_where_another_has_the_lock_or_there_are_none_it_is_not_shortened(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(sums, "_LONG_BYTES", 100)
    monkeypatch.setattr(fcntl, "flock", refuse)
    for beat in range(20):
        store.put("a", f"beat {beat}".encode())
    assert Path(store.url, SUMS).read_bytes().count(b"  a\n") == 20


def test_a_line_that_was_written_to_a_file_without_a_name_is_written_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("a", b"1")
    write = os.write

    def remove_and_write(file: int, data: bytes) -> int:
        monkeypatch.undo()
        Path(store.url, SUMS).unlink()
        return write(file, data)

    monkeypatch.setattr(os, "write", remove_and_write)
    store.put("b", b"1")
    copy = copied(store)
    flip(Path(copy.show("b")))
    with pytest.raises(DamagedError):
        copy.get("b")
