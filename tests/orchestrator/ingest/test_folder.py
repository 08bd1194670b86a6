import errno
import hashlib
import os
import signal
import threading
import unicodedata
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import ImagesUnavailableError, UserMistakeError
from orchestrator.images import Encoding
from orchestrator.ingest import files as ingest
from orchestrator.ingest import folder as folders
from orchestrator.ingest.files import Together
from orchestrator.ingest.folder import Looking, Upload, read_folder
from orchestrator.run.inputs import InputImage, Rejected
from tests.orchestrator.conftest import Encoded
from tests.orchestrator.images.files import pillow_file
from workers.tasks import Denoise, SuperResolve

LIMIT = 1_000_000
_real_read = ingest._read
Make = Callable[..., Path]


def black_and_white(height: int = 9, width: int = 7, channels: int = 3, kind: str = "PNG") -> bytes:
    known = (np.arange(height * width).reshape(height, width) % 3 > 0).astype(np.uint8) * 255
    return pillow_file(known, kind, {1: "L", 3: "RGB", 4: "RGBA"}[channels])


@pytest.fixture
def put(tmp_path: Path, encoded: Encoded) -> Make:
    """Write a picture, or the bytes given, to a path below ``images``."""

    def make(name: str, data: bytes | None = None, folder: str = "images", **picture: int | str) -> Path:
        if data is None and folder.endswith("masks"):
            data = black_and_white(**picture)
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(**{"height": 9, "width": 7, **picture}) if data is None else data)
        return path

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    return tmp_path / "images"


def images_of(folder: Path, references: Path | None = None, *, simulate: bool = False) -> list[InputImage]:
    uploads, _ = read_folder(folder, references=references, simulate=Denoise() if simulate else None, max_pixels=LIMIT)
    return [upload.image for upload in uploads]


def mistake(folder: Path | str, references: Path | str | None = None) -> str:
    with pytest.raises(UserMistakeError) as caught:
        read_folder(folder, references=references, max_pixels=LIMIT)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_image_below_the_folder_is_found_sorted_with_what_is_known_of_it(folder: Path, put: Make) -> None:
    put("b.png", height=12, width=10, channels=1)
    put("sub/deep/c.jpg", kind="JPEG")
    put("a.tif", kind="TIFF")
    uploads, rejected = read_folder(str(folder), max_pixels=LIMIT)
    assert rejected == []
    assert [upload.image.name for upload in uploads] == ["a.tif", "b.png", "sub/deep/c.jpg"]
    assert [upload.path for upload in uploads] == [folder / "a.tif", folder / "b.png", folder / "sub/deep/c.jpg"]
    image = uploads[1].image
    assert (image.height, image.width, image.channels) == (12, 10, 1)
    assert image.reference is None
    assert uploads[1].reference_path is None


def test_hidden_files_and_folders_are_left_out(folder: Path, put: Make) -> None:
    for name in (".a.png", ".cache/b.png", "sub/.c.png", "d.png"):
        put(name)
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["d.png"]
    assert rejected == []


def test_links_to_folders_are_not_followed_and_links_to_files_are(folder: Path, put: Make, tmp_path: Path) -> None:
    put("sub/a.png")
    outside = put("x.png", folder="elsewhere")
    (folder / "sub" / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "link.png").symlink_to(outside)
    assert [image.name for image in images_of(folder)] == ["link.png", "sub/a.png"]


def test_links_that_lead_nowhere_are_rejected_with_the_reason(folder: Path, put: Make) -> None:
    put("a.png")
    (folder / "gone.png").symlink_to(folder / "nothing")
    (folder / "round.png").symlink_to(folder / "round.png")
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert [row.name for row in rejected] == ["gone.png", "round.png"]
    assert all(row.reason.startswith("the file cannot be opened: ") for row in rejected)


def test_a_named_pipe_is_rejected_and_not_waited_for(folder: Path, put: Make) -> None:
    put("a.png")
    os.mkfifo(folder / "pipe.png")
    held_open = os.open(folder / "pipe.png", os.O_RDWR | os.O_NONBLOCK)
    # This fires only if the pipe is read, and ends a test that would otherwise wait forever.
    rescued = threading.Event()
    rescue = threading.Timer(60.0, lambda: (rescued.set(), os.close(held_open)))
    rescue.start()
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    rescue.cancel()
    rescue.join()
    assert not rescued.is_set()
    os.close(held_open)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert [row.name for row in rejected] == ["pipe.png"]


def test_files_that_cannot_be_read_are_rejected_each_with_its_reason(folder: Path, put: Make, encoded: Encoded) -> None:
    whole = encoded(64, 64)
    put("a.png", whole)
    put("cut.png", whole[: len(whole) // 2])
    put("empty.png", b"")
    put("huge.png", height=1100, width=1000)
    put("notes.txt", b"hello")
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    reasons = {row.name: row.reason for row in rejected}
    assert list(reasons) == ["cut.png", "empty.png", "huge.png", "notes.txt"]
    assert "truncated" in reasons["cut.png"]
    assert "empty" in reasons["empty.png"]
    assert "1000" in reasons["huge.png"]
    assert "not a PNG" in reasons["notes.txt"]
    assert isinstance(rejected[0], Rejected)


def test_names_that_are_no_valid_text_are_spelled_out_and_told_apart(folder: Path, encoded: Encoded) -> None:
    for byte in (b"\xe8", b"\xe9"):
        Path(os.fsdecode(os.fsencode(folder) + b"/caf" + byte + b".png")).write_bytes(encoded(9, 7))
    images = images_of(folder)
    assert [image.name for image in images] == ["caf%E8.png", "caf%E9.png"]
    assert [image.restored for image in images] == ["caf%E8.png", "caf%E9.png"]


@pytest.mark.parametrize(
    ("name", "kind", "restored"),
    [
        ("a.png", "PNG", "a.png"),
        ("a.PNG", "PNG", "a.PNG"),
        ("a.jpg", "JPEG", "a.png"),
        ("a.b.JPEG", "JPEG", "a.b.png"),
        ("a.webp", "WEBP", "a.png"),
        ("a.bmp", "BMP", "a.png"),
        ("a.tif", "TIFF", "a.tif"),
        ("a.TIFF", "TIFF", "a.TIFF"),
        ("a.png", "TIFF", "a.tif"),
        ("a.tif", "PNG", "a.png"),
        ("scan", "PNG", "scan.png"),
        ("plate.7", "PNG", "plate.7.png"),
        ("sub.v1/scan", "PNG", "sub.v1/scan.png"),
        ("-rf.jpg", "JPEG", "-rf.png"),
    ],
)
def test_a_restored_file_keeps_its_place_and_name_with_the_suffix_of_its_format(
    folder: Path, put: Make, name: str, kind: str, restored: str
) -> None:
    put(name, kind=kind)
    assert [image.restored for image in images_of(folder)] == [restored]


def test_images_whose_restored_names_would_meet_keep_their_own_suffix(folder: Path, put: Make) -> None:
    put("a.jpg", kind="JPEG")
    put("a.png")
    put("b.jpg", kind="JPEG")
    assert [image.restored for image in images_of(folder)] == ["a.jpg.png", "a.png.png", "b.png"]


def test_names_that_differ_in_case_only_do_not_meet(folder: Path, put: Make) -> None:
    for name in ("A.png", "a.png", "Sub/x.png", "sub/X.png"):
        put(name)
    restored = [image.restored for image in images_of(folder)]
    assert len({name.casefold() for name in restored}) == 4


def test_a_name_that_another_one_was_given_is_numbered(folder: Path, put: Make) -> None:
    put("a.jpg", kind="JPEG")
    put("a.jpg.png")
    put("a.png")
    restored = [image.restored for image in images_of(folder)]
    assert len({name.casefold() for name in restored}) == 3
    assert restored[0] == "a.jpg.png"


def test_no_restored_file_stands_where_another_needs_a_folder(folder: Path, put: Make) -> None:
    put("scan.jpg", kind="JPEG")
    put("scan.png/a.png")
    restored = [PurePosixPath(image.restored) for image in images_of(folder)]
    assert not any(one in other.parents for one in restored for other in restored)


def test_an_id_is_readable_and_follows_the_content(folder: Path, put: Make) -> None:
    put("my scan (1).png", width=7)
    put("日本.png", width=8)
    first, second = images_of(folder)
    assert first.id.rsplit("-", 1)[0] == "my_scan_1"
    assert second.id.rsplit("-", 1)[0] == "image"
    assert first.file == hashlib.sha256((folder / "my scan (1).png").read_bytes()).hexdigest() + ".png"
    put("my scan (1).png", width=9)
    assert images_of(folder)[0].id != first.id


def test_the_same_picture_twice_is_two_images(folder: Path, put: Make) -> None:
    for name in ("one/a.png", "three/A.png", "two/a.png"):
        put(name)
    images = images_of(folder)
    assert len({image.id.casefold() for image in images}) == 3
    # Its bytes are kept once.
    assert len({image.file for image in images}) == 1
    assert len({image.restored for image in images}) == 3


def test_a_folder_that_is_none_is_named_with_its_option(folder: Path, put: Make, tmp_path: Path) -> None:
    file = put("a.png")
    assert mistake(tmp_path / "no") == f"--images {tmp_path / 'no'}: there is no such folder"
    assert mistake(file) == f"--images {file}: this is a file; give the folder that holds the images"
    assert mistake(folder, tmp_path / "no") == f"--references {tmp_path / 'no'}: there is no such folder"
    assert mistake(folder, file).startswith(f"--references {file}: this is a file")


@pytest.mark.parametrize("name", ["a" * 300, "~no-such-user-here/images", "\0"], ids=["long", "home", "nul"])
def test_a_folder_that_cannot_exist_is_a_mistake_and_no_crash(name: str) -> None:
    assert mistake(name).startswith("--images ")


@pytest.mark.parametrize("instead", ["nothing", "an empty folder"])
def test_a_folder_that_vanishes_while_it_is_read_rejects_no_image(
    folder: Path, put: Make, monkeypatch: pytest.MonkeyPatch, instead: str
) -> None:
    put("a.png")
    put("b.png")
    read = folders.read_together

    def vanish(*arguments: Any, **options: Any) -> Any:
        yield from list(read(*arguments, **options))[:1]
        folder.rename(folder.with_name("away"))
        if instead == "an empty folder":
            folder.mkdir()
        yield Together(Rejected("b.png", "the file cannot be opened: No such file or directory"))

    monkeypatch.setattr(folders, "read_together", vanish)
    with pytest.raises(UserMistakeError, match="the folder has vanished while it was read: mount it"):
        read_folder(folder, max_pixels=1000)


def test_what_is_wrong_with_a_later_reference_or_mask_concerns_its_image_alone(
    folder: Path, put: Make, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        put(name)
        put(name, folder="clean", height=8 if name == "b.png" else 9)
        put(name, folder="masks")
    put("c.png", b"no image", folder="masks")
    looking = Looking(folder, references=tmp_path / "clean", masks=tmp_path / "masks", max_pixels=LIMIT)
    uploads, rejected = looking.ahead(1)
    assert ([upload.image.name for upload in uploads], rejected, looking.left) == (["a.png"], [], 3)
    small, torn, good = looking
    assert small == Rejected("b.png", "is 7x9 with 3 channels, but its reference is 7x8 with 3 channels")
    assert torn == Rejected("c.png", "its mask cannot be used: not a PNG, JPEG, WebP, TIFF or BMP image")
    assert isinstance(good, Upload)
    # Of names everything is told before anything begins.
    (tmp_path / "masks" / "d.png").unlink()
    put("e.png", b"no image")
    with pytest.raises(UserMistakeError, match=r"name and size: d\.png: no mask has this name$"):
        Looking(folder, masks=tmp_path / "masks", max_pixels=LIMIT).ahead(1)


def test_a_folder_that_vanishes_before_its_later_files_are_looked_at_pauses_the_run(folder: Path, put: Make) -> None:
    for number in range(40):
        put(f"{number}.png")
    looking = Looking(folder, max_pixels=LIMIT)
    looking.ahead(1)
    folder.rename(folder.with_name("away"))
    with pytest.raises(ImagesUnavailableError, match="the folder has vanished"):
        list(looking)


def test_an_empty_folder_says_so(folder: Path, put: Make) -> None:
    assert mistake(folder) == f"--images {folder}: the folder is empty"
    put(".hidden.png")
    (folder / "sub").mkdir()
    assert mistake(folder) == f"--images {folder}: the folder is empty"


def test_a_folder_without_a_readable_image_names_the_first_file_and_why(folder: Path, put: Make) -> None:
    put("b.txt", b"x")
    put("a.txt", b"x")
    message = mistake(folder)
    assert message.startswith(f"--images {folder}: it holds 2 files, and none can be restored; the first, a.txt: ")


def test_a_file_name_of_two_lines_does_not_break_the_message(folder: Path, put: Make) -> None:
    put("a\nb.txt", b"x")
    assert "1 file, and none" in mistake(folder)


def referenced(uploads: list[Upload], folder: Path) -> dict[str, str | None]:
    return {
        upload.image.name: None
        if upload.reference_path is None
        else upload.reference_path.relative_to(folder).as_posix()
        for upload in uploads
    }


def test_references_are_found_by_name_or_by_the_name_up_to_the_extension(
    folder: Path, put: Make, tmp_path: Path
) -> None:
    for name in ("a.png", "sub/b.png", "c.png"):
        put(name)
    put("a.png", folder="clean")
    put("a.tif", folder="clean", kind="TIFF")
    put("sub/b.tif", folder="clean", kind="TIFF")
    put("c.jpg", folder="clean", kind="JPEG")
    put("unused.png", folder="clean")
    uploads, _ = read_folder(folder, references=tmp_path / "clean", max_pixels=LIMIT)
    assert referenced(uploads, tmp_path / "clean") == {"a.png": "a.png", "c.png": "c.jpg", "sub/b.png": "sub/b.tif"}
    image = uploads[2].image
    # Its name in the store is its content, like the image's own.
    content = hashlib.sha256((tmp_path / "clean/sub/b.tif").read_bytes()).hexdigest()
    assert image.reference == f"{content}.tif"


def test_all_that_is_wrong_with_references_is_listed_together(folder: Path, put: Make, tmp_path: Path) -> None:
    for name in ("double.png", "good.png", "gray.png", "missing.png", "small.png", "torn.png"):
        put(name)
    put("good.png", folder="clean")
    put("double.tif", folder="clean", kind="TIFF")
    put("double.jpg", folder="clean", kind="JPEG")
    put("gray.png", folder="clean", channels=1)
    put("small.png", folder="clean", height=8)
    put("torn.png", b"\x89PNG\r\n\x1a\n", folder="clean")
    message = mistake(folder, tmp_path / "clean")
    assert message.startswith(f"--references {tmp_path / 'clean'}: a reference needs its image's name and size: ")
    for part in (
        "double.png: several references have this name",
        "missing.png: no reference has this name",
        "gray.png: is 7x9 with 3 channels, but its reference is 7x9 with 1 channel;",
        "small.png: is 7x9 with 3 channels, but its reference is 7x8 with 3 channels",
        "torn.png: its reference cannot be used: ",
    ):
        assert part in message
    assert "good.png" not in message


def test_of_many_wrong_references_the_first_few_are_named_and_the_rest_counted(
    folder: Path, put: Make, tmp_path: Path
) -> None:
    for number in range(8):
        put(f"{number}.png")
    (tmp_path / "clean").mkdir()
    message = mistake(folder, tmp_path / "clean")
    assert "4.png: no reference" in message
    assert "5.png" not in message
    assert message.endswith("; and 3 more")


def test_a_rejected_image_needs_no_reference(folder: Path, put: Make, tmp_path: Path) -> None:
    put("a.png")
    put("a.png", folder="clean")
    put("notes.txt", b"x")
    uploads, rejected = read_folder(folder, references=tmp_path / "clean", max_pixels=LIMIT)
    assert (len(uploads), len(rejected)) == (1, 1)


def test_a_dot_in_a_folders_name_is_no_extension(folder: Path, put: Make, tmp_path: Path) -> None:
    put("plate.1/a")
    put("plate.1/b", folder="clean")
    assert "plate.1/a: no reference has this name" in mistake(folder, tmp_path / "clean")


def test_in_a_simulation_an_image_is_its_own_reference(folder: Path, put: Make) -> None:
    put("a.png")
    (upload,), _ = read_folder(folder, simulate=Denoise(), max_pixels=LIMIT)
    assert upload.image.reference == upload.image.file
    assert upload.reference_path is None


def masked(folder: Path, masks: Path) -> dict[str, str | None]:
    uploads, _ = read_folder(folder, masks=masks, max_pixels=LIMIT)
    return {
        upload.image.name: None if upload.mask_path is None else upload.mask_path.relative_to(masks).as_posix()
        for upload in uploads
    }


def test_masks_are_found_as_references_are_and_may_have_any_channels(folder: Path, put: Make, tmp_path: Path) -> None:
    for name in ("a.jpg", "sub/b.png", "c.png"):
        put(name, kind="JPEG" if name.endswith("jpg") else "PNG")
    put("a.png", folder="masks", channels=1)
    put("sub/b.tif", folder="masks", kind="TIFF")
    put("c.png", folder="masks", channels=4)
    assert masked(folder, tmp_path / "masks") == {"a.jpg": "a.png", "c.png": "c.png", "sub/b.png": "sub/b.tif"}
    uploads, _ = read_folder(folder, masks=tmp_path / "masks", max_pixels=LIMIT)
    # In the store all of them are one kind of file, which marks the known pixels.
    for upload in uploads:
        assert upload.mask_path is not None
        content = hashlib.sha256(upload.mask_path.read_bytes()).hexdigest()
        assert upload.image.mask == f"{content}-white.png"
    assert all(upload.image.reference is None and upload.reference_path is None for upload in uploads)


def test_all_that_is_wrong_with_masks_is_listed_with_both_sizes(folder: Path, put: Make, tmp_path: Path) -> None:
    put("a.png")
    put("b.png")
    put("a.png", folder="masks", height=8, channels=1)
    with pytest.raises(UserMistakeError) as caught:
        read_folder(folder, masks=tmp_path / "masks", max_pixels=LIMIT)
    assert str(caught.value) == (
        f"--masks {tmp_path / 'masks'}: a mask needs its image's name and size: "
        "b.png: no mask has this name; a.png: is 7x9 with 3 channels, but its mask is 7x8 with 1 channel"
    )
    with pytest.raises(UserMistakeError, match=r"^--masks .*/none: there is no such folder$"):
        read_folder(folder, masks=tmp_path / "none", max_pixels=LIMIT)


def test_references_and_masks_go_together(folder: Path, put: Make, tmp_path: Path) -> None:
    put("a.png")
    put("a.png", folder="clean")
    put("a.tif", folder="masks", kind="TIFF", channels=1)
    (upload,), _ = read_folder(folder, references=tmp_path / "clean", masks=tmp_path / "masks", max_pixels=LIMIT)
    assert (upload.reference_path, upload.mask_path) == (tmp_path / "clean/a.png", tmp_path / "masks/a.tif")


def test_a_reference_of_a_small_image_has_the_size_of_the_restored_one(folder: Path, put: Make, tmp_path: Path) -> None:
    put("a.png")
    put("a.png", folder="clean", height=18, width=14)
    (upload,), _ = read_folder(folder, references=tmp_path / "clean", scale=2, max_pixels=LIMIT)
    assert (upload.image.height, upload.image.width) == (9, 7)
    put("a.png", folder="clean", height=18, width=15)
    with pytest.raises(UserMistakeError) as caught:
        read_folder(folder, references=tmp_path / "clean", scale=2, max_pixels=LIMIT)
    assert str(caught.value).endswith(
        "a.png: is 7x9 with 3 channels, and restored 2 times as high and wide, but its reference is 15x18 with 3"
        " channels"
    )


def test_a_simulation_of_small_images_makes_them_small_and_rejects_those_that_vanish(folder: Path, put: Make) -> None:
    put("a.png", height=10, width=9)
    put("thin.png", height=3, width=9)
    (upload,), (rejected,) = read_folder(folder, simulate=SuperResolve(4), scale=4, max_pixels=LIMIT)
    assert (upload.image.height, upload.image.width) == (2, 2)
    assert upload.image.reference == upload.image.file
    assert rejected.name == "thin.png"
    assert rejected.reason.endswith("too small to be made 4 times smaller")
    assert read_folder(folder, scale=4, max_pixels=LIMIT)[1] == []


def test_a_map_of_disagreement_stands_beside_the_restored_image(folder: Path, put: Make) -> None:
    put("sub/a.jpg", kind="JPEG")
    (image,) = images_of(folder)
    assert image.spread == "sub/a.png.tif"


@pytest.mark.parametrize(
    ("name", "kind"),
    [("n" * 251 + ".png", "PNG"), ("n" * 251 + ".tif", "TIFF"), ("n" * 255, "PNG"), ("長" * 84, "JPEG")],
)
def test_a_name_that_would_become_too_long_is_shortened(folder: Path, put: Make, name: str, kind: str) -> None:
    put(name, kind=kind)
    put(name[:-1] + "x", kind=kind)
    images = images_of(folder)
    assert len({image.restored for image in images}) == 2
    for image in images:
        assert image.restored[:50] == name[:50]
        assert len(image.restored.encode()) <= len(image.spread.encode()) <= 255


def test_a_path_too_long_for_a_store_is_rejected(folder: Path, put: Make) -> None:
    put("a.png")
    put("/".join(["d" * 250] * 3 + ["x" * 47]))
    put("/".join(["d" * 250] * 3 + ["x" * 48]))
    put("\udce9" * 100 + "/a.png")
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [len(upload.image.name) for upload in uploads] == [5, 800]
    assert [reject.reason.partition(";")[0] for reject in rejected] == [
        "its path has 801 bytes below the folder given",
        "its path has 306 bytes below the folder given",
    ]


def test_names_that_some_file_systems_take_for_one_do_not_meet(folder: Path, put: Make) -> None:
    for name in ("\u00e9.png", "e\u0301.png", "stra\u00dfe.png", "STRASSE.png"):
        put(name)
    restored = [unicodedata.normalize("NFC", image.restored).casefold() for image in images_of(folder)]
    assert len(set(restored)) == 4


def test_no_map_of_disagreement_stands_where_another_needs_a_folder(folder: Path, put: Make) -> None:
    put("a.png")
    put("a.png.tif/b.png")
    first, second = (PurePosixPath(image.spread) for image in images_of(folder))
    assert first not in second.parents


def test_a_file_that_cannot_be_opened_is_rejected_with_the_reason(
    folder: Path, put: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png")
    put("closed.png")
    monkeypatch.setattr(ingest, "_read", _without_permission)
    uploads, (reject,) = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert (reject.name, reject.reason) == ("closed.png", "the file cannot be opened: Permission denied")


def _without_permission(path: Path, like: Encoding | None, **options: Any) -> object:
    with pytest.MonkeyPatch.context() as patched:
        if path.name == "closed.png":
            patched.setattr(Path, "open", _refuse)
        return _real_read(path, like, **options)


def _refuse(path: Path, *_: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def test_a_folder_that_cannot_be_opened_is_one_rejected_row(
    folder: Path, put: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png")
    put("closed/b.png")
    put("open/c.png")
    scan = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: _refuse(path) if Path(path).name == "closed" else scan(path))
    uploads, (reject,) = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png", "open/c.png"]
    assert (reject.name, reject.reason) == ("closed", "the folder cannot be opened")


def test_folders_may_lie_in_folders_as_deep_as_the_system_lets_them(folder: Path, put: Make) -> None:
    put("a.png")
    made = [folder]
    for _ in range(1_100):
        made.append(made[-1] / "d")
        made[-1].mkdir()
    (made[-1] / "b.png").write_bytes(b"")
    uploads, (reject,) = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert reject.reason.startswith("its path has 2205 bytes")
    # The cleanup after tests calls itself for each of them, too.
    (made[-1] / "b.png").unlink()
    for path in reversed(made[1:]):
        path.rmdir()


def test_a_folder_of_images_that_cannot_be_opened_is_a_mistake(
    folder: Path, put: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("a.png")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert mistake(folder) == f"--images {folder}: the folder cannot be opened: permission denied"


@pytest.mark.parametrize("count", [3, 60])
def test_a_file_that_crashes_its_decoder_is_one_rejected_row(
    folder: Path, put: Make, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    for number in range(count):
        put(f"{number:02}.png")
    put("00-crash.png")
    put("40-crash.png")
    monkeypatch.setattr(ingest, "_read", _crash_on_some)
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == [f"{number:02}.png" for number in range(count)]
    assert [reject.name for reject in rejected] == ["00-crash.png", "40-crash.png"]
    assert all(reject.reason.startswith("its decoder crashed") for reject in rejected)


def _crash_on_some(path: Path, like: Encoding | None, **options: Any) -> object:
    if "crash" in path.name:
        os.kill(os.getpid(), signal.SIGSEGV)
    return _real_read(path, like, **options)


def test_a_file_larger_than_any_image_is_not_read_into_memory(folder: Path, put: Make) -> None:
    put("a.png")
    os.truncate(put("hole.png"), 1 << 40)
    uploads, (reject,) = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert reject.reason == "reading it takes more memory than it may have"


@pytest.mark.parametrize("spelling", ["dip-store", "link/dip-store", "other/../dip-store"])
def test_a_store_among_the_images_is_none_of_them(folder: Path, put: Make, tmp_path: Path, spelling: str) -> None:
    put("a.png")
    put("dip-store/images/ab/b.png")
    put("other/c.png")
    (folder / "link").symlink_to(folder)
    uploads, rejected = read_folder(folder, store=folder / spelling, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png", "other/c.png"]
    assert rejected == []
    (tmp_path / "elsewhere").symlink_to(folder)
    uploads, _ = read_folder(tmp_path / "elsewhere", store=folder / "dip-store", max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png", "other/c.png"]


def test_the_store_of_another_run_or_a_run_alone_among_the_images_is_none_of_them(folder: Path, put: Make) -> None:
    for run in ("old/runs/first", "kept/first"):
        put(f"{run}/run.json", b"{}")
        put(f"{run}/claims/000001/holder.json", b"{}")
        put(f"{run}/restored/arm/pick/b.png")
    put("old/images/ab/b.png")
    put("runs/day-1/a.png")
    uploads, rejected = read_folder(folder, store=folder / "dip-store", max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["runs/day-1/a.png"]
    assert rejected == []
    # A folder that is named counts, also below a store: restored images may be restored again.
    given = folder / "old/runs/first/restored/arm/pick"
    assert [image.name for image in images_of(given)] == ["b.png"]


def test_a_store_is_not_the_folder_of_images_itself(folder: Path, put: Make) -> None:
    put("a.png")
    with pytest.raises(UserMistakeError, match="this folder is the store"):
        read_folder(folder, store=folder, max_pixels=LIMIT)


def test_masks_and_references_among_the_images_are_none_of_them(folder: Path, put: Make) -> None:
    put("a.png")
    put("masks/a.png", black_and_white())
    put("gt/a.png")
    (folder.parent / "link").symlink_to(folder)
    masks, references = folder.parent / "link/masks", folder / "gt/../gt"
    uploads, rejected = read_folder(folder, masks=masks, references=references, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert rejected == []
    # With one of them given, the other is none all the same: otherwise it would be images without a mask.
    for given in ({"masks": masks}, {"references": references}):
        looking = Looking(folder, **given, max_pixels=LIMIT)
        assert [upload.image.name for upload in looking.ahead()[0]] == ["a.png"]
        assert looking.beside == ["gt" if "masks" in given else "masks"]
    # A folder compared with itself has images all the same.
    assert [image.name for image in images_of(folder / "gt", folder / "gt")] == ["a.png"]


def test_what_systems_leave_in_folders_is_no_image(folder: Path, put: Make) -> None:
    for name in ("Thumbs.db", "desktop.ini", "__MACOSX/a.png", "@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "b/Thumbs.db"):
        put(name)
    put("a.png")
    uploads, rejected = read_folder(folder, max_pixels=LIMIT)
    assert [upload.image.name for upload in uploads] == ["a.png"]
    assert rejected == []


def test_a_partner_is_found_whatever_the_case_and_the_form_of_accents(folder: Path, put: Make, tmp_path: Path) -> None:
    for image, mask in (("DSC_0001.JPG", "dsc_0001.png"), ("A/b.png", "a/B.PNG"), ("caf\u00e9.png", "cafe\u0301.tif")):
        put(image)
        put(mask, folder="masks", kind="TIFF" if mask.endswith("tif") else "PNG")
    uploads, _ = read_folder(folder, masks=tmp_path / "masks", max_pixels=LIMIT)
    found = {u.image.name: u.mask_path.relative_to(tmp_path / "masks").as_posix() for u in uploads if u.mask_path}
    assert found == {"DSC_0001.JPG": "dsc_0001.png", "A/b.png": "a/B.PNG", "caf\u00e9.png": "cafe\u0301.tif"}


def test_the_very_name_is_taken_before_one_of_another_spelling(folder: Path, put: Make, tmp_path: Path) -> None:
    for name in ("a.png", "A.png"):
        put(name)
        put(name, folder="clean")
    assert [
        upload.reference_path for upload in read_folder(folder, references=tmp_path / "clean", max_pixels=LIMIT)[0]
    ] == [
        tmp_path / "clean/A.png",
        tmp_path / "clean/a.png",
    ]
    (tmp_path / "clean/A.png").unlink()
    assert "A.png: no reference has this name, and a.png fits several images" in mistake(folder, tmp_path / "clean")


def test_spellings_that_several_files_fit_are_a_mistake(folder: Path, put: Make, tmp_path: Path) -> None:
    put("Ab.png")
    put("aB.png", folder="clean")
    put("AB.png", folder="clean")
    assert "Ab.png: several references have this name: AB.png, aB.png" in mistake(folder, tmp_path / "clean")


def test_a_name_without_partner_is_shown_with_the_nearest(folder: Path, put: Make, tmp_path: Path) -> None:
    put("scan-001.png")
    put("scan-001_mask.png", folder="clean")
    assert "scan-001.png: no reference has this name (the nearest: scan-001_mask.png)" in mistake(
        folder, tmp_path / "clean"
    )


def test_a_mask_that_does_not_say_what_is_known_is_a_mistake_before_anything_starts(
    folder: Path, put: Make, tmp_path: Path
) -> None:
    put("a.png")
    put("a.png", pillow_file(np.dstack([np.full((9, 7, 3), 255), np.eye(9, 7) * 255]).astype(np.uint8), "PNG"), "masks")
    with pytest.raises(UserMistakeError, match=r"a\.png: its mask cannot be used: .* transparency of this one varies"):
        read_folder(folder, masks=tmp_path / "masks", max_pixels=LIMIT)
