"""The results of work that Ray does for the driver: a value, or the reason why there is none."""

from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from orchestrator.errors import ImageRejectedError, StoreError, StoreUnavailableError
from orchestrator.schedule.ports import Answered, Unanswered

_LONGEST_REASON = 300


def answer_of(reference: Any) -> Answered | Unanswered:
    """Fetch the result of a task whose reference is ready.

    Raises:
        StoreError: the store failed, which is no fault of the work.
    """
    try:
        return Answered(ray.get(reference))
    except StoreError as error:
        # Leave out the remote traceback that Ray adds.
        kind = StoreUnavailableError if isinstance(error, StoreUnavailableError) else StoreError
        raise kind(_message(error)) from None
    except ImageRejectedError as error:
        return Unanswered(cause(error), rejected=True)
    except RayError as error:
        return Unanswered(cause(error), lost=not isinstance(error, RayTaskError))


def cause(error: Exception) -> str:
    """Describe a task's error in one line."""
    if isinstance(error, ImageRejectedError):
        return _message(error)[:_LONGEST_REASON]
    kind = type(error.cause if isinstance(error, RayTaskError) else error).__name__
    return f"{kind}: {_message(error)}"[:_LONGEST_REASON]


def _message(error: Exception) -> str:
    """Return the message that an exception was raised with, on one line."""
    return " ".join(str(error.cause if isinstance(error, RayTaskError) else error).split())
