import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.drive.handle import Run
from orchestrator.errors import HoursSpentError, RunCancelledError, RunFailedError, UserMistakeError
from orchestrator.images import decode
from orchestrator.run.attempt import Holder, RunState, Standing, now
from orchestrator.run.inputs import InputImage, Inputs, write_inputs
from orchestrator.run.layout import RunLayout, image_key
from orchestrator.run.progress import Stage
from orchestrator.run.record import RunRecord
from orchestrator.run.rows import COLUMNS, Row, RowState, rows_to_json
from orchestrator.store import LocalStore
from tests.old_runs import unpack
from tests.orchestrator.conftest import ELSEWHERE, Encoded, MakeConfig, leave_run

LAYOUT = RunLayout("r1")
IMAGE = InputImage("sub/a.png", "a-0123abcd", "a.png", None, "sub/a.png", 9, 7, 3)
ROW = Row("sub/a.png", "isnas-dip-blind", RowState.RESTORED, psnr=30.0, stop_iteration=5)


@pytest.fixture
def record(make_config: MakeConfig) -> RunRecord:
    settings = make_config(arms=["isnas-dip-blind", "dip"]).model_dump(mode="json")
    return RunRecord("r1", "2026-01-31T14:25:01+00:00", 1, 0, False, settings, {}, state=RunState.FINISHED)


@pytest.fixture
def store(tmp_path: Path, record: RunRecord, encoded: Encoded) -> LocalStore:
    """A finished run of one image by two arms, of which the first has restored it."""
    store = LocalStore(tmp_path / "store")
    leave_run(store, record)
    image = replace(IMAGE, file=f"{hashlib.sha256(encoded(9, 7)).hexdigest()}.png")
    store.put(image_key(image.file), encoded(9, 7))
    write_inputs(store, LAYOUT, Inputs([image], []))
    store.put(LAYOUT.row(IMAGE.id), rows_to_json([ROW, replace(ROW, arm="dip", psnr=None)]).encode())
    for which in ("best", "pick"):
        store.put(LAYOUT.restored("isnas-dip-blind", which, IMAGE.restored), encoded(9, 7, noise_seed=1))
    store.put(LAYOUT.restored("dip", "mean", IMAGE.restored), encoded(9, 7, noise_seed=2))
    return store


def leave(store: LocalStore, number: int, **standing: Any) -> None:
    """The state of the driver of a claim."""
    keys = LAYOUT.claim(number)
    store.put(keys.holder, json.dumps(asdict(replace(ELSEWHERE, number=number))).encode())
    store.put(keys.state, Standing(**{"state": RunState.RUNNING, "beat": 1, "at": now(), **standing}).to_json())


def test_results_are_a_table_with_nulls_where_nothing_is_known(store: LocalStore) -> None:
    table = Run("r1", store.url).results()
    assert table.column_names == list(COLUMNS)
    assert table.column("psnr").to_pylist() == [30.0, None]
    assert table.column("arm").to_pylist() == ["isnas-dip-blind", "dip"]
    store.delete_all(LAYOUT.rows)
    empty = Run("r1", store.url).results()
    assert (empty.num_rows, empty.schema) == (0, table.schema)


def test_a_restored_image_is_an_array_on_the_scale_of_the_given_one(store: LocalStore, encoded: Encoded) -> None:
    run = Run("r1", store.url)
    pick = run.restored("sub/a.png")
    assert (pick.shape, pick.dtype) == ((3, 9, 7), np.float32)
    np.testing.assert_array_equal(pick, decode(encoded(9, 7, noise_seed=1)).pixels)
    np.testing.assert_array_equal(
        run.restored("sub/a.png", arm="dip", which="mean"), decode(encoded(9, 7, noise_seed=2)).pixels
    )


def test_an_image_that_is_not_there_is_a_mistake_that_names_it(store: LocalStore) -> None:
    run = Run("r1", store.url)
    with pytest.raises(UserMistakeError, match=r"has no image 'b\.png'"):
        run.restored("b.png")
    with pytest.raises(UserMistakeError, match=r"no best of sub/a\.png by dip; its arms: isnas-dip-blind, dip"):
        run.restored("sub/a.png", arm="dip")


def test_waiting_for_a_finished_run_returns_it(store: LocalStore) -> None:
    run = Run("r1", store.url)
    assert run.wait() is run
    assert run.status().state is RunState.FINISHED


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (
            RunState.CANCELLED,
            RunCancelledError,
            r"the run r1 is cancelled; orchestrator.resume\('r1'\) goes on with it",
        ),
        (RunState.SPENT, HoursSpentError, "the run r1 is spent: no luck; "),
        (RunState.FAILED, RunFailedError, "the run r1 is failed: no luck; "),
        (RunState.INTERRUPTED, RunFailedError, "the run r1 is interrupted: no luck; "),
    ],
)
def test_waiting_for_a_run_that_did_not_finish_raises(
    store: LocalStore, state: RunState, error: type[Exception], message: str
) -> None:
    leave(store, 2, state=state, reason=None if state is RunState.CANCELLED else "no luck")
    with pytest.raises(error, match=message):
        Run("r1", store.url).wait()


def test_a_driver_that_could_not_begin_is_told_with_what_it_printed(store: LocalStore) -> None:
    run = Run.of(store, "r1", after=1, why_it_ended=lambda: "no module named x\n")
    with pytest.raises(RunFailedError, match="could not begin; its last output:\nno module named x"):
        run.wait()


def test_what_happens_is_heard_while_one_waits(store: LocalStore) -> None:
    class Heard:
        def __init__(self) -> None:
            self.notes: list[str] = []
            self.stages: list[Stage] = []

        def note(self, message: str) -> None:
            self.notes.append(message)

        def update(self, stages: Sequence[Stage]) -> None:
            self.stages = list(stages)

    leave(store, 2, state=RunState.FINISHED, stages=[asdict(Stage("cohort", 3, 3))])
    store.put(LAYOUT.claim(2).log, b"a.png: done\n")
    heard = Heard()
    Run("r1", store.url).wait(heard)
    assert heard.notes[-1] == "a.png: done"
    assert heard.stages == [Stage("cohort", 3, 3)]


def test_a_run_that_has_ended_is_not_cancelled_and_one_without_a_driver_is_at_once(
    store: LocalStore, record: RunRecord
) -> None:
    assert Run("r1", store.url).cancel().state is RunState.FINISHED
    leave_run(
        store, replace(record, run="r2", state=RunState.INTERRUPTED), Holder(**{**asdict(ELSEWHERE), "number": 1})
    )
    assert Run("r2", store.url).cancel().state is RunState.CANCELLED


def test_a_run_that_is_drained_is_not_waited_for(store: LocalStore) -> None:
    leave(store, 2)
    run = Run("r1", store.url)
    assert run.cancel(drain=True).state is RunState.RUNNING
    assert json.loads(store.get(LAYOUT.claim(2).cancel))["stop"] == "drain"


def test_a_run_is_verified_and_repaired(tmp_path: Path) -> None:
    store = LocalStore(unpack(tmp_path))
    run, scores = Run("interrupted", store.url), RunLayout("interrupted").scores("cat-c4c3493c")
    assert run.verify() == []
    store.put(scores, b"PAR1")
    assert [damage.key for damage in run.verify()] == [scores]
    assert [damage.is_repairable for damage in run.verify(repair=True)] == [True]
    assert not store.exists(scores)
    assert run.verify(repair=True) == []
