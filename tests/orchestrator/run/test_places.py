import pytest

from orchestrator.run.layout import RunLayout
from orchestrator.run.places import Kind, Place, place_of
from workers.names import parse_name

LAYOUT = RunLayout("r1")
NAME = parse_name("dip.imp.0.r01")
FIT = LAYOUT.fit("a-01234567", "full", NAME)
OF_FIT = {"image": "a-01234567", "view": "full", "fit": str(NAME)}


PLACES = [
    (LAYOUT.record, Place(Kind.RECORD)),
    (LAYOUT.config, Place(Kind.CONFIG)),
    (LAYOUT.inputs, Place(Kind.INPUTS)),
    (LAYOUT.claim(7).holder, Place(Kind.HOLDER)),
    (LAYOUT.claim(7).state, Place(Kind.STATE)),
    (LAYOUT.claim(7).cancel, Place(Kind.STOP)),
    (LAYOUT.claim(7).log, Place(Kind.LOG)),
    (LAYOUT.generator("faces"), Place(Kind.GENERATOR)),
    (LAYOUT.scores("a-01234567"), Place(Kind.SCORES, "a-01234567")),
    (FIT.result, Place(Kind.FIT, **OF_FIT)),
    (FIT.rung(8), Place(Kind.PAUSE, **OF_FIT)),
    (FIT.step, Place(Kind.STEP, **OF_FIT)),
    (FIT.arrays("0123"), Place(Kind.ARRAYS, **OF_FIT)),
    (FIT.checkpoint, Place(Kind.CHECKPOINT, **OF_FIT)),
    (FIT.finding(3), Place(Kind.CHECKPOINT, **OF_FIT)),
    (LAYOUT.rung("a-01234567", "one-two", 8), Place(Kind.RUNG, "a-01234567", "one-two")),
    (LAYOUT.tiling("a-01234567"), Place(Kind.TILING, "a-01234567")),
    (LAYOUT.pick("a-01234567", "one-two"), Place(Kind.PICK, "a-01234567", "one-two")),
    (LAYOUT.cohort("a-01234567"), Place(Kind.COHORT, "a-01234567")),
    (LAYOUT.ticket("a-01234567", NAME), Place(Kind.TICKET)),  # type: ignore[arg-type]
    (f"{LAYOUT.all_tickets}/a-01234567/dip.imp.0.start.pt", Place(Kind.START)),
    (LAYOUT.restored("one", "pick", "in/a\nb.png"), Place(Kind.RESTORED, arm="one", name="in/a\nb.png")),
    (LAYOUT.preview("a-01234567", "degraded"), Place(Kind.PREVIEW, "a-01234567")),
    (LAYOUT.preview("a-01234567", "mean", "one"), Place(Kind.PREVIEW, "a-01234567")),
    (LAYOUT.round_preview("a-01234567", "one", 1), Place(Kind.PREVIEW, "a-01234567")),
    (LAYOUT.row("a-01234567"), Place(Kind.ROWS, "a-01234567")),
    (f"{LAYOUT.retried('a-01234567')}/001.json", Place(Kind.RETRIED, "a-01234567")),
    (LAYOUT.cleanup("a-01234567"), Place(Kind.CLEANUP, "a-01234567")),
    (LAYOUT.results("csv"), Place(Kind.TABLE)),
    (LAYOUT.results("parquet"), Place(Kind.TABLE)),
    (LAYOUT.comparison, Place(Kind.TABLE)),
    (LAYOUT.lottery("sparsity.csv"), Place(Kind.TABLE)),
    (LAYOUT.report, Place(Kind.REPORT)),
    (LAYOUT.report_file("results-2.html"), Place(Kind.REPORT)),
    (LAYOUT.study("study.json"), Place(Kind.STUDY)),
    (f"{LAYOUT.root}/notes.txt", Place(Kind.OTHER)),
    (f"{FIT.root}/notes.txt", Place(Kind.OTHER, **OF_FIT)),
]


@pytest.mark.parametrize(("key", "place"), PLACES)
def test_every_key_of_a_run_says_what_lies_there(key: str, place: Place) -> None:
    assert place_of(LAYOUT, key) == place


def test_every_kind_is_tried() -> None:
    assert {place.kind for _, place in PLACES} == set(Kind)
