import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import DamagedError, NewerFormatError, OrchestratorError, StoreError, UserMistakeError
from orchestrator.keep import parcel as module
from orchestrator.keep.bring_in import import_run
from orchestrator.keep.export import export_run
from orchestrator.keep.parcel import EXPORTS, LIST, Export, Packed, read_parcel, verified
from orchestrator.run.layout import RunLayout
from orchestrator.store import LocalStore
from tests.orchestrator.keep.conftest import SMALL, LeaveRun, contents

RECORD = RunLayout("r1").record
Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def archive(store: LocalStore, leave: LeaveRun, tmp_path: Path) -> Path:
    leave("r1", [SMALL])
    export_run(store, "r1", tmp_path / "r1.tar")
    return tmp_path / "r1.tar"


def change(archive: Path, edit: Callable[[dict[str, bytes]], object], *, relist: bool = True) -> None:
    """Change the objects of an archive as somebody who wants it to be taken; ``relist`` lists what is there then."""
    objects = dict(read_parcel(archive))
    run = json.loads(objects.pop(LIST))["run"]
    before = [Packed(key, len(data), hashlib.sha256(data).hexdigest()) for key, data in objects.items()]
    edit(objects)
    listed = [Packed(key, len(data), hashlib.sha256(data).hexdigest()) for key, data in objects.items()]
    objects.setdefault(LIST, EXPORTS.to_json(Export(run, "1", listed if relist else before)))
    with tarfile.open(archive, "w") as tar:
        for key, data in objects.items():
            member = tarfile.TarInfo(key)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def refused(archive: Path, tmp_path: Path, message: str, error: type[OrchestratorError] = DamagedError) -> None:
    into = LocalStore(tmp_path / "into")
    with pytest.raises(error, match=message) as caught:
        import_run(into, archive)
    assert "\n" not in str(caught.value)
    assert not Path(into.url).exists()


EVIL = (
    "../evil",
    "/etc/evil",
    "runs/../../evil",
    "runs/r1/../r2/run.json",
    "runs//r1/a",
    "runs/r2/rows/a.json",
    "upkeep/claims/000001/holder.json",
    "evil",
    "images/evil",
    "images/aa/b/evil",
    "fingerprints/evil",
    "runs/r1/.partial-evil",
    "runs/r1\0",
)


@pytest.mark.parametrize("key", EVIL)
def test_a_name_that_leads_elsewhere_is_refused(archive: Path, tmp_path: Path, key: str) -> None:
    objects = dict(read_parcel(archive))
    listed = json.loads(objects.pop(LIST))
    listed["objects"].append({"key": key, "size": 4, "sha256": hashlib.sha256(b"evil").hexdigest()})
    folder = tmp_path / "folder"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in {**objects, key: b"evil", LIST: json.dumps(listed).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    refused(archive, tmp_path, "key|is refused|whole export", StoreError)
    # The same in a folder: its list names the object.
    for name, data in objects.items():
        LocalStore(folder).put(name, data)
    LocalStore(folder).put(LIST, json.dumps(listed).encode())
    (tmp_path / "evil").write_bytes(b"evil")
    refused(folder, tmp_path, "key|is refused|whole export", StoreError)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_what_is_no_plain_file_is_refused(archive: Path, tmp_path: Path, kind: bytes) -> None:
    objects = dict(read_parcel(archive))
    with tarfile.open(archive, "w") as tar:
        link = tarfile.TarInfo("runs/r1/link")
        link.type, link.linkname = kind, "/etc"
        tar.addfile(link)
        for key, data in objects.items():
            member = tarfile.TarInfo(key)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    refused(archive, tmp_path, "is no plain file")


def test_a_link_in_a_folder_is_refused(store: LocalStore, archive: Path, tmp_path: Path) -> None:
    export_run(store, "r1", tmp_path / "out")
    secret = tmp_path / "secret"
    secret.write_bytes((tmp_path / "out" / RECORD).read_bytes())
    (tmp_path / "out" / RECORD).unlink()
    (tmp_path / "out" / RECORD).symlink_to(secret)
    refused(tmp_path / "out", tmp_path, "symbolic link")
    assert archive.exists()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda objects: objects.pop(SMALL.key), f"lacks {SMALL.key}"),
        (lambda objects: objects.pop(RECORD), "lacks runs/r1/run.json or"),
        (lambda objects: objects.pop(RunLayout("r1").inputs), "lacks runs/r1/run.json or runs/r1/inputs.json"),
        (lambda objects: objects.update({SMALL.key: b"poison"}), "its content is not the one that its name says"),
        (lambda objects: objects.update({RECORD: b"{}"}), "it is not the record of the run"),
        (
            lambda objects: objects.update({RECORD: objects[RECORD].replace(b'"run": "r1"', b'"run": "r2"')}),
            "its record is of the run r2, not r1",
        ),
        (lambda objects: objects.update({LIST: b"{"}), "it is not the list of an export"),
        (lambda objects: objects.update({LIST: b"[" * 100_000}), "it is not the list of an export"),
    ],
)
def test_an_export_that_was_made_up_is_refused(
    archive: Path, tmp_path: Path, edit: Callable[[dict[str, bytes]], object], message: str
) -> None:
    change(archive, edit)
    refused(archive, tmp_path, message)


@pytest.mark.parametrize(
    "edit",
    [
        lambda objects: objects.pop(next(iter(objects))),
        lambda objects: objects.update({"runs/r1/more": b""}),
        lambda objects: objects.update({"runs/r1/config.yaml": b"other"}),
    ],
)
def test_objects_other_than_those_of_the_list_are_refused(
    archive: Path, tmp_path: Path, edit: Callable[[dict[str, bytes]], object]
) -> None:
    change(archive, edit, relist=False)
    refused(archive, tmp_path, "its objects are not those of its export.json")


def test_a_list_of_a_newer_version_is_refused_by_its_name(archive: Path, tmp_path: Path) -> None:
    change(archive, lambda objects: objects.update({LIST: b'{"format": 99}'}))
    refused(archive, tmp_path, "has format 99", NewerFormatError)


@pytest.mark.parametrize("run", ["../r1", "", "a/b"])
def test_a_run_of_no_good_name_is_refused(archive: Path, tmp_path: Path, run: str) -> None:
    objects = dict(read_parcel(archive))
    listed = {**json.loads(objects[LIST]), "run": run}
    change(archive, lambda objects: objects.update({LIST: json.dumps(listed).encode()}))
    refused(archive, tmp_path, "cannot be a run's name", UserMistakeError)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tar.zst"])
def test_an_archive_that_was_cut_off_anywhere_is_refused(
    store: LocalStore, archive: Path, tmp_path: Path, suffix: str
) -> None:
    whole = tmp_path / f"whole{suffix}"
    export_run(store, "r1", whole)
    data, cut = whole.read_bytes(), tmp_path / f"cut{suffix}"
    end = data.rstrip(b"\0")
    for length in range(0, len(end) - 64, max(1, len(end) // 40)):
        cut.write_bytes(data[:length])
        refused(cut, tmp_path, "whole export|is refused", StoreError)
    assert verified(whole) == verified(archive)


def test_a_damaged_byte_anywhere_is_found(archive: Path, tmp_path: Path) -> None:
    export = verified(archive)
    data = archive.read_bytes()
    for place in range(0, len(data.rstrip(b"\0")), 997):
        spoilt = bytearray(data)
        spoilt[place] ^= 1
        archive.write_bytes(spoilt)
        try:
            assert verified(archive) == export  # a byte between members counts for nothing
        except OrchestratorError as error:
            assert "\n" not in str(error)  # noqa: PT017 - both are right
    assert tmp_path.exists()


def test_an_object_larger_than_any_is_refused_before_it_is_read(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_BYTES", 3)
    refused(archive, tmp_path, "larger than any object")


def test_what_is_no_export_is_said_to_be_none(store: LocalStore, archive: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, message in (("nothing", "no folder"), ("file", "no folder"), ("empty", "it has no export.json")):
        refused(tmp_path / name, tmp_path, message, UserMistakeError)
    refused(tmp_path / "no.tar", tmp_path, "there is no", UserMistakeError)
    assert contents(store)
    assert archive.exists()
