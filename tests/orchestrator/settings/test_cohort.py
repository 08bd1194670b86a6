from orchestrator.settings import resolve


def test_rungs_grow_by_their_factor_and_end_before_a_fit_does() -> None:
    cohort = resolve("quickstart", ["cohort.first_rung=100", "cohort.rung_factor=3"]).cohort
    assert cohort.rungs(900) == [100, 300]
    assert cohort.rungs(901) == [100, 300, 900]
    assert cohort.rungs(100) == []
