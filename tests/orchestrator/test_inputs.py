from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from orchestrator.images import decode_mask, encode_mask
from orchestrator.ingest import Rejected, Upload, read_folder
from orchestrator.inputs import Inputs, bring, read_inputs, write_rejected
from orchestrator.layout import RunLayout
from orchestrator.results import RowState, read_rows
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig

LAYOUT = RunLayout("r")
REJECTED = Rejected("notes.txt", "not a picture")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def uploads(tmp_path: Path, encoded: Encoded) -> list[Upload]:
    """Two images with references, and masks of which the second knows nothing."""
    for folder in ("images", "clean", "masks"):
        (tmp_path / folder).mkdir()
    for name, known in (("a.png", np.eye(9, 7, dtype=bool)), ("b.png", np.ones((9, 7), dtype=bool))):
        (tmp_path / "images" / name).write_bytes(encoded(9, 7))
        (tmp_path / "clean" / name).write_bytes(encoded(9, 7, noise_seed=1))
        (tmp_path / "masks" / name).write_bytes(encode_mask(known))
    uploads, _ = read_folder(
        tmp_path / "images", references=tmp_path / "clean", masks=tmp_path / "masks", max_pixels=1000
    )
    return uploads


def brought(store: LocalStore, uploads: list[Upload], *, white_is_known: bool = True) -> Inputs:
    planned = Inputs([upload.image for upload in uploads], [REJECTED])
    return bring(store, LAYOUT, planned, uploads, max_pixels=1000, white_is_known=white_is_known)


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
        assert store.get(LAYOUT.input(image.file)) == upload.path.read_bytes()
        assert store.get(LAYOUT.reference(image.reference)) == upload.reference_path.read_bytes()
        assert decode_mask(store.get(LAYOUT.mask(image.mask))).shape == (9, 7)


def test_a_file_that_has_vanished_or_a_mask_that_knows_nothing_is_rejected(
    store: LocalStore, uploads: list[Upload]
) -> None:
    gone = replace(uploads[0], path=uploads[0].path.with_name("gone.png"))
    inputs = brought(store, [gone, uploads[1]], white_is_known=False)
    assert inputs.images == []
    assert [reject.name for reject in inputs.rejected] == ["notes.txt", "a.png", "b.png"]
    assert "can no longer be read" in inputs.rejected[1].reason
    assert "leaves no pixel known" in inputs.rejected[2].reason


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
    store.delete(LAYOUT.input(uploads[1].image.file))
    brought(store, uploads)
    # Not even the list: it was written once.
    assert written == [LAYOUT.input(uploads[1].image.file)]


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
