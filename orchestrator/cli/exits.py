"""The exit statuses of the commands, and which error ends with which."""

from enum import IntEnum

from orchestrator.errors import (
    HoursSpentError,
    ImagesUnavailableError,
    RayLostError,
    RunCancelledError,
    RunFailedError,
    StoreUnavailableError,
)
from orchestrator.run.attempt import RunState


class Exit(IntEnum):
    """How a command ended; the numbers above 60 are those of sysexits.h.

    None is 1, with which Python and Ray end a process that they cannot go on with.
    """

    DONE = 0
    MISTAKE = 2
    """The command cannot be carried out as asked; a line says why."""
    SOME_FAILED = 65
    """The run is finished, and some images have no result; or something could not be read."""
    SPENT = 69
    """The run has used its machine hours. `resume` with a larger `resources.hours` goes on with it."""
    FAILED = 70
    """The run failed, or the program did."""
    DAMAGED = 74
    """`verify` found objects that are damaged, missing or left over."""
    PAUSED = 75
    """The run is paused: the store, the folder of its images or Ray is in trouble. `resume` goes on with it."""
    WRONG = 78
    """The doctor found something wrong with the set-up."""
    STOPPED = 130
    """The run was interrupted or cancelled."""


_OF_ERRORS = {
    StoreUnavailableError: Exit.PAUSED,
    RayLostError: Exit.PAUSED,
    ImagesUnavailableError: Exit.PAUSED,
    HoursSpentError: Exit.SPENT,
    RunFailedError: Exit.FAILED,
    RunCancelledError: Exit.STOPPED,
}
_OF_STATES = {
    RunState.CANCELLED: Exit.STOPPED,
    RunState.INTERRUPTED: Exit.PAUSED,
    RunState.SPENT: Exit.SPENT,
    RunState.FAILED: Exit.FAILED,
}


def exit_of_error(error: Exception) -> Exit:
    """The exit status of a command that ends with an error of this project."""
    return next((status for kind, status in _OF_ERRORS.items() if isinstance(error, kind)), Exit.MISTAKE)


def exit_of_state(state: RunState) -> Exit:
    """The exit status of a command that has followed a run to this state, which is not the finished one."""
    return _OF_STATES[state]
