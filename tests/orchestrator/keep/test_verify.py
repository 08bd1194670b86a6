"""A run with planted damage is verified and repaired, and is what it was but for what is to be made again."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import StoreUnavailableError
from orchestrator.keep import verify as module
from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.keep.repair import repair_run, repair_shared
from orchestrator.keep.verify import names_of_runs, verify_run, verify_shared
from orchestrator.run.attempt import RunState
from orchestrator.run.layout import image_key
from orchestrator.run.marker import hold
from orchestrator.run.record import read_run
from orchestrator.store import MARKER, LocalStore, Store
from tests.old_runs import FINISHED, INTERRUPTED, OLD_RUNS, unpack
from tests.orchestrator.conftest import MakeConfig, leave_run
from tests.orchestrator.keep.conftest import contents
from tests.orchestrator.keep.whole import (
    ARMS,
    LAYOUT,
    PRIOR,
    ROUND,
    RUN,
    Whole,
    cut,
    flip,
    leave_whole,
    newer,
    unfinished_file,
)


def damages_of(store: Store) -> list[Damage]:
    return verify_run(store, RUN).damages


def test_a_sound_run_has_no_damage_and_every_object_of_it_is_read(store: Store, make_config: MakeConfig) -> None:
    whole = leave_whole(store, make_config(arms=list(ARMS)))
    verified = verify_run(store, RUN)
    assert verified.damages == []
    assert verified.objects == len(contents(store, LAYOUT.root, "images"))
    assert verified.size == sum(map(len, contents(store, LAYOUT.root, "images").values()))
    assert verify_shared(store).damages == []
    store.put("runs/gone/run.json", b"")
    store.delete("runs/gone/run.json")
    assert names_of_runs(whole.store) == [RUN]


Plant = Callable[[Store, Whole], str]
"""Plants a damage; returns the key that its line names."""


def planted(do: Callable[[Store, str], None], place: Callable[[Whole], str]) -> Plant:
    def plant(store: Store, whole: Whole) -> str:
        do(store, key := place(whole))
        return key

    return plant


def stray(
    place: Callable[[Whole], str], like: Callable[[Whole], str], named: Callable[[Whole], str] | None = None
) -> Plant:
    """An object that belongs to nothing, with the content of another."""

    def plant(store: Store, whole: Whole) -> str:
        store.put(place(whole), store.get(like(whole)))
        return (named or place)(whole)

    return plant


def partial(store: Store, whole: Whole) -> str:
    unfinished_file(store, whole.key(lambda image: LAYOUT.pick(image.id, ARMS[0])))
    return LAYOUT.root


def first(place: Callable[[Whole], str]) -> Callable[[Whole], str]:
    return place


ROW = first(lambda whole: LAYOUT.row(whole.images[0].id))
PICK = first(lambda whole: LAYOUT.pick(whole.images[0].id, ARMS[0]))
COHORT = first(lambda whole: LAYOUT.cohort(whole.images[0].id))
RESULT = first(lambda whole: LAYOUT.fit(whole.images[0].id, "full", PRIOR).result)
RESTORED = first(lambda whole: LAYOUT.restored(ARMS[0], "pick", "a.png"))
TICKET = first(lambda whole: LAYOUT.ticket(whole.images[0].id, ROUND))  # type: ignore[arg-type]
INPUT = first(lambda whole: image_key(whole.images[0].file))
MASK = first(lambda whole: image_key(str(whole.images[0].mask)))
CROP = first(lambda whole: LAYOUT.fit(whole.images[0].id, "crop", PRIOR).root)
CROP_RESULT = first(lambda whole: LAYOUT.fit(whole.images[0].id, "crop", PRIOR).result)
MARK = first(lambda whole: LAYOUT.cleanup(whole.images[0].id))


def delete(store: Store, key: str) -> None:
    store.delete(key)


def empty(store: Store, key: str) -> None:
    store.put(key, b"")


D, M, N, L = Wrong.DAMAGED, Wrong.MISSING, Wrong.NEWER, Wrong.LEFT_OVER
KINDS: dict[str, tuple[Plant, Wrong, Remedy]] = {
    "a flipped byte in a restored file": (planted(flip, RESTORED), D, Remedy.REMOVE),
    "a flipped byte in the outputs of a fit": (planted(flip, lambda whole: whole.arrays()), D, Remedy.REMOVE),
    "a flipped byte in an image": (planted(flip, INPUT), D, Remedy.BY_HAND),
    "a mask that was cut off": (planted(cut, MASK), D, Remedy.BY_HAND),
    "a table that was cut off, without a checksum": (planted(cut, COHORT), D, Remedy.REMOVE),
    "outputs that were cut off, without a checksum": (planted(cut, lambda whole: whole.arrays()), D, Remedy.REMOVE),
    "a ticket that was cut off, without a checksum": (planted(cut, TICKET), D, Remedy.REMOVE),
    "a picture that was cut off, without a checksum": (planted(cut, RESTORED), D, Remedy.REMOVE),
    "rows that were cut off": (planted(cut, ROW), D, Remedy.REMOVE),
    "a missing record of a fit": (planted(delete, RESULT), M, Remedy.REMOVE),
    "missing outputs of a fit": (planted(delete, lambda whole: whole.arrays()), M, Remedy.REMOVE),
    "a missing restored file": (planted(delete, RESTORED), M, Remedy.REMOVE),
    "a missing image of a filter": (
        planted(delete, lambda _: LAYOUT.restored("classical", "best", "a.png")),
        M,
        Remedy.REMOVE,
    ),
    "a missing stack": (planted(delete, lambda _: LAYOUT.restored(ARMS[0], "stack", "a.png")), M, Remedy.REMOVE),
    "a missing delivered image": (
        planted(delete, lambda _: LAYOUT.restored(ARMS[0], "best", "a.png")),
        M,
        Remedy.REMOVE,
    ),
    "a missing mean": (planted(delete, lambda _: LAYOUT.restored(ARMS[0], "mean", "a.png")), M, Remedy.REMOVE),
    "a missing decision": (planted(delete, PICK), M, Remedy.REMOVE),
    "a missing ticket": (planted(delete, TICKET), M, Remedy.REMOVE),
    "a missing packed record": (planted(delete, COHORT), M, Remedy.REMOVE),
    "a missing image": (planted(delete, INPUT), M, Remedy.BY_HAND),
    "missing rows": (planted(delete, ROW), M, Remedy.RESUME),
    "missing rows of a rejected file": (planted(delete, lambda _: LAYOUT.row("rejected-000000")), M, Remedy.RESUME),
    "a missing page": (planted(delete, lambda _: LAYOUT.report), M, Remedy.RESUME),
    "missing settings": (planted(delete, lambda _: LAYOUT.config), M, Remedy.RESUME),
    "a missing list of inputs": (planted(delete, lambda _: LAYOUT.inputs), M, Remedy.BY_HAND),
    "a missing record of the run": (planted(delete, lambda _: LAYOUT.record), M, Remedy.BY_HAND),
    "a damaged record of the run": (planted(cut, lambda _: LAYOUT.record), D, Remedy.BY_HAND),
    "a damaged list of inputs": (planted(cut, lambda _: LAYOUT.inputs), D, Remedy.BY_HAND),
    "a damaged claim": (planted(cut, lambda _: LAYOUT.claim(1).holder), D, Remedy.BY_HAND),
    "a damaged log": (planted(flip, lambda _: LAYOUT.claim(1).log), D, Remedy.DISCARD),
    "damaged results": (planted(flip, lambda _: LAYOUT.results("csv")), D, Remedy.REMOVE),
    "a record of a newer format": (planted(newer, RESULT), N, Remedy.BY_HAND),
    "a run of a newer format": (planted(newer, lambda _: LAYOUT.record), N, Remedy.BY_HAND),
    "the rows of another image": (stray(ROW, lambda whole: LAYOUT.row(whole.images[1].id), ROW), D, Remedy.REMOVE),
    "a decision that no row names": (
        stray(lambda whole: LAYOUT.pick(whole.images[0].id, "nobody"), PICK),
        L,
        Remedy.DISCARD,
    ),
    "a decision on no image": (stray(lambda _: LAYOUT.pick("x-01234567", ARMS[0]), PICK), L, Remedy.DISCARD),
    "rows of no image": (stray(lambda _: LAYOUT.row("x-01234567"), ROW), L, Remedy.DISCARD),
    "a restored file of no image": (
        stray(lambda _: LAYOUT.restored(ARMS[0], "pick", "x.png"), RESTORED),
        L,
        Remedy.DISCARD,
    ),
    "a fit of the cohort that was not deleted": (stray(CROP_RESULT, RESULT, CROP), L, Remedy.DISCARD),
    "the mark of an unfinished cleanup": (planted(empty, MARK), L, Remedy.RESUME),
    "the unfinished file of a killed writer": (partial, L, Remedy.DISCARD),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_damage_is_one_line_and_its_remedy_leaves_none(whole: Whole, kind: str) -> None:
    plant, wrong, remedy = KINDS[kind]
    store, before = whole.store, contents(whole.store)
    key = plant(store, whole)
    (damage,) = damages_of(store)
    assert (damage.key, damage.wrong, damage.remedy, damage.run) == (key, wrong, remedy, RUN)
    assert "\n" not in str(damage)
    if remedy is Remedy.BY_HAND:
        return
    repair_run(store, RUN)
    after = contents(store)
    # What is left is as it was, and all of it is sound: only what resume makes again is not there.
    kept = {key: data for key, data in after.items() if "/claims/" not in key and "/cleanups/" not in key}
    assert kept.items() <= before.items()
    assert {found.remedy for found in damages_of(store)} <= {Remedy.RESUME}
    again = remedy in (Remedy.REMOVE, Remedy.RESUME)
    assert read_run(store, RUN).state is (RunState.INTERRUPTED if again else RunState.FINISHED)


def test_many_kinds_of_damage_at_once_are_one_line_each(whole: Whole) -> None:
    apart = ("a flipped byte in a restored file", "a missing mean", "a missing page", "a record of a newer format")
    more = ("damaged results", "a ticket that was cut off, without a checksum", "a mask that was cut off")
    # While the mark of a cleaning is there, the fit is what it is to delete.
    strays = [kind for kind, (_, wrong, _) in KINDS.items() if wrong is L and "cohort" not in kind]
    kinds = [*strays, *apart, *more]
    assert len(kinds) >= 12
    keys = [KINDS[kind][0](whole.store, whole) for kind in kinds]
    assert sorted(damage.key for damage in damages_of(whole.store)) == sorted(keys)


def test_what_a_driver_is_just_writing_is_no_damage(whole: Whole, make_config: MakeConfig) -> None:
    store = whole.store
    leave_whole(store, make_config(arms=list(ARMS)), state=RunState.RUNNING)
    for key in (LAYOUT.report, ROW(whole), LAYOUT.results("csv")):
        store.delete(key)
    store.put(CROP_RESULT(whole), store.get(RESULT(whole)))
    store.put(LAYOUT.cleanup(whole.images[1].id), b"")
    assert [damage.wrong for damage in damages_of(store)] == [D]  # the record is that of a full fit
    store.delete(CROP_RESULT(whole))
    assert damages_of(store) == []


def test_a_run_that_is_not_finished_needs_the_run_whose_tickets_it_takes(whole: Whole) -> None:
    store, record = whole.store, read_run(whole.store, RUN)
    lottery = {**record.config["lottery"], "tickets": "earlier"}
    leave_run(store, replace(record, config={**record.config, "lottery": lottery}, state=RunState.FINISHED))
    assert damages_of(store) == []
    leave_run(store, replace(read_run(store, RUN), state=RunState.INTERRUPTED))
    (damage,) = damages_of(store)
    assert (damage.key, damage.wrong, damage.remedy) == ("runs/earlier/run.json", M, Remedy.BY_HAND)
    store.put("runs/earlier/run.json", b"")
    assert damages_of(store) == []


@pytest.mark.parametrize(("state", "is_damage"), [(RunState.INTERRUPTED, False), (RunState.FINISHED, True)])
def test_images_that_are_still_on_their_way_are_no_damage(whole: Whole, state: RunState, is_damage: bool) -> None:
    store = whole.store
    store.delete(LAYOUT.row(whole.images[1].id))
    store.delete(LAYOUT.inputs)
    leave_run(store, replace(read_run(store, RUN), state=state))
    assert (LAYOUT.inputs in {damage.key for damage in damages_of(store)}) == is_damage


def test_what_has_come_since_the_listing_is_not_missing(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [entry for entry in whole.store.entries(LAYOUT.root) if entry.key != PICK(whole)]
    monkeypatch.setattr(whole.store, "entries", lambda prefix: iter(listed))
    assert damages_of(whole.store) == []


def test_objects_are_held_in_bounded_numbers(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    get_many = whole.store.get_many

    def counted(keys: list[str]) -> object:
        asked.append(len(keys))
        return get_many(keys)

    monkeypatch.setattr(whole.store, "get_many", counted)
    monkeypatch.setattr(module, "_BATCH_OBJECTS", 4)
    assert damages_of(whole.store) == []
    assert max(asked) == 4
    asked.clear()
    monkeypatch.setattr(module, "_BATCH_BYTES", 1)
    assert damages_of(whole.store) == []
    assert set(asked) == {1, 3}  # the inputs' sizes are not known in advance


def test_damaged_banks_are_removed_and_damaged_images_are_not(whole: Whole) -> None:
    store = whole.store
    store.put("fingerprints/0123456789abcdef/key.json", b"{}")
    store.put("fingerprints/0123456789abcdef/part-0.npy", b"\x93NUMPY")
    flip(store, INPUT(whole))
    unfinished_file(store, "fingerprints/0123456789abcdef/key.json")
    damages = verify_shared(store).damages
    assert [(damage.key.split("/")[0], damage.is_repairable) for damage in damages] == [
        ("images", False),
        ("fingerprints", True),
        ("fingerprints", True),
        ("fingerprints", True),
    ]
    assert repair_shared(store, damages) == 2
    assert [damage.key for damage in verify_shared(store).damages] == [INPUT(whole)]


@pytest.mark.parametrize(("marker", "wrong"), [(b"{", D), (b'{"format": 99}', N)])
def test_a_marker_that_cannot_be_read_is_told_and_keeps_nothing_else_from_being_verified(
    whole: Whole, marker: bytes, wrong: Wrong
) -> None:
    whole.store.put(MARKER, marker)
    (damage,) = verify_shared(whole.store).damages
    assert (damage.key, damage.wrong, damage.is_repairable) == (MARKER, wrong, False)
    assert damages_of(whole.store) == []


def test_a_store_that_vanishes_meanwhile_has_no_missing_objects(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    store, away = whole.store, Path(f"{whole.store.url}-away")
    hold(LocalStore(store.url))
    entries = store.entries

    def listed(prefix: str) -> object:
        found = list(entries(prefix))
        Path(store.url).rename(away)
        return iter(found)

    for ask in (lambda: verify_run(store, RUN), lambda: repair_run(store, RUN)):
        with monkeypatch.context() as patch:
            patch.setattr(store, "entries", listed)
            with pytest.raises(StoreUnavailableError, match="is not there any more"):
                ask()
        away.rename(store.url)
    assert {damage.remedy for damage in damages_of(store)} <= {Remedy.RESUME}


@pytest.mark.parametrize("run", OLD_RUNS)
def test_runs_of_the_first_version_are_sound_but_for_what_their_archive_lacks(run: str, tmp_path: Path) -> None:
    damages = verify_run(LocalStore(unpack(tmp_path)), run).damages
    left_out = ("/restored/", "/arrays-", "/report/", "/study/", "/tickets/cup-")  # see tests/data/old_runs.sh
    assert all(damage.wrong is M and any(part in damage.key for part in left_out) for damage in damages)
    assert bool(damages) is (run in FINISHED)
    assert run in FINISHED or run in INTERRUPTED


def test_nothing_of_it_needs_torch_or_ray(whole: Whole) -> None:
    code = (
        "import sys; from orchestrator.cli import main\n"
        f"status = main(['verify', '--all', '--store', {whole.store.url!r}])\n"
        "assert not {'torch', 'ray'} & set(sys.modules), 'imported'\nsys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
