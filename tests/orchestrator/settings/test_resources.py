from tests.orchestrator.settings.given import mistakes


def test_a_trial_cannot_have_more_than_one_gpu() -> None:
    (line,) = mistakes("resources.gpus=2")
    assert "gpus must be between 0 and 1" in line
