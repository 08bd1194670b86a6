"""How a run ends, on a Ray that never starts: what goes wrong is what its work raises."""

import os
import pickle
import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.exits import Exit, exit_of_error
from orchestrator.drive import driver
from orchestrator.errors import (
    DamagedError,
    HoursSpentError,
    ImagesUnavailableError,
    RayLostError,
    RunCancelledError,
    RunFailedError,
    StoreError,
    StoreUnavailableError,
    UserMistakeError,
)
from orchestrator.ingest.bring import Bringing
from orchestrator.plan.make import make_plan, resume_plan
from orchestrator.plan.plan import Plan
from orchestrator.run.attempt import HOLDERS, Holder, RunState, read_log
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage, Source
from orchestrator.run.layout import IMAGES, RunLayout
from orchestrator.run.marker import MARKERS, hold
from orchestrator.run.progress import Stage
from orchestrator.run.record import RunRecord, read_run
from orchestrator.run.rows import Row, RowState, rows_record
from orchestrator.store import LocalStore, Store
from tests.orchestrator.conftest import ELSEWHERE, Encoded, MakeConfig
from tests.orchestrator.keep.conftest import Dying, contents, died


class Quiet:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)

    def update(self, stages: Sequence[Stage]) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def plan(store: LocalStore, tmp_path: Path, encoded: Encoded, make_config: MakeConfig) -> Plan:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.png").write_bytes(encoded(9, 7))
    return make_plan(store, make_config(), Source(str(tmp_path / "images")), run="r1")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException | None], None]:
    """Sets what the work on the images raises, once they are in the store; it does nothing else."""

    def ends(error: BaseException | None) -> None:
        def worked(*_: Any, arrivals: Bringing | None = None, **__: Any) -> None:
            if arrivals is not None:
                arrivals.wait()
            if error is not None:
                raise error

        monkeypatch.setattr(driver, "work", worked)

    monkeypatch.setattr(driver, "local_ray", lambda resources, dashboard: nullcontext())
    return ends


@pytest.mark.parametrize(
    ("error", "raised", "message", "state"),
    [
        (StoreError("cannot write x"), StoreError, "^cannot write x$", RunState.FAILED),
        (DamagedError("x is damaged"), DamagedError, "^x is damaged$", RunState.FAILED),
        (StoreUnavailableError("away"), StoreUnavailableError, "^away; the run r1 is paused$", RunState.INTERRUPTED),
        (ImagesUnavailableError("away"), ImagesUnavailableError, "^away; the run r1 is paused$", RunState.INTERRUPTED),
        (RayLostError("gone"), RayLostError, "^gone; the run r1 is paused$", RunState.INTERRUPTED),
        (HoursSpentError("no more"), HoursSpentError, "^no more$", RunState.SPENT),
        (RunCancelledError("enough"), RunCancelledError, "^enough$", RunState.CANCELLED),
        (KeyboardInterrupt(), KeyboardInterrupt, "^$", RunState.INTERRUPTED),
        # Libraries may exit; the record must say so all the same.
        (SystemExit(1), SystemExit, "^1$", RunState.INTERRUPTED),
        (ValueError("no\nluck"), RunFailedError, "the run r1 failed: ValueError: no luck; --debug", RunState.FAILED),
    ],
)
def test_a_run_that_does_not_finish_says_why_and_leaves_its_tables(
    store: LocalStore,
    plan: Plan,
    work: Callable[[BaseException], None],
    *,
    error: BaseException,
    raised: type[BaseException],
    message: str,
    state: RunState,
) -> None:
    work(error)
    with pytest.raises(raised, match=message):
        driver.execute(store, plan, Quiet())
    record = read_run(store, "r1")
    assert record.state is state
    assert record.reason
    layout = RunLayout("r1")
    assert store.exists(layout.report)
    assert list(store.keys(layout.rows)) == []


def test_a_driver_holds_the_run_until_its_tables_are_written(
    store: LocalStore, plan: Plan, work: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Else the next driver, which may go on at once, would find its own tables overwritten by older ones.
    work(RunCancelledError("enough"))
    held: list[RunState] = []
    write = driver.write_results
    monkeypatch.setattr(
        driver, "write_results", lambda *arguments: (held.append(read_run(store, "r1").state), write(*arguments))
    )
    with pytest.raises(RunCancelledError):
        driver.execute(store, plan, Quiet())
    assert held == [RunState.RUNNING]


def test_a_driver_that_was_taken_over_while_it_wrote_its_tables_writes_them_again(
    store: LocalStore, plan: Plan, work: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(RunCancelledError("enough"))
    layout = RunLayout("r1")
    tables: list[int] = []
    write = driver.write_results

    def taken_over(to: LocalStore, where: RunLayout, rows: list[Row]) -> None:
        tables.append(len(rows))
        write(to, where, rows)
        holder = HOLDERS.to_json(replace(ELSEWHERE, number=2))
        if store.create(layout.claim(2).holder, holder):
            store.create(layout.row("a"), rows_record([Row("a.png", "dip", RowState.FAILED)]))

    monkeypatch.setattr(driver, "write_results", taken_over)
    with pytest.raises(RunCancelledError):
        driver.execute(store, plan, Quiet())
    assert tables == [0, 1]


def test_the_tables_of_a_finished_run_have_rows_that_no_listing_shows_yet(
    store: LocalStore, plan: Plan, work: Callable[[None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(None)
    (image,) = plan.images
    rows = [Row(image.name, "dip", RowState.FAILED)]
    store.create(RunLayout("r1").row(image.id), rows_record(rows))
    keys = store.keys
    monkeypatch.setattr(store, "keys", lambda prefix: iter(key for key in keys(prefix) if "/rows/" not in key))
    monkeypatch.setattr("orchestrator.run.context.open_store", lambda url, **options: store)
    # The record was written by `submit`, and the rows by an earlier driver.
    monkeypatch.setattr(driver, "begin", lambda store, plan, machine: read_run(store, "r1"))
    store.create(RunLayout("r1").record, RunRecord("r1", "", 1, 0, False, plan.config.model_dump(), {}).to_json())
    assert driver.execute(store, plan, Quiet()).rows == rows


def test_a_run_whose_work_ends_is_finished(store: LocalStore, plan: Plan, work: Callable[[None], None]) -> None:
    work(None)
    outcome = driver.execute(store, plan, Quiet())
    assert (outcome.record.state, outcome.rows) == (RunState.FINISHED, [])


def test_a_study_is_finished_only_when_its_files_are_written_and_resume_writes_them(
    store: LocalStore, plan: Plan, work: Callable[[None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(None)
    states: list[tuple[RunState, RunState]] = []

    def conclude(to: LocalStore, record: RunRecord, images: Sequence[InputImage]) -> None:
        assert [image.name for image in images] == ["a.png"]
        states.append((read_run(store, "r1").state, record.state))
        if len(states) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(driver, "conclude_study", conclude)
    with pytest.raises(KeyboardInterrupt):
        driver.execute(store, replace(plan, command="study"), Quiet())
    assert read_run(store, "r1").state is RunState.INTERRUPTED
    again = replace(resume_plan(store, "r1"), resources=plan.resources)
    assert driver.execute(store, again, Quiet()).record.state is RunState.FINISHED
    # The page of the study is that of a finished run, which nobody is told of before.
    assert states == [(RunState.RUNNING, RunState.FINISHED)] * 2


@pytest.mark.parametrize("instead", ["nothing", "an empty folder", "another store"])
def test_a_store_that_vanishes_while_a_run_works_pauses_it_and_is_not_made_anew(
    store: LocalStore, plan: Plan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, instead: str
) -> None:
    place, away = Path(store.url), tmp_path / "away"

    def vanish(context: RunContext, *_: Any, arrivals: Bringing, **__: Any) -> None:
        # Whoever resumes the run gives no folders.
        arrivals.wait()
        place.rename(away)
        if instead != "nothing":
            place.mkdir()
        if instead == "another store":
            hold(LocalStore(place))
        # What a worker, on this machine or another, does next.
        pickle.loads(pickle.dumps(context)).store.exists(RunLayout("r1").record)  # noqa: S301

    monkeypatch.setattr(driver, "work", vanish)
    monkeypatch.setattr(driver, "local_ray", lambda resources, dashboard: nullcontext())
    plan = replace(plan, config=plan.config.model_copy(update={"resources": _impatient(plan)}))
    with pytest.raises(StoreUnavailableError, match=r"mount it, .*; the run r1 is paused$") as caught:
        driver.execute(store, plan, Quiet())
    assert exit_of_error(caught.value) == Exit.PAUSED
    assert list(LocalStore(place).keys("")) == (["store.json"] if instead == "another store" else [])
    assert place.exists() == (instead != "nothing")

    shutil.rmtree(place, ignore_errors=True)
    away.rename(place)
    monkeypatch.setattr(driver, "work", lambda *_, **__: None)
    monkeypatch.setattr(Holder, "is_gone", True)
    again = replace(resume_plan(store, "r1"), resources=plan.resources)
    assert driver.execute(LocalStore(place), again, Quiet()).record.state is RunState.FINISHED


def _impatient(plan: Plan) -> Any:
    return plan.config.resources.model_copy(update={"store_patience_s": 0})


def test_a_store_of_before_there_were_markers_gets_one(
    store: LocalStore, plan: Plan, work: Callable[[None], None]
) -> None:
    work(None)
    driver.execute(store, plan, Quiet())
    first = store.get("store.json")
    store.delete_all("runs")
    Path(store.show("store.json")).unlink()
    driver.execute(LocalStore(store.url), plan, Quiet())
    second = LocalStore(store.url).get("store.json")
    assert MARKERS.from_json(first).id != MARKERS.from_json(second).id


def test_where_something_is_left_of_a_deleted_run_no_new_one_begins(store: LocalStore, plan: Plan) -> None:
    left = RunLayout("r1").row("a-0123abcd")
    store.put(left, b"[]")
    with pytest.raises(UserMistakeError, match=r"what is left of a run.*choose another name, or `delete r1` first"):
        driver.execute(store, plan, Quiet())
    assert list(store.keys("runs")) == [left]


def test_a_run_that_is_begun_where_one_is_imported_withdraws(
    store: LocalStore, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create

    def import_and_create(key: str, data: bytes, **options: Any) -> bool:
        store.put(f"{RunLayout('r1').root}/import", b"")
        return create(key, data, **options)

    monkeypatch.setattr(store, "create", import_and_create)
    with pytest.raises(UserMistakeError, match="one is just being imported or deleted"):
        driver.begin(store, plan, {})
    assert not store.exists(RunLayout("r1").record)


def test_a_run_that_another_driver_has_taken_up_while_it_was_begun_stays(
    store: LocalStore, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = store.create
    layout = RunLayout("r1")

    def create_late(key: str, data: bytes, **options: Any) -> bool:
        created = create(key, data, **options)
        if key == layout.record:  # the answer takes long
            create(layout.claim(1).holder, HOLDERS.to_json(ELSEWHERE))
            create(layout.row("a"), rows_record([]))
        return created

    monkeypatch.setattr(store, "create", create_late)
    assert driver.begin(store, plan, {}).run == "r1"
    assert store.exists(layout.record)


def test_a_run_that_was_deleted_after_it_was_planned_does_not_come_back(
    store: LocalStore, plan: Plan, work: Callable[[BaseException | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    work(None)
    take = driver.take

    def delete_and_take(*arguments: Any, **options: Any) -> Any:
        store.delete_all("runs/r1")
        return take(*arguments, **options)

    monkeypatch.setattr(driver, "take", delete_and_take)
    with pytest.raises(UserMistakeError, match="the run r1 has been deleted meanwhile"):
        driver.execute(store, plan, Quiet())
    assert not store.exists(RunLayout("r1").record)


def test_a_run_begins_with_a_sweep_of_its_own_and_of_shared_places(
    store: LocalStore, plan: Plan, work: Callable[[None], None]
) -> None:
    folders = (IMAGES, "runs/r1/scores", "runs/other/scores")
    for folder in folders:
        partial = Path(store.url, folder, ".partial-0123")
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"half")
        os.utime(partial, (time.time() - 60,) * 2)
    work(None)
    listener = Quiet()
    driver.execute(store, plan, listener)
    left = [folder for folder in folders if Path(store.url, folder, ".partial-0123").exists()]
    assert left == ["runs/other/scores"]
    assert "removed 2 files that killed processes had left in the store" in listener.notes


def test_a_store_in_trouble_cannot_be_swept_and_that_ends_no_run(
    store: LocalStore, plan: Plan, work: Callable[[None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(store: LocalStore, prefix: str) -> int:
        raise StoreUnavailableError("away")

    monkeypatch.setattr(LocalStore, "sweep", away)
    work(None)
    assert driver.execute(store, plan, Quiet()).record.state is RunState.FINISHED


def test_a_driver_that_is_killed_at_any_moment_is_continued_by_the_next(
    tmp_path: Path, encoded: Encoded, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bringing the inputs, between two images, in the last table and in the page."""
    source = Source(str(tmp_path / "images"))
    (tmp_path / "images").mkdir()
    for seed in range(2):
        (tmp_path / f"images/{seed}.png").write_bytes(encoded(9, 7, noise_seed=seed))
    (tmp_path / "images/notes.txt").write_text("no image")

    def work(context: RunContext, plan: Plan, *_: Any, **__: Any) -> None:
        for image in plan.images:
            row = rows_record([Row(image.name, "isnas-dip-blind", RowState.FAILED, reason="none of the fits ended")])
            context.store.create(context.layout.row(image.id), row)

    monkeypatch.setattr(driver, "work", work)
    monkeypatch.setattr(driver, "local_ray", lambda resources, dashboard: nullcontext())
    # Whoever was killed is in truth this process, which lives.
    monkeypatch.setattr("orchestrator.run.claim._watch", lambda store, layout, attempt, **_: attempt)

    submitted = make_plan(LocalStore(tmp_path / "empty"), make_config(), source, run="r1")

    def drive(store: Store) -> None:
        monkeypatch.setattr("orchestrator.run.context.open_store", lambda url, **_: store)
        plan = submitted
        if store.exists(RunLayout("r1").inputs):
            plan = resume_plan(store, "r1")
        elif store.exists(RunLayout("r1").record):
            plan = replace(plan, continued=read_run(store, "r1"))
        assert driver.execute(store, plan, Quiet()).record.state is RunState.FINISHED

    def left(changes: int | None) -> tuple[dict[str, bytes], bool]:
        """What there is in the end but for the claims, and whether the first driver was killed."""
        store = LocalStore(tmp_path / f"store-{changes}")
        killed = changes is not None and died(store, changes, drive)
        drive(store)
        of_time = ("claims/", "run.json", "report/")
        kept = {key: data for key, data in contents(store).items() if not any(part in key for part in of_time)}
        assert store.exists(RunLayout("r1").report)
        return kept, killed

    calm, _ = left(None)
    assert sum("/rows/" in key for key in calm) == 3
    counted: Any = Dying(LocalStore(tmp_path / "counted"), 1000)
    drive(counted)
    for changes in random.sample(range(1000 - counted.left), 4):
        found, killed = left(changes)
        assert killed, f"not killed before change {changes}"
        assert found == calm, f"killed before change {changes}"


def test_a_run_that_goes_on_with_other_versions_says_which_once_it_is_claimed(
    store: LocalStore, plan: Plan, work: Callable[[BaseException | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = driver.machine_facts
    for torch, ended in (("2.12.0", KeyboardInterrupt()), ("2.13.0", KeyboardInterrupt()), ("2.13.0", None)):
        monkeypatch.setattr(driver, "machine_facts", lambda resources, it=torch: {**facts(resources), "torch": it})
        work(ended)
        listener = Quiet()
        with nullcontext() if ended is None else pytest.raises(KeyboardInterrupt):
            driver.execute(store, plan, listener)
        said = [note for note in listener.notes if note.startswith("this run is made with ")]
        assert said == ([] if torch == "2.12.0" else [said[0]])
        plan = replace(resume_plan(store, "r1"), resources=plan.resources)
    assert "made with torch 2.12.0 and 2.13.0: last digits may differ" in said[0]
    layout = RunLayout("r1")
    assert said[0] in "".join(read_log(store, layout))
    assert said[0].encode() in store.get(layout.report)

    def not_won(*_: Any, **__: Any) -> None:
        raise UserMistakeError("r1 is under way")

    # It is said after the claim is won: who does not get the run says nothing.
    held = Quiet()
    monkeypatch.setattr(driver, "take", not_won)
    with pytest.raises(UserMistakeError, match="is under way"):
        driver.execute(store, plan, held)
    assert held.notes == []
