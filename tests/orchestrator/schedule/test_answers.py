from typing import Any

import pytest
import ray
from ray.exceptions import ActorDiedError, RayTaskError, WorkerCrashedError

from orchestrator.errors import DamagedError, ImageRejectedError, StoreError, StoreUnavailableError
from orchestrator.schedule.answers import answer_of, cause
from orchestrator.schedule.ports import Answered, Unanswered


def task_error(error: Exception) -> RayTaskError:
    """An error as Ray raises it in the driver: of the kind of its cause, with the remote traceback as its text."""
    raised: RayTaskError = RayTaskError("work", "Traceback ...\n  of the worker", error).as_instanceof_cause()
    return raised


@pytest.fixture
def becomes(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets a task end with a value, or an error."""

    def end(outcome: Any) -> None:
        def get(reference: Any) -> Any:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        monkeypatch.setattr(ray, "get", get)

    return end


def test_a_value_is_an_answer(becomes: Any) -> None:
    becomes({"random": []})
    assert answer_of("reference") == Answered({"random": []})


def test_what_the_work_raised_is_the_reason_on_one_line_without_the_remote_traceback(becomes: Any) -> None:
    becomes(task_error(ValueError("no\nsuch  thing")))
    assert answer_of("reference") == Unanswered("ValueError: no such thing")


def test_an_image_that_cannot_be_worked_on_is_rejected_in_its_own_words(becomes: Any) -> None:
    becomes(task_error(ImageRejectedError("its copy in the store is damaged")))
    assert answer_of("reference") == Unanswered("its copy in the store is damaged", rejected=True)


@pytest.mark.parametrize("error", [WorkerCrashedError(), ActorDiedError()])
def test_a_worker_that_is_gone_is_lost(becomes: Any, error: Exception) -> None:
    becomes(error)
    answer = answer_of("reference")
    assert isinstance(answer, Unanswered)
    assert answer.lost
    assert "\n" not in answer.reason


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (StoreError("cannot write"), StoreError),
        (DamagedError("it is damaged"), StoreError),
        (StoreUnavailableError("the disk is full"), StoreUnavailableError),
    ],
)
def test_a_store_in_trouble_is_raised_again_without_the_remote_traceback(
    becomes: Any, error: Exception, kind: type[Exception]
) -> None:
    becomes(task_error(error))
    with pytest.raises(kind) as caught:
        answer_of("reference")
    assert type(caught.value) is kind
    assert str(caught.value) == str(error)


def test_a_reason_is_not_endless() -> None:
    assert len(cause(ValueError("x" * 1000))) == 300
