import pytest

from orchestrator.errors import DamagedError, UserMistakeError
from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.keep.repair import repair_run, state_after, to_remove
from orchestrator.run.attempt import Holder, RunState
from orchestrator.run.claim import take
from tests.orchestrator.keep.conftest import died
from tests.orchestrator.keep.test_verify import KINDS, ROW, damages_of
from tests.orchestrator.keep.whole import LAYOUT, RUN, Whole, cut


def damage(*removes: str, remedy: Remedy = Remedy.REMOVE) -> Damage:
    return Damage("key", Wrong.DAMAGED, "", "", remedy, removes)


def test_what_marks_an_image_as_finished_goes_last() -> None:
    row = LAYOUT.row("a")
    assert to_remove([damage("x", row), damage("y", row), damage("x")], LAYOUT) == ["x", "y", row]


@pytest.mark.parametrize("before", RunState)
def test_only_a_finished_run_that_lacks_something_changes_its_state(before: RunState) -> None:
    assert state_after(before, [damage(remedy=Remedy.DISCARD), damage(remedy=Remedy.BY_HAND)]) is before
    for remedy in (Remedy.REMOVE, Remedy.RESUME):
        after = RunState.INTERRUPTED if before is RunState.FINISHED else before
        assert state_after(before, [damage(remedy=remedy)]) is after


def test_a_run_that_is_under_way_or_has_no_record_is_not_touched(whole: Whole) -> None:
    KINDS["damaged results"][0](whole.store, whole)
    before = set(whole.store.keys(LAYOUT.root))
    with take(whole.store, LAYOUT, {}) as claim:
        with pytest.raises(UserMistakeError, match="is under way, by process"):
            repair_run(whole.store, RUN)
        claim.end(RunState.CANCELLED)
    cut(whole.store, LAYOUT.record)
    with pytest.raises(DamagedError):
        repair_run(whole.store, RUN)
    assert set(whole.store.keys(LAYOUT.root)) > before


def test_a_repair_that_is_killed_at_any_moment_leaves_what_the_next_one_completes(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Holder, "is_gone", True)
    store = whole.store
    for kind in ("a ticket that was cut off, without a checksum", "missing outputs of a fit", "damaged results"):
        KINDS[kind][0](store, whole)
    changes = 0
    while died(store, changes, lambda dying: repair_run(dying, RUN)):
        # An image that counts as finished is whole, or its damage shows.
        left = damages_of(store)
        if store.exists(ROW(whole)):
            assert any(damage.remedy is Remedy.REMOVE for damage in left)
        changes += 1
    assert not store.exists(ROW(whole))
    assert all(damage.remedy is Remedy.RESUME for damage in damages_of(store))
