"""Images without a result are set aside: a kill at any moment leaves an image failed as before, or one to be done."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UserMistakeError
from orchestrator.fit.record import FitRecord
from orchestrator.keep.retry import Retried, arms_without_result, in_the_way, merged, set_aside
from orchestrator.keep.verify import verify_run
from orchestrator.run.attempt import Holder, RunState
from orchestrator.run.claim import take
from orchestrator.run.inputs import INPUTS, Inputs, Rejected, Source, read_inputs
from orchestrator.run.layout import image_key
from orchestrator.run.record import read_run
from orchestrator.run.rows import Row, RowState, rows_from_json, rows_of, rows_record
from orchestrator.store import Store
from tests.orchestrator.conftest import Encoded
from tests.orchestrator.keep.conftest import contents, died
from tests.orchestrator.keep.whole import ARMS, LAYOUT, PRIOR, RUN, Whole, cut
from workers.names import PriorName

FAILED = Row("a.png", ARMS[0], RowState.FAILED, reason="its worker process died")
RESTORED = Row("a.png", ARMS[1], RowState.RESTORED, candidate="dip.imp.0.r01")
OTHER = PriorName("nas-dip")


@pytest.fixture
def failed(whole: Whole) -> Whole:
    """The first image has no result by the first of its two arms: one of its fits failed."""
    store, image = whole.store, whole.images[0]
    store.put(LAYOUT.row(image.id), rows_record([FAILED, RESTORED]))
    store.put(LAYOUT.fit(image.id, "full", OTHER).result, FitRecord(OTHER, "full", "failed", reason="died").to_json())
    return whole


def test_what_made_an_image_fail_goes_and_what_others_rest_on_stays(failed: Whole) -> None:
    store, image = failed.store, failed.images[0]
    before = contents(store, LAYOUT.root)
    assert set_aside(store, RUN, None) == Retried(1, 0)
    after = contents(store, LAYOUT.root)
    gone = {
        LAYOUT.row(image.id),
        LAYOUT.cohort(image.id),
        LAYOUT.pick(image.id, ARMS[0]),
        LAYOUT.rung(image.id, ARMS[0], 8),
        LAYOUT.fit(image.id, "full", OTHER).result,
    }
    assert before.keys() - after.keys() == gone
    assert {key: after[key] for key in before.keys() - gone} == {key: before[key] for key in before.keys() - gone}
    (kept,) = store.keys(LAYOUT.retried(image.id))
    assert after[kept] == before[LAYOUT.row(image.id)]
    record = read_run(store, RUN)
    assert (record.state, record.reason) == (RunState.INTERRUPTED, "another try for 1 image")
    # There is nothing more to set aside, and then nothing happens at all.
    now = contents(store, LAYOUT.root)
    assert set_aside(store, RUN, None) == Retried(0, 0)
    assert contents(store, LAYOUT.root) == now


@pytest.mark.parametrize("picked", [True, False])
def test_an_image_has_failed_if_an_arm_has_no_result(picked: bool) -> None:
    # A round of a lottery that failed is no result that an arm lacks.
    rows = [replace(FAILED, picked=picked), RESTORED]
    assert arms_without_result(rows) == ({ARMS[0]} if picked else set())
    assert arms_without_result([replace(RESTORED, state=RowState.REJECTED)]) == {ARMS[1]}


KEYS = sorted(
    {
        LAYOUT.row("a-1"),
        LAYOUT.cohort("a-1"),
        LAYOUT.scores("a-1"),
        *(LAYOUT.pick("a-1", arm) for arm in ARMS),
        *(LAYOUT.rung("a-1", arm, 8) for arm in ARMS),
        *(LAYOUT.fit("a-1", "full", name).result for name in (PRIOR, OTHER)),
        LAYOUT.fit("a-1", "full", PRIOR).arrays("0123"),
        LAYOUT.restored(ARMS[0], "pick", "a.png"),
    }
)


@given(st.sets(st.sampled_from(KEYS)), st.sets(st.sampled_from(ARMS)), st.sampled_from([PRIOR, OTHER]))
def test_the_rows_go_last_and_nothing_goes_that_an_arm_with_a_result_decided(
    keys: set[str], arms: set[str], name: PriorName
) -> None:
    record = LAYOUT.fit("a-1", "full", name).result
    removed = in_the_way(LAYOUT, sorted(keys), arms, {record})
    assert set(removed) <= keys
    assert LAYOUT.row("a-1") not in removed[:-1]
    assert (LAYOUT.row("a-1") in removed) == (LAYOUT.row("a-1") in keys)
    for arm in ARMS:
        assert (LAYOUT.pick("a-1", arm) in removed) == (arm in arms and LAYOUT.pick("a-1", arm) in keys)
    for other in (PRIOR, OTHER):
        key = LAYOUT.fit("a-1", "full", other).result
        assert (key in removed) == (key == record and key in keys)


def test_a_retry_that_is_killed_at_any_moment_leaves_a_failed_image_or_one_to_be_done(
    failed: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)
    store, image = failed.store, failed.images[0]
    rows, changes, deaths = store.get(LAYOUT.row(image.id)), 0, 0
    while died(store, changes, lambda dying: set_aside(dying, RUN, None)):
        deaths += 1
        kept = [store.get(key) for key in store.keys(LAYOUT.retried(image.id))]
        if store.exists(LAYOUT.row(image.id)):
            assert rows_of(store, LAYOUT.row(image.id)) == [FAILED, RESTORED]
        else:
            assert kept == [rows]
        assert len(kept) <= 1
        changes += 1
    assert deaths > 5
    assert not store.exists(LAYOUT.row(image.id))
    assert [store.get(key) for key in store.keys(LAYOUT.retried(image.id))] == [rows]


def test_the_rows_of_every_try_are_kept(failed: Whole) -> None:
    store, image = failed.store, failed.images[0]
    set_aside(store, RUN, None)
    store.put(LAYOUT.row(image.id), rows_record([replace(FAILED, reason="again"), RESTORED]))
    set_aside(store, RUN, None)
    kept = [rows_from_json(store.get(key))[0].reason for key in store.keys(LAYOUT.retried(image.id))]
    assert kept == [FAILED.reason, "again"]


def test_a_run_that_is_under_way_is_left_alone(failed: Whole) -> None:
    before = contents(failed.store, LAYOUT.root)
    with take(failed.store, LAYOUT, {}), pytest.raises(UserMistakeError, match="is under way, by process"):
        set_aside(failed.store, RUN, None)
    assert before.items() <= contents(failed.store, LAYOUT.root).items()


def test_rows_that_cannot_be_read_hide_no_others(failed: Whole) -> None:
    cut(failed.store, LAYOUT.row(failed.images[1].id))
    notes: list[str] = []
    assert set_aside(failed.store, RUN, None, note=notes.append) == Retried(1, 0)
    assert all("is damaged" in note for note in notes)
    assert notes


def test_a_run_whose_images_are_not_all_in_the_store_has_no_failed_ones(failed: Whole) -> None:
    failed.store.delete(LAYOUT.inputs)
    assert set_aside(failed.store, RUN, None) == Retried(0, 0)


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    """The folder of the run: a file that could not be read can be now, and what the run has was changed."""
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(encoded(8, 8, noise_seed=7))
    (folder / "c.png").write_bytes(encoded(9, 7))
    return folder


def test_a_rejected_file_that_can_be_read_now_becomes_an_image(whole: Whole, folder: Path) -> None:
    store, before = whole.store, read_inputs(whole.store, LAYOUT)
    assert before is not None
    assert set_aside(store, RUN, Source(str(folder))) == Retried(0, 1)
    after = read_inputs(store, LAYOUT)
    assert after is not None
    # The images that the run has are those that it was begun with.
    assert list(after.images[:-1]) == list(before.images)
    assert (after.images[-1].name, after.images[-1].height, after.rejected) == ("c.png", 9, [])
    assert store.get(image_key(after.images[-1].file)) == (folder / "c.png").read_bytes()
    assert [key for key in store.keys(LAYOUT.rows) if "rejected" in key] == []
    assert len(list(store.keys(LAYOUT.retried("rejected-000000")))) == 1
    assert verify_run(store, RUN).damages == []
    assert set_aside(store, RUN, Source(str(folder))) == Retried(0, 0)


def test_a_look_that_is_killed_at_any_moment_loses_no_file(
    whole: Whole, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)
    store: Store = whole.store
    changes = 0
    while died(store, changes, lambda dying: set_aside(dying, RUN, Source(str(folder)))):
        listed = read_inputs(store, LAYOUT)
        assert listed is not None
        names = [image.name for image in listed.images] + [each.name for each in listed.rejected]
        assert sorted(names) == ["a.png", "b.png", "c.png"]
        assert all(store.exists(image_key(image.file)) for image in listed.images)
        # No image has the rows of a file that was rejected.
        assert len(listed.images) == 2 or not store.exists(LAYOUT.row("rejected-000000"))
        store.put(LAYOUT.inputs, INPUTS.to_json(Inputs(listed.images[:2], [Rejected("c.png", "the file is empty")])))
        changes += 1
    assert changes > 5


def test_a_file_whose_name_has_become_another_images_stays_rejected(whole: Whole, folder: Path) -> None:
    from orchestrator.ingest.folder import read_folder

    uploads, _ = read_folder(folder, max_pixels=1000)
    (upload,) = [each for each in uploads if each.image.name == "c.png"]
    recorded = Inputs(whole.images, [Rejected("c.png", "before"), Rejected("d.png", "before")])
    now, still = merged(recorded, [upload], [Rejected("d.png", "still")])
    assert (now, still) == ([upload], [Rejected("d.png", "still")])
    clash = replace(upload, image=replace(upload.image, restored=whole.images[0].restored.upper()))
    now, still = merged(recorded, [clash], [])
    assert now == []
    assert "submit it in a run of its own" in still[0].reason
