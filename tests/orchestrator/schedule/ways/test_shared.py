from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.schedule.crashes import History
from orchestrator.schedule.ways.shared import Begin, Served, SharedFits
from orchestrator.schedule.ways.wishes import TO_THE_END, FitKey
from workers.names import PriorName

A: FitKey = ("crop", PriorName("dip"))
B: FitKey = ("crop", PriorName("dip-inpaint"))


def test_a_fit_that_several_want_is_begun_once_and_serves_them_all() -> None:
    fits: SharedFits[str] = SharedFits()
    fits.want("one", [A, B], TO_THE_END)
    fits.want("two", [A], TO_THE_END)
    assert fits.serve([A, B, A]) == ([Begin(A, None, ("one", "two")), Begin(B, None, ("one",))], [])
    assert fits.serve([A, B]) == ([], [])
    fits.ended(A, done=True)
    assert fits.serve([A]) == ([], [Served("one", A, done=True), Served("two", A, done=True)])
    assert fits.serve([A]) == ([], [])


def test_the_nearest_rung_is_reached_first_and_the_fit_goes_on_for_those_who_want_more() -> None:
    fits: SharedFits[str] = SharedFits()
    fits.want("far", [A], TO_THE_END)
    fits.want("near", [A], 100)
    assert fits.serve([A]) == ([Begin(A, 100, ("far", "near"))], [])
    fits.paused(A)
    assert fits.serve([A]) == ([Begin(A, None, ("far",))], [Served("near", A, done=True)])
    fits.ended(A, done=False)
    assert fits.serve([A]) == ([], [Served("far", A, done=False)])


def test_a_fit_that_has_ended_serves_who_comes_later() -> None:
    fits: SharedFits[str] = SharedFits()
    fits.want("one", [A], 100)
    fits.serve([A])
    fits.ended(A, done=True)
    fits.serve([A])
    fits.want("two", [A], 400)
    assert fits.serve([A]) == ([], [Served("two", A, done=True)])


def test_a_fit_that_was_stopped_is_begun_again_for_those_who_did_not_lose() -> None:
    fits: SharedFits[str] = SharedFits()
    fits.want("contest", [A], TO_THE_END)
    fits.serve([A])
    fits.want("late", [A], TO_THE_END)
    fits.stopped(A, ["contest"])
    assert not fits.running(A)
    assert fits.serve([A]) == ([Begin(A, None, ("late",))], [])


def test_crashes_are_remembered_and_change_nothing_else() -> None:
    fits: SharedFits[str] = SharedFits()
    fits.want("one", [A], 100)
    fits.serve([A])
    fits.crashed(A, History(crashes=2))
    assert (fits.history(A), fits.running(A), fits.running(B)) == (History(crashes=2), True, False)


@settings(deadline=None)
@given(st.lists(st.sampled_from([50, 100, 200, TO_THE_END]), min_size=1, max_size=6), st.data())
def test_every_wish_is_fulfilled_once_and_never_too_early(wishes: list[int], data: st.DataObject) -> None:
    fits: SharedFits[int] = SharedFits()
    reached, served = 0, []
    waiting = list(enumerate(wishes))
    while True:
        some = data.draw(st.integers(0 if fits.running(A) else min(1, len(waiting)), len(waiting)))
        for number, until in waiting[:some]:
            fits.want(number, [A], until)
        waiting = waiting[some:]
        begin, ready = fits.serve([A]) if some or reached else ([], [])
        served += [each.who for each in ready]
        assert all(wishes[each.who] <= reached for each in ready)
        if begin:
            (trial,) = begin
            assert (trial.until or TO_THE_END) > reached
        if reached and not waiting and not fits.running(A):
            break
        if fits.running(A):
            goal = fits._fits[A].running
            assert goal is not None
            if goal == TO_THE_END or data.draw(st.booleans()):
                fits.ended(A, done=True)
                reached = TO_THE_END
            else:
                fits.paused(A)
                reached = goal
    assert sorted(served) == list(range(len(wishes)))
