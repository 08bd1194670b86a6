from pathlib import Path
from typing import Any

import pytest

from orchestrator import api
from orchestrator.drive.handle import Silent
from orchestrator.drive.retry import try_again
from orchestrator.errors import UserMistakeError
from orchestrator.plan.request import OldRun
from orchestrator.run.inputs import Source
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded, MakeConfig
from tests.orchestrator.keep.whole import ARMS, LAYOUT, RUN, Whole, leave_whole


class Notes(Silent):
    def __init__(self) -> None:
        self.noted: list[str] = []

    def note(self, message: str) -> None:
        self.noted.append(message)


@pytest.fixture
def failed(tmp_path: Path, make_config: MakeConfig) -> Whole:
    """A finished run with an image that has no result, and a file that was rejected."""
    whole = leave_whole(LocalStore(tmp_path / "store"), make_config(arms=list(ARMS)))
    rows = [Row("a.png", arm, RowState.FAILED) for arm in ARMS]
    whole.store.put(LAYOUT.row(whole.images[0].id), rows_record(rows))
    return whole


def test_what_is_tried_again_is_said_and_how_rejected_files_are_looked_at(
    failed: Whole, tmp_path: Path, encoded: Encoded
) -> None:
    notes = Notes()
    try_again(OldRun(failed.store, RUN), notes)
    assert notes.noted == [
        "1 image without a result: another try",
        "1 rejected file not looked at again: give the folder, --images DIR",
    ]
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "c.png").write_bytes(encoded(9, 7))
    again = Notes()
    try_again(OldRun(failed.store, RUN, source=Source(str(tmp_path / "photos"))), again)
    assert again.noted == ["0 images without a result: another try", "1 of 1 rejected file can be used now"]


@pytest.mark.parametrize("request_", [{"assignments": ("fit.iterations=7",)}, {"source": Source("nowhere")}])
def test_a_mistake_is_raised_before_anything_is_set_aside(failed: Whole, request_: dict[str, Any]) -> None:
    before = list(failed.store.keys(LAYOUT.root))
    with pytest.raises(UserMistakeError):
        try_again(OldRun(failed.store, RUN, **request_), Silent())
    assert list(failed.store.keys(LAYOUT.root)) == before


def test_the_interface_sets_images_aside_and_then_resumes(failed: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = LAYOUT.row(failed.images[0].id)
    there: list[bool] = []
    monkeypatch.setattr(api, "_start", lambda request, **where: there.append(request.store.exists(rows)))
    api.resume(RUN, store=failed.store.url)
    api.resume(RUN, store=failed.store.url, retry_failed=True)
    assert there == [True, False]
    with pytest.raises(UserMistakeError, match="they go with images"):
        api.resume(RUN, store=failed.store.url, masks="masks")
