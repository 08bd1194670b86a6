import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.errors import (
    DamagedError,
    ImagesUnavailableError,
    RunCancelledError,
    StoreUnavailableError,
    SupersededError,
)
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest import bring as module
from orchestrator.ingest.bring import Bringing, write_rejected
from orchestrator.ingest.folder import Upload, read_folder
from orchestrator.run.inputs import Inputs, Rejected, read_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.rows import RowState, read_rows
from orchestrator.run.upkeep import PRUNE, upkeep
from orchestrator.settings import Config
from orchestrator.store import LocalStore, Store
from tests.orchestrator.conftest import Encoded, MakeConfig

LAYOUT = RunLayout("r")
REJECTED = Rejected("notes.txt", "not a picture")
CONFIG = Config.model_validate({"arms": ["dip"], "ingest": {"max_pixels": 1000}})
PATIENCE_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def uploads(tmp_path: Path, encoded: Encoded) -> list[Upload]:
    """Two images with references, and masks, which the second lacks."""
    for folder in ("images", "clean", "masks"):
        (tmp_path / folder).mkdir()
    for seed, (name, known) in enumerate([("a.png", np.eye(9, 7, dtype=bool)), ("b.png", np.ones((9, 7), dtype=bool))]):
        (tmp_path / "images" / name).write_bytes(encoded(9, 7, noise_seed=10 + seed))
        (tmp_path / "clean" / name).write_bytes(encoded(9, 7, noise_seed=20 + seed))
        (tmp_path / "masks" / name).write_bytes(encode_mask(known))
    return found(tmp_path)


def found(folder: Path, *, white_is_known: bool = True) -> list[Upload]:
    uploads, _ = read_folder(
        folder / "images",
        references=folder / "clean",
        masks=folder / "masks",
        white_is_known=white_is_known,
        max_pixels=1000,
    )
    return uploads


def bringing(store: LocalStore, uploads: list[Upload], **options: Any) -> Bringing:
    """What brings files; ``options`` replace those of `Bringing`."""
    layout, files = options.pop("layout", LAYOUT), options.pop("files", iter(uploads))
    settings = {"config": CONFIG, "white_is_known": True, **options}
    return Bringing(store, layout, files, len(uploads), [REJECTED], **settings)


def brought(store: LocalStore, uploads: list[Upload], **options: Any) -> Inputs:
    with bringing(store, uploads, **options) as them:
        return them.wait()


def test_what_was_brought_is_in_the_store_and_on_the_list(store: LocalStore, uploads: list[Upload]) -> None:
    assert read_inputs(store, LAYOUT) is None
    inputs = brought(store, uploads)
    assert inputs == Inputs([upload.image for upload in uploads], [REJECTED])
    assert read_inputs(store, LAYOUT) == inputs
    for upload in uploads:
        image = upload.image
        assert image.mask is not None
        assert image.reference is not None
        assert upload.reference_path is not None
        assert store.get(image_key(image.file)) == upload.path.read_bytes()
        assert store.get(image_key(image.reference)) == upload.reference_path.read_bytes()
        assert decode_mask(store.get(image_key(image.mask))).shape == (9, 7)


def test_a_file_that_has_vanished_or_a_mask_that_knows_nothing_is_rejected(
    store: LocalStore, uploads: list[Upload]
) -> None:
    gone = replace(uploads[0], path=uploads[0].path.with_name("gone.png"))
    inputs = brought(store, [gone, uploads[1]], white_is_known=False)
    assert inputs.images == []
    assert [reject.name for reject in inputs.rejected] == ["notes.txt", "a.png", "b.png"]
    assert "can no longer be read" in inputs.rejected[1].reason
    assert "leaves no pixel known" in inputs.rejected[2].reason


@pytest.mark.parametrize("instead", ["nothing", "an empty folder"])
@pytest.mark.parametrize("which", ["images", "clean", "masks"])
def test_a_folder_that_has_vanished_rejects_no_image(
    store: LocalStore, tmp_path: Path, uploads: list[Upload], which: str, instead: str
) -> None:
    (tmp_path / which).rename(tmp_path / "away")
    if instead == "an empty folder":
        (tmp_path / which).mkdir()
    with pytest.raises(ImagesUnavailableError, match=f"{which} has vanished before all its images were read: mount it"):
        brought(store, uploads)
    assert read_inputs(store, LAYOUT) is None
    (tmp_path / "away").rename(tmp_path / which)
    assert len(brought(store, uploads).images) == 2


def test_what_an_earlier_attempt_has_brought_is_not_brought_again(
    store: LocalStore, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    brought(store, uploads)
    written: list[str] = []
    put = LocalStore.put

    def noted(self: LocalStore, key: str, data: bytes) -> None:
        written.append(key)
        put(self, key, data)

    monkeypatch.setattr(LocalStore, "put", noted)
    store.delete(image_key(uploads[1].image.file))
    brought(store, uploads)
    assert written == [image_key(uploads[1].image.file)]
    written.clear()
    # Nor by another run, which finds it by its content.
    brought(store, uploads, layout=RunLayout("another"))
    assert written == []


@pytest.mark.parametrize("which", ["file", "reference", "mask"])
@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "another's content"])
def test_what_the_store_has_damaged_is_replaced_where_its_file_is_submitted_again(
    store: LocalStore, uploads: list[Upload], which: str, damage: str
) -> None:
    brought(store, uploads)
    key = image_key(getattr(uploads[0].image, which))
    whole = store.get(key)
    if damage == "another's content":
        # Written with its own checksum, so the store finds nothing wrong.
        store.put(key, b"other")
    else:
        Path(store.show(key)).write_bytes(whole[:-9] if damage == "cut off" else bytes([whole[0] ^ 1]) + whole[1:])
        with pytest.raises(DamagedError):
            store.get(key)
    brought(store, uploads, layout=RunLayout("another"))
    # A mask is not named by its content.
    assert store.get(key) == (b"other" if (which, damage) == ("mask", "another's content") else whole)


def test_a_mask_read_the_other_way_round_is_another_mask(
    store: LocalStore, tmp_path: Path, uploads: list[Upload]
) -> None:
    white, black = uploads[0], found(tmp_path, white_is_known=False)[0]
    brought(store, [white])
    brought(store, [black], layout=RunLayout("black"), white_is_known=False)
    assert white.image.mask is not None
    assert black.image.mask is not None
    known, other = (decode_mask(store.get(image_key(each))) for each in (white.image.mask, black.image.mask))
    assert np.array_equal(known, ~other)


def test_a_file_that_has_changed_since_it_was_looked_at_is_rejected(
    store: LocalStore, uploads: list[Upload], encoded: Encoded
) -> None:
    uploads[0].path.write_bytes(encoded(9, 7, noise_seed=5))
    inputs = brought(store, uploads)
    assert [image.name for image in inputs.images] == ["b.png"]
    assert "has changed" in inputs.rejected[1].reason


def test_a_check_that_raises_stops_it(store: LocalStore, uploads: list[Upload]) -> None:
    def stop(coming: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), bringing(store, uploads) as them:
        them.wait(stop)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """What all images but ``a.png`` wait for before they are brought."""
    opened, bring_one = threading.Event(), module.bring_one

    def gated(store: Store, upload: Upload, **options: Any) -> str | None:
        if upload.image.name != "a.png":
            opened.wait()
        return bring_one(store, upload, **options)

    monkeypatch.setattr(module, "bring_one", gated)
    yield opened
    opened.set()


def test_an_image_is_there_for_work_before_the_others_are(
    store: LocalStore, uploads: list[Upload], gate: threading.Event
) -> None:
    noted: list[str] = []
    with bringing(store, uploads, note=noted.append) as them:
        assert them.take(PATIENCE_S) == [uploads[0].image]
        assert them.coming == 1
        assert store.exists(image_key(uploads[0].image.file))
        # Whoever goes on from here knows that some images are not there.
        assert read_inputs(store, LAYOUT) is None
        assert (them.take(), noted) == ([], [])
        gate.set()
        inputs = them.wait()
    assert read_inputs(store, LAYOUT) == inputs
    assert noted == ["everything is in the store (2 images): the folders are no longer needed"]


def test_a_bounded_number_of_files_is_in_memory_whatever_their_number(
    store: LocalStore, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, now, most = threading.Lock(), [0], [0]
    everyone = threading.Barrier(16, timeout=PATIENCE_S)

    def counted(*_: Any, **__: Any) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        everyone.wait()
        with lock:
            now[0] -= 1

    monkeypatch.setattr(module, "bring_one", counted)
    image = uploads[0].image
    many = [replace(uploads[0], image=replace(image, id=str(number))) for number in range(160)]
    brought(store, many)
    assert most == [16]


def test_trouble_of_the_store_is_raised_where_the_images_are_waited_for(
    store: LocalStore, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(*_: Any, **__: Any) -> None:
        raise StoreUnavailableError("the store is gone")

    monkeypatch.setattr(module, "bring_one", trouble)
    with pytest.raises(StoreUnavailableError, match="is gone"):
        brought(store, uploads)
    assert read_inputs(store, LAYOUT) is None


def test_who_no_longer_holds_the_run_does_not_say_what_its_inputs_are(store: LocalStore, uploads: list[Upload]) -> None:
    def superseded() -> None:
        raise SupersededError("taken over")

    # Where this process looks, the folder is gone; where the other one looks, it is not.
    gone = [replace(upload, path=upload.path.with_name("gone.png")) for upload in uploads]
    with pytest.raises(SupersededError):
        brought(store, gone, confirm=superseded)
    assert brought(store, uploads).images == [upload.image for upload in uploads]


class Killed(BaseException):
    """The end of a process."""


def test_killed_before_any_write_it_goes_on_and_comes_to_the_same(
    store: LocalStore, uploads: list[Upload], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_AT_ONCE", 1)
    left = [10**6]

    def dying(name: str) -> Any:
        do = getattr(LocalStore, name)

        def die_first(self: LocalStore, *arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return do(self, *arguments, **options)

        return die_first

    for name in ("put", "create", "delete"):
        monkeypatch.setattr(LocalStore, name, dying(name))

    def content(of: LocalStore) -> dict[str, bytes]:
        return {key: of.get(key) for key in of.keys("")}

    brought(store, uploads)
    undisturbed = content(store)
    writes = 10**6 - left[0]
    for moment in range(writes):
        other = LocalStore(tmp_path / f"store-{moment}")
        left[0] = moment
        with pytest.raises(Killed):
            brought(other, uploads)
        there, left[0] = content(other), 10**6
        brought(other, uploads)
        assert content(other) == undisturbed, moment
        # What was there is as it was.
        assert there.items() <= undisturbed.items(), moment


def test_images_arrive_in_the_order_of_the_folder_whichever_is_brought_first(
    store: LocalStore, uploads: list[Upload], monkeypatch: pytest.MonkeyPatch
) -> None:
    second, bring_one = threading.Event(), module.bring_one

    def first_waits_for_second(store: Store, upload: Upload, **options: Any) -> str | None:
        if upload.image.name == "a.png":
            assert second.wait(PATIENCE_S)
        reason = bring_one(store, upload, **options)
        second.set()
        return reason

    monkeypatch.setattr(module, "bring_one", first_waits_for_second)
    assert brought(store, uploads).images == [upload.image for upload in uploads]


def test_files_are_asked_for_one_by_one_and_none_once_it_is_left(store: LocalStore, uploads: list[Upload]) -> None:
    asked: list[int] = []

    def files() -> Iterator[Upload]:
        for number in range(10_000):
            asked.append(number)
            yield replace(uploads[0], image=replace(uploads[0].image, id=str(number)))

    with bringing(store, uploads, files=files()) as them:
        assert them.take(PATIENCE_S)
    assert asked == list(range(len(asked)))
    assert len(asked) < 10_000


def test_an_image_that_cannot_be_worked_on_is_not_brought_and_a_file_that_is_none_is_on_the_list(
    store: LocalStore, uploads: list[Upload]
) -> None:
    notes = Rejected("b.txt", "not a PNG")
    refuse = {uploads[0].image.id: "too large"}
    inputs = brought(
        store,
        [*uploads, uploads[0]],
        files=iter([uploads[0], notes, uploads[1]]),
        refuse=lambda image: refuse.get(image.id),
    )
    assert inputs == Inputs([uploads[1].image], [REJECTED, Rejected("a.png", "too large"), notes])
    assert not store.exists(image_key(uploads[0].image.file))


def test_rejected_files_have_a_row_for_every_arm(store: LocalStore, make_config: MakeConfig) -> None:
    for _ in range(2):
        write_rejected(store, LAYOUT, make_config(arms=["dip", "random"]), [REJECTED, Rejected("x", "why")])
    rows = read_rows(store, LAYOUT)
    assert [(row.image, row.arm, row.reason) for row in rows] == [
        ("notes.txt", "dip", "not a picture"),
        ("notes.txt", "random", "not a picture"),
        ("x", "dip", "why"),
        ("x", "random", "why"),
    ]
    assert {row.state for row in rows} == {RowState.REJECTED}


def test_rows_of_rejected_files_are_written_once(
    store: LocalStore, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rejected(store, LAYOUT, make_config(), [REJECTED])
    monkeypatch.delattr(LocalStore, "put")
    write_rejected(store, LAYOUT, make_config(), [REJECTED])


def test_rows_of_rejected_files_that_no_listing_shows_yet_are_not_overwritten(
    store: LocalStore, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rejected(store, LAYOUT, make_config(), [REJECTED])
    before = read_rows(store, LAYOUT)
    monkeypatch.setattr(store, "keys", lambda prefix: iter(()))
    write_rejected(store, LAYOUT, make_config(), [Rejected(REJECTED.name, "another reason")])
    monkeypatch.undo()
    assert read_rows(store, LAYOUT) == before


def test_while_inputs_are_pruned_nothing_is_brought(store: LocalStore, uploads: list[Upload]) -> None:
    def stop() -> None:
        raise RunCancelledError("cancelled")

    with upkeep(store, PRUNE), pytest.raises(RunCancelledError):
        brought(store, uploads, check_stop=stop)
    assert list(store.keys("images")) == []
    assert brought(store, uploads).images
