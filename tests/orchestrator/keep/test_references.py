from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.fit.record import FitRecord
from orchestrator.keep.damage import Damage, Remedy, Wrong
from orchestrator.keep.references import References
from orchestrator.run.attempt import RunState
from orchestrator.run.inputs import read_inputs
from orchestrator.run.places import Kind, place_of
from orchestrator.run.record import read_run
from orchestrator.run.rows import rows_of
from tests.orchestrator.keep.whole import ARMS, LAYOUT, PRIOR, RUN, Whole
from workers.names import PriorName


def references(whole: Whole, *, without: frozenset[str] = frozenset()) -> References:
    keys = set(whole.store.keys(LAYOUT.root)) - without
    return References(LAYOUT, keys, read_run(whole.store, RUN), read_inputs(whole.store, LAYOUT))


def all_of(known: References, whole: Whole) -> list[Damage]:
    """What is wrong with a run whose objects that are there are all sound."""
    found = list(known.without_reading())
    for key in sorted(known.keys):
        place = place_of(LAYOUT, key)
        if place.kind is Kind.ROWS and place.image is not None:
            found += known.of_rows(key, place.image, rows_of(whole.store, key))
        elif place.kind is Kind.FIT:
            found += known.of_fit(key, place, FitRecord.from_json(whole.store.get(key)))
    return found


def test_nothing_is_wrong_with_a_whole_run(whole: Whole) -> None:
    assert all_of(references(whole), whole) == []


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_missing_is_told_once_and_a_repair_ends_with_rows(whole: Whole, data: st.DataObject) -> None:
    every = sorted(whole.store.keys(LAYOUT.root))
    missing = frozenset(data.draw(st.sets(st.sampled_from(every), max_size=12)) - {LAYOUT.record, LAYOUT.inputs})
    known = references(whole, without=missing)
    found = all_of(known, whole)
    told = [damage.key for damage in found]
    assert len(told) == len(set(told))
    for damage in found:
        assert set(damage.removes) <= known.keys
        assert (damage.wrong is Wrong.MISSING) == (damage.key in missing)
        assert not any(place_of(LAYOUT, key).kind is Kind.ROWS for key in damage.removes[:-1])
        assert damage.remedy is not Remedy.BY_HAND
    # What a finished image rests on is never missing in silence.
    for image in whole.images:
        if LAYOUT.row(image.id) not in missing:
            rests_on = {LAYOUT.pick(image.id, ARMS[0]), LAYOUT.cohort(image.id)}
            assert rests_on & missing <= set(told)


def test_rows_are_one_for_each_arm(whole: Whole) -> None:
    known, key = references(whole), LAYOUT.row(whole.images[0].id)
    rows = rows_of(whole.store, key)
    for wrong in (rows[:1], [*rows, rows[0]], [replace(row, arm="nobody") for row in rows], []):
        (damage,) = known.of_rows(key, whole.images[0].id, wrong)
        assert "not one row for each arm" in damage.reason
    # The rounds of a lottery that were not picked are further rows.
    assert list(known.of_rows(key, whole.images[0].id, [*rows, replace(rows[1], picked=False)])) == []


def test_a_record_is_that_of_its_place(whole: Whole) -> None:
    known, key = references(whole), LAYOUT.fit(whole.images[0].id, "full", PRIOR).result
    (damage,) = known.of_fit(key, place_of(LAYOUT, key), FitRecord(PriorName("nas-dip"), "full", "failed"))
    assert damage.reason == "it is the record of another fit"


@pytest.mark.parametrize("keeps", ["none", "full", "all"])
def test_what_is_left_over_depends_on_what_is_kept(whole: Whole, keeps: str) -> None:
    known = references(whole)
    assert known.record is not None
    record = replace(known.record, config={**known.record.config, "keep": {"fits": keeps}})
    crop = LAYOUT.fit(whole.images[0].id, "crop", PRIOR)
    known = replace(known, record=record, keys={*known.keys, crop.result, crop.checkpoint})
    fits = {damage.key for damage in known.without_reading()}
    full = {LAYOUT.fit(image.id, "full", name).root for image in whole.images for name in _names(known, image.id)}
    assert fits == {"none": {crop.root, *full}, "full": {crop.root}, "all": set()}[keeps]


def _names(known: References, image: str) -> set[PriorName]:
    """All fits of an image at full size."""
    prefix = f"{LAYOUT.fits(image)}/full/"
    return {PriorName(key.removeprefix(prefix).split("/")[0]) for key in known.keys if key.startswith(prefix)}


def test_of_a_run_that_cannot_be_read_nothing_is_judged(whole: Whole) -> None:
    known = replace(references(whole), record=None)
    assert all_of(known, whole) == []
    known = replace(references(whole), inputs=None)
    assert all_of(known, whole) == []


def test_a_run_that_has_only_begun_lacks_nothing(whole: Whole) -> None:
    known = references(whole)
    assert known.record is not None
    begun = replace(known, record=replace(known.record, state=RunState.INTERRUPTED), inputs=None)
    assert list(replace(begun, keys={LAYOUT.record, LAYOUT.config}).without_reading()) == []
