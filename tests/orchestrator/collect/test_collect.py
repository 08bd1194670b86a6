from dataclasses import replace

import pytest

from orchestrator.collect.collect import delete_leftovers, mark_cleanup
from orchestrator.run.layout import image_key
from orchestrator.store import Store
from tests.orchestrator.collect.left import (
    A,
    B,
    C,
    collected,
    leave,
    leave_all,
)
from tests.orchestrator.conftest import Bench, Encoded, MakeBench, MakeConfig, Reads
from tests.orchestrator.keep.conftest import contents, died
from workers.names import PriorName


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ("none", set()),
        ("full", {("full", A), ("full", B)}),
        ("all", {("crop", A), ("crop", B), ("crop", C), ("full", A), ("full", B), ("full-0-0-32x32", A)}),
    ],
)
def test_only_the_fits_that_are_wanted_are_kept(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str, left: set[tuple[str, str]]
) -> None:
    bench = make_bench(make_config(keep={"fits": keep}), encoded())
    leave_all(bench)
    # A tile's fit is no more than a part of one that is kept.
    bench.store.put(bench.context.layout.fit(bench.image.id, "full-0-0-32x32", PriorName(A)).result, b"")
    other = Bench(bench.context, replace(bench.image, id="other"))
    leave(other, "crop", A, 0.5)
    collected(bench, [B, A])
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == left
    assert len(list(bench.store.keys(bench.context.layout.fits("other")))) == 2


def test_collecting_again_after_a_crash_keeps_the_row_that_is_there(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(keep={"fits": "none"}), encoded(noise_seed=1), encoded())
    leave_all(bench, evaluated=True)
    first = collected(bench, [B, A])
    assert list(bench.store.keys(f"{bench.context.layout.root}/fits")) == []
    before = {key: bench.store.get(key) for key in bench.store.keys(bench.context.layout.root)}
    assert collected(bench, [B, A]) == first
    assert {key: bench.store.get(key) for key in bench.store.keys(bench.context.layout.root)} == before


def test_where_another_attempts_rows_count_no_fit_that_they_may_name_is_deleted(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(make_config(), encoded())
    leave_all(bench)
    theirs = collected(bench, [B, A])
    for seen in (True, False):  # their rows are there from the beginning, or come while this attempt works
        monkeypatch.setattr(bench.store, "exists", lambda key, seen=seen: seen)
        assert collected(bench, [A]) == theirs
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {("full", A), ("full", B)}


def test_collecting_again_lets_go_of_what_a_crash_has_left(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded
) -> None:
    bench = make_bench(make_config(), encoded())
    leave_all(bench)
    first = collected(bench, [B, A])
    leave(bench, "crop", A, 0.1)
    assert collected(bench, [B, A]) == first
    kept = {tuple(key.split("/")[-3:-1]) for key in bench.store.keys(bench.context.layout.fits(bench.image.id))}
    assert kept == {("full", A), ("full", B)}


@pytest.mark.parametrize(("keep", "left"), [("all", {"crop", "full"}), ("full", {"full"}), ("none", set())])
def test_what_a_killed_driver_left_of_an_ended_image_goes_and_that_of_others_stays(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str, left: set[str]
) -> None:
    bench = make_bench(make_config(keep={"fits": keep}), encoded())
    leave_all(bench)
    layout = bench.context.layout
    other = layout.fit("other", "crop", PriorName(A)).checkpoint
    bench.store.put(other, b"")
    for marked in (bench.image.id, "other"):
        mark_cleanup(bench.context, marked)
    delete_leftovers(bench.context, {bench.image.id})
    assert {key.split("/")[-3] for key in bench.store.keys(layout.fits(bench.image.id))} == left
    assert bench.store.exists(other)
    assert list(bench.store.keys(layout.cleanups)) == ([] if keep == "all" else [layout.cleanup("other")])


def test_a_resumed_run_lists_no_fits_of_images_that_were_cleaned_up(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(make_config(), encoded())
    leave_all(bench)
    collected(bench, [B, A])
    layout, listed = bench.context.layout, []
    assert list(bench.store.keys(layout.fits(bench.image.id)))
    keys = bench.store.keys
    monkeypatch.setattr(bench.store, "keys", lambda prefix: listed.append(prefix) or keys(prefix))
    delete_leftovers(bench.context, {bench.image.id})
    assert listed == [layout.cleanups]


@pytest.mark.parametrize("keep", ["full", "none"])
def test_an_image_is_marked_before_it_has_rows_so_that_no_death_leaves_its_fits_unseen(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, monkeypatch: pytest.MonkeyPatch, keep: str
) -> None:
    bench = make_bench(make_config(keep={"fits": keep}), encoded())
    leave_all(bench)
    layout = bench.context.layout

    def die(prefix: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(bench.store, "delete_all", die)
        with pytest.raises(KeyboardInterrupt):
            collected(bench, [B, A])
    assert bench.store.exists(layout.row(bench.image.id))
    delete_leftovers(bench.context, {bench.image.id})
    assert {key.split("/")[-3] for key in bench.store.keys(layout.fits(bench.image.id))} <= {"full"}
    assert list(bench.store.keys(layout.cleanups)) == []


@pytest.mark.parametrize("keep", ["full", "none"])
def test_a_collection_that_is_killed_at_any_moment_is_completed_by_the_next(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, keep: str
) -> None:
    config = make_config(keep={"fits": keep})

    def left(changes: int | None) -> tuple[dict[str, bytes], bool]:
        """What there is in the end, and whether the first attempt was killed."""
        bench = make_bench(config, encoded(), store=str(changes))
        leave_all(bench)
        killed = changes is not None and died(bench.store, changes, lambda dying: _collect_in(bench, dying))
        collected(bench, [B, A], previews=True)
        delete_leftovers(bench.context, {bench.image.id})
        return contents(bench.store), killed

    calm, _ = left(None)
    changes, killed = 0, True
    while killed:
        found, killed = left(changes)
        assert found == calm, f"killed before change {changes}"
        changes += 1
    assert changes > 10


def _collect_in(bench: Bench, store: Store) -> None:
    context = replace(bench.context)
    context.__dict__["store"] = store
    collected(Bench(context, bench.image), [B, A], previews=True)


@pytest.mark.parametrize("simulate", [True, False])
def test_collecting_reads_every_input_once(
    make_bench: MakeBench, make_config: MakeConfig, encoded: Encoded, read: Reads, simulate: bool
) -> None:
    bench = make_bench(make_config(), encoded(), None if simulate else encoded(noise_seed=1), simulate=simulate)
    leave(bench, "full", B, 0.5)
    keys = read(bench)
    assert collected(bench, [B], previews=True).psnr is not None
    inputs = ["a-0123abcd.png"] if simulate else ["a-0123abcd.png", "a-0123abcd.ref"]
    assert keys == [image_key(name) for name in inputs]
