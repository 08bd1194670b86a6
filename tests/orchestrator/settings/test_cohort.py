import pytest

from orchestrator.settings import resolve


def test_rungs_grow_by_their_factor_and_end_before_a_fit_does() -> None:
    cohort = resolve("quickstart", ["cohort.rung_factor=3"]).cohort
    assert cohort.rungs(100, 900) == [100, 300]
    assert cohort.rungs(100, 901) == [100, 300, 900]
    assert cohort.rungs(100, 100) == []


@pytest.mark.parametrize(("task", "share"), [("denoise", 1 / 2), ("jpeg", 1 / 2), ("inpaint", 1 / 4)])
def test_no_cohort_is_halved_before_its_errors_tell_anything(task: str, share: float) -> None:
    config = resolve("quickstart", [f"task.name={task}", "cohort.iterations=300", "fit.iterations=900"])
    # With 300 iterations, tau of the held-out error with the final PSNR is -0.26 after 100 when denoising, -0.47 after
    # 150 and -0.76 after 200; for inpainting it is -0.6 from 75 on.
    assert (config.first_rung("crop"), config.first_rung("full")) == (300 * share, 900 * share)
    assert config.cohort.rungs(config.first_rung("crop"), 300)[0] == 300 * share


def test_a_first_rung_that_was_set_stays_where_it_is() -> None:
    # A run's record has it as a number, also where it was the default of an earlier version.
    assert resolve("quickstart", ["cohort.first_rung=100"]).first_rung("crop") == 100
