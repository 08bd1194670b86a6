import pytest

from orchestrator.errors import RunFailedError
from orchestrator.schedule.actions import Compute, Note
from orchestrator.schedule.banks import Banks
from orchestrator.schedule.tally import Tally
from orchestrator.score.bank import BankPart
from workers.fingerprints import BankSpec

SPECS = [BankSpec(side, side, 3, 3, 32, draws=1, seed=0, metrics=("psd",)) for side in (64, 128)]
PARTS = {spec: [BankPart(spec, (f"{number}-0", f"{number}-1")) for number in range(3)] for spec in SPECS}


def banks_of(tally: Tally, missing: int = 2, retries: int = 1) -> Banks:
    return Banks(
        PARTS,
        {SPECS[0]: PARTS[SPECS[0]][:missing]},
        retries=retries,
        tally=tally,
        find=lambda spec: (PARTS[spec], PARTS[spec][1:]),
    )


def test_only_what_is_missing_is_computed_and_images_wait_for_their_own_bank() -> None:
    tally = Tally()
    banks = banks_of(tally)
    first, second = banks.begin()
    assert (first, second) == tuple(Compute(part) for part in PARTS[SPECS[0]][:2])
    assert tally.total("bank") == 2
    assert (banks.is_ready(SPECS[0]), banks.is_ready(SPECS[1]), banks.is_ready(None)) == (False, True, True)
    assert banks.on_computed(first.part) == []
    assert not banks.are_complete
    assert banks.on_computed(second.part) == []
    assert banks.are_complete
    assert banks.is_ready(SPECS[0])
    assert tally.done("bank") == 2


def test_the_bank_of_an_image_that_arrives_is_computed_once() -> None:
    tally = Tally()
    banks = Banks({}, {}, retries=1, tally=tally, find=lambda spec: (PARTS[spec], PARTS[spec][1:]))
    assert banks.expect(None) == []
    actions = banks.expect(SPECS[0])
    assert actions == [Compute(part) for part in PARTS[SPECS[0]][1:]]
    assert banks.expect(SPECS[0]) == []
    assert (tally.total("bank"), banks.is_ready(SPECS[0])) == (2, False)
    for part in PARTS[SPECS[0]][1:]:
        banks.on_computed(part)
    assert banks.is_ready(SPECS[0])


def test_a_part_that_failed_is_tried_again_and_then_done_without() -> None:
    banks = banks_of(Tally())
    first, _ = banks.begin()
    (again,) = banks.on_failed(first, "out of luck", draining=False)
    assert again == Compute(first.part, 1)
    assert banks.without == frozenset()
    (note,) = banks.on_failed(again, "out of luck", draining=False)
    assert note == Note("left out, since scoring failed: 2 candidates: out of luck")
    assert banks.without == {first.part.key}
    assert not banks.is_ready(SPECS[0])


def test_a_run_of_which_no_candidate_can_be_scored_fails() -> None:
    banks = banks_of(Tally(), missing=3, retries=0)
    parts = list(banks.begin())
    for part in parts[:2]:
        banks.on_failed(part, "no", draining=False)
    with pytest.raises(RunFailedError, match="no candidate could be scored: no"):
        banks.on_failed(parts[2], "no", draining=False)


def test_a_run_that_is_drained_computes_nothing_again() -> None:
    banks = banks_of(Tally())
    first, second = banks.begin()
    assert banks.on_failed(first, "cancelled", draining=True) == []
    assert banks.on_failed(second, "cancelled", draining=True) == []
    assert (banks.are_complete, banks.without) == (True, frozenset())
