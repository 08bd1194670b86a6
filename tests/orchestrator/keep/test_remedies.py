import pytest

from orchestrator.keep.damage import Remedy, Wrong
from orchestrator.keep.remedies import Remedies
from orchestrator.run.inputs import read_inputs
from orchestrator.run.layout import TOGETHER
from tests.orchestrator.keep.whole import ARMS, LAYOUT, PRIOR, ROUND, Whole


@pytest.fixture
def remedies(whole: Whole) -> Remedies:
    return Remedies(LAYOUT, set(whole.store.keys(LAYOUT.root)), read_inputs(whole.store, LAYOUT))


def test_a_finished_image_is_done_again_and_an_unfinished_one_goes_on(remedies: Remedies, whole: Whole) -> None:
    image = whole.images[0].id
    row, pick = LAYOUT.row(image), LAYOUT.pick(image, ARMS[0])
    assert remedies.again(pick, Wrong.DAMAGED, "").removes == (pick, row)
    unfinished = Remedies(LAYOUT, remedies.keys - {row}, remedies.inputs)
    assert list(unfinished.again(pick, Wrong.DAMAGED, "").removes) == [pick]
    assert unfinished.again(LAYOUT.cohort("x"), Wrong.MISSING, "").removes == ()


def test_a_checkpoint_costs_no_finished_image(remedies: Remedies, whole: Whole) -> None:
    image = whole.images[0].id
    checkpoint = LAYOUT.fit(image, "full", PRIOR).checkpoint
    with_it = Remedies(LAYOUT, {*remedies.keys, checkpoint}, remedies.inputs)
    damage = with_it.again(checkpoint, Wrong.DAMAGED, "")
    assert (damage.remedy, list(damage.removes)) == (Remedy.DISCARD, [checkpoint])
    unfinished = Remedies(LAYOUT, {*remedies.keys, checkpoint} - {LAYOUT.row(image)}, remedies.inputs)
    damage = unfinished.again(checkpoint, Wrong.DAMAGED, "")
    assert (damage.remedy, damage.resume) == (Remedy.REMOVE, "resume begins the fit again")


def test_a_fit_is_done_again_without_its_record_and_a_ticket_is_written_by_fits(
    remedies: Remedies, whole: Whole
) -> None:
    image = whole.images[0].id
    arrays = whole.arrays()
    record = LAYOUT.fit(image, "full", PRIOR).result
    assert remedies.again(arrays, Wrong.DAMAGED, "").removes == (record, arrays, LAYOUT.row(image))
    ticket = LAYOUT.ticket(image, ROUND)  # type: ignore[arg-type]
    others = LAYOUT.fit(image, "full", ROUND).result
    removes = remedies.again(ticket, Wrong.MISSING, "").removes
    assert removes == (*sorted([record, others]), ticket, LAYOUT.row(image))


def test_what_was_found_on_all_images_is_found_again_for_one(remedies: Remedies, whole: Whole) -> None:
    ticket = LAYOUT.ticket(TOGETHER, ROUND)  # type: ignore[arg-type]
    start = f"{ticket.rpartition('/')[0]}/dip.imp.0.start.pt"
    for key in (ticket, start):
        removes = remedies.again(key, Wrong.MISSING, "").removes
        assert removes[-1] == LAYOUT.row(whole.images[0].id)


@pytest.mark.parametrize("key", [LAYOUT.record, LAYOUT.inputs, LAYOUT.claim(1).holder, f"{LAYOUT.root}/notes.txt"])
def test_what_nobody_can_make_again_is_left_to_a_person(remedies: Remedies, key: str) -> None:
    damage = remedies.again(key, Wrong.DAMAGED, "")
    assert (damage.remedy, damage.removes) == (Remedy.BY_HAND, ())
    assert remedies.newer(LAYOUT.row("a"), "").remedy is Remedy.BY_HAND
