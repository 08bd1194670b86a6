from pathlib import Path

import pytest

from tests.orchestrator.settings.given import mistakes, written


@pytest.mark.parametrize(
    ("assignment", "suggestion"),
    [
        ("fit.iteratons=6", "fit.iterations"),
        ("fit.learning=0.1", "fit.learning_rate"),
        ("sigma=4", "task.sigma"),
        ("iterations=4", "cohort.iterations"),
        ("cohort.width=9", "network.width"),
        ("width=8", "network.width"),
        ("fit.crop_px=64", "cohort.crop_px"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_that_exists(assignment: str, suggestion: str) -> None:
    (line,) = mistakes(assignment)
    name = assignment.split("=", maxsplit=1)[0]
    assert line == f"{name}: no such setting; did you mean {suggestion}?"


def test_an_unknown_section_is_refused_with_the_nearest() -> None:
    assert mistakes("fti.iterations=6", "fti.patience=6") == ["fti: no such setting; did you mean fit?"]


def test_an_unknown_name_near_to_nothing_is_refused_with_the_names_there_are() -> None:
    (line,) = mistakes("fit.zzz=1")
    assert line.startswith("fit.zzz: no such setting; known here: stopping, iterations, patience, ")
    (line,) = mistakes("qqq=1")
    assert line.startswith("qqq: no such setting; known here: seed, arms, task, ")


def test_all_mistakes_are_reported_at_once_one_a_line(tmp_path: Path) -> None:
    file = written(tmp_path, "fit: {iterations: 0, patiense: 4}\nnetwork: {width: 6}\n7: 8\n")
    lines = mistakes("nonsense", "task.sigma=-1", "arms=[Upper]", "score.draws=x", file=file)
    starts = [
        "--set nonsense",
        "arms.0.name",
        "arms.0.like",
        "task.sigma",
        "network.width",
        "score.draws",
        "fit.iterations",
        "fit.patiense",
        "7",
    ]
    assert sorted(line.split(":")[0] for line in lines) == sorted(starts)


def test_a_name_of_two_lines_is_still_reported_on_one() -> None:
    assert len(mistakes("fit.a\nb=3")) == 1
    assert len(mistakes("fit\niterations")) == 1


@pytest.mark.parametrize(
    ("assignment", "value"),
    [
        ("fit.iterations=0", "0"),
        ("fit.iterations=many", "'many'"),
        ("fit.iterations=1.5", "1.5"),
        ("fit.iterations=", "None"),
        ("fit.iterations=.nan", "nan"),
        ("fit.learning_rate=.inf", "inf"),
        ("fit.held_out=0.6", "0.6"),
        ("fit.average=1", "1"),
        ("task.sigma=256", "256"),
        ("network.width=130", "130"),
        ("network.width=2", "2"),
        ("score.candidates=0", "0"),
        ("score.candidates=100001", "100001"),
        ("cohort.view=half", "'half'"),
        ("cohort.crop_px=31", "31"),
        ("cohort.halving=often", "'often'"),
        ("cohort.keep_share=1", "1"),
        ("cohort.rung_factor=1", "1"),
        ("pick.rule=best", "'best'"),
        ("task.name=rain", "'rain'"),
        ("task.factor=5", "5"),
        ("task.missing=1", "1"),
        ("task.peak=0", "0"),
        ("task.quality=96", "96"),
        ("fit.stopping=late", "'late'"),
        ("arms=[]", "[]"),
        ("arms=dip", "'dip'"),
        ("seed=-1", "-1"),
        ("keep.fits=some", "'some'"),
        ("fit=3", "3"),
        ("network.input_channels=photo", "'photo'"),
        ("network.input_channels=0", "0"),
        ("network.input_channels=-3", "-3"),
    ],
)
def test_a_value_out_of_range_is_reported_with_its_setting(assignment: str, value: str) -> None:
    (line,) = mistakes(assignment)
    assert line.startswith(f"{assignment.split('=', maxsplit=1)[0]}: ")
    assert line.endswith(f", not {value}")
