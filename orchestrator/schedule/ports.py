"""What the loop needs of the world: who does the work, and where ends are recorded. Ray and the store stand behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.fit.job import FitJob
from orchestrator.resources.share import Resources
from orchestrator.schedule.actions import EndImage
from orchestrator.schedule.questions import Question
from orchestrator.schedule.queue import QueueStanding
from orchestrator.score.bank import BankPart


@dataclass(frozen=True)
class Answered:
    """The work was done; this is what it returned."""

    value: Any


@dataclass(frozen=True)
class Unanswered:
    """The work was not done. ``lost`` says that its worker is gone, ``rejected`` that the image cannot be worked on."""

    reason: str
    lost: bool = False
    rejected: bool = False


@dataclass
class Share:
    """What trials may use; it changes when a machine with a smaller GPU joins."""

    resources: Resources


class Crew(Protocol):
    """Who does the work; `orchestrator.schedule.crew.RayCrew`, or a fake in tests. For the queue's part see `JobQueue`."""

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Those of the references that are ready, one at most, after so many seconds at most."""

    def answer(self, reference: Any) -> Answered | Unanswered:
        """What became of a reference that is ready. Raises StoreError where the store failed."""

    def ask(self, question: Question) -> Any:
        """A reference to the answer of an image worker."""

    def compute(self, part: BankPart) -> Any:
        """A reference to the end of a scoring task."""

    def cancel_computing(self) -> None:
        """Cancel all scoring tasks."""

    def start_session(self, number: int) -> Any:
        """A reference to the end of a new session of Tune, which takes fits from the queue."""

    def finished(self) -> Any:
        """A reference to the list of `Finished` trials since the last call."""

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        """Let fits wait, before or after those that wait already."""

    def drop(self, image: str) -> None:
        """Forget the fits of an image that wait."""

    def drain(self) -> None:
        """Hand out no fit any more."""

    def under_way(self) -> int:
        """How many fits have been handed out and are not yet told as finished."""

    def standing(self) -> QueueStanding:
        """How many fits run and wait."""

    def set_bound(self, bound: int) -> None:
        """At most so many fits are handed out that have not ended."""

    def set_may_idle(self, may_idle: bool) -> None:
        """Whether a session without work may wait for more."""

    def wants_session(self, number: int) -> bool:
        """Whether fits wait that no session takes; the session of this number will."""

    def give_back(self, number: int) -> list[FitJob]:
        """The fits that a session had taken and not finished."""

    def close(self) -> None:
        """No fit comes any more."""


class Endings(Protocol):
    """Where the end of an image is recorded (`orchestrator.schedule.ledger.StoreLedger`)."""

    def end(self, ended: EndImage) -> None:
        """Write the rows of an image that goes no further, and delete its fits."""
