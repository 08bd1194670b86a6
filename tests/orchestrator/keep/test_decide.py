from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.keep.decide import Known, named_banks, named_inputs, runs_to_go, unnamed
from orchestrator.store import Entry

NAMES = st.sampled_from("abcdefgh")
TIMES = st.sampled_from(["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"])
SETS = st.frozensets(st.sampled_from(["images/aa/1", "images/aa/2", "images/bb/3"]))
KNOWN = st.builds(
    Known,
    run=NAMES,
    created=TIMES,
    ended=st.none() | TIMES,
    inputs=st.none() | SETS,
    banks=st.none() | SETS,
    tickets=st.none() | NAMES,
)
RUNS = st.lists(KNOWN, unique_by=lambda run: run.run)
ENTRIES = st.lists(
    st.builds(
        Entry,
        st.tuples(st.sampled_from("xy"), NAMES, NAMES).map("/".join),
        st.just(1),
        st.floats(0, 100),
    ),
    unique_by=lambda entry: entry.key,
)


@given(RUNS, st.integers(0, 9), st.none() | TIMES)
def test_only_runs_that_have_ended_and_that_no_kept_run_needs_go(
    runs: list[Known], keep: int, before: str | None
) -> None:
    gone = runs_to_go(runs, keep, before)
    kept = [run for run in runs if run.run not in gone]
    assert len(set(gone)) == len(gone)
    assert len(kept) >= min(keep, len(runs))
    for run in runs:
        if run.run in gone:
            assert run.ended is not None
            assert before is None or run.ended < before
            assert run.run not in {each.tickets for each in kept}
            assert sum((other.created, other.run) > (run.created, run.run) for other in runs) >= keep
    assert runs_to_go(kept, keep, before) == [] or before is not None or keep < len(kept)
    assert set(runs_to_go(runs, keep + 1, before)) <= set(gone)


def test_runs_go_newest_first_and_a_run_whose_tickets_are_taken_stays() -> None:
    one, two, three, four = (
        Known(name, f"2026-01-0{day}", f"2026-01-0{day}", frozenset(), frozenset())
        for day, name in enumerate(("one", "two", "three", "four"), 1)
    )
    assert runs_to_go([one, three, two, four], 1) == ["three", "two", "one"]
    assert runs_to_go([one, three, two, replace(four, tickets="one")], 1) == ["three", "two"]
    assert runs_to_go([one, two, replace(three, tickets="two"), replace(four, tickets="three")], 1) == ["one"]
    assert runs_to_go([one, replace(two, ended=None)], 0) == ["one"]
    assert runs_to_go([one, two], 0, "2026-01-02") == ["one"]


@given(RUNS, KNOWN)
def test_what_one_run_names_is_named_and_one_of_which_nothing_is_known_names_everything(
    runs: list[Known], another: Known
) -> None:
    for named, of in ((named_inputs, lambda run: run.inputs), (named_banks, lambda run: run.banks)):
        alone, together = named(runs), named([*runs, another])
        assert (alone is None) == any(of(run) is None for run in runs)
        assert together is None or (alone is not None and of(another) is not None and together == alone | of(another))


@given(ENTRIES, st.sets(st.tuples(st.sampled_from("xy"), NAMES).map("/".join)), st.floats(0, 100))
def test_only_whole_old_groups_that_nobody_names_go(entries: list[Entry], named: set[str], before: float) -> None:
    gone = unnamed(entries, 2, named, before)
    groups = {entry.key.rpartition("/")[0] for entry in gone}
    assert not groups & named
    assert all(entry.modified <= before for entry in gone)
    assert [entry for entry in entries if entry.key.rpartition("/")[0] in groups] == gone
    assert set(unnamed(entries, 2, named | {"x/a"}, before)) <= set(gone)
    assert set(unnamed(entries, 2, named, before / 2)) <= set(gone)
