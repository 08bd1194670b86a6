from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ImagesUnavailableError, RunCancelledError
from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest.bring import bring, write_rejected
from orchestrator.ingest.folder import Upload, read_folder
from orchestrator.run.inputs import Inputs, Rejected, read_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.rows import RowState, read_rows
from orchestrator.run.upkeep import PRUNE, upkeep
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig

LAYOUT = RunLayout("r")
REJECTED = Rejected("notes.txt", "not a picture")


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


def brought(
    store: LocalStore, uploads: list[Upload], *, layout: RunLayout = LAYOUT, white_is_known: bool = True
) -> Inputs:
    planned = Inputs([upload.image for upload in uploads], [REJECTED])
    return bring(store, layout, planned, uploads, max_pixels=1000, white_is_known=white_is_known)


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
    # Not even the list: it was written once.
    assert written == [image_key(uploads[1].image.file)]
    written.clear()
    # Nor by another run, which finds it by its content.
    brought(store, uploads, layout=RunLayout("another"))
    assert written == []


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
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(store, LAYOUT, Inputs([], []), uploads, max_pixels=1000, white_is_known=True, check_stop=stop)
    assert read_inputs(store, LAYOUT) is None


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

    planned = Inputs([upload.image for upload in uploads], [])
    with upkeep(store, PRUNE), pytest.raises(RunCancelledError):
        bring(store, LAYOUT, planned, uploads, max_pixels=1000, white_is_known=True, check_stop=stop)
    assert list(store.keys("images")) == []
    assert brought(store, uploads).images
