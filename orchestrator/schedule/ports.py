"""The loop's interfaces to the world: one does the work (Ray), one records the ends of images (the store)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.fit.job import FitJob
from orchestrator.ingest.bring import Arrival
from orchestrator.resources.share import Resources
from orchestrator.schedule.actions import EndImage
from orchestrator.schedule.questions import Question
from orchestrator.schedule.queue import QueueStanding
from orchestrator.score.bank import BankPart


@dataclass(frozen=True)
class Answered:
    """The work was done and returned this value."""

    value: Any


@dataclass(frozen=True)
class Unanswered:
    """The work was not done. ``lost`` means that its worker is gone, ``rejected`` that the image cannot be worked
    on."""

    reason: str
    lost: bool = False
    rejected: bool = False


@dataclass
class Share:
    """The resources that trials may use; they change when a machine with a smaller GPU joins."""

    resources: Resources


class Crew(Protocol):
    """Does the work: `orchestrator.schedule.crew.RayCrew`, or a fake in tests. `JobQueue` documents the queue's
    methods."""

    def wait(self, references: Sequence[Any], seconds: float) -> list[Any]:
        """Wait until a reference is ready, at most so many seconds; return a list of at most one."""

    def answer(self, reference: Any) -> Answered | Unanswered:
        """Fetch the result of a reference that is ready. Raises StoreError if the store failed."""

    def ask(self, question: Question) -> Any:
        """Let an image worker answer a question; return a reference to the answer."""

    def compute(self, part: BankPart) -> Any:
        """Start a scoring task; return a reference to its end."""

    def cancel_computing(self) -> None:
        """Cancel all scoring tasks."""

    def start_session(self, number: int) -> Any:
        """Start a session of Tune that takes fits from the queue; return a reference to its end."""

    def finished(self) -> Any:
        """Return a reference to the list of `Finished` trials since the last call."""

    def put(self, jobs: Sequence[FitJob], *, first: bool) -> None:
        """Add fits before or after those that already wait."""

    def drop(self, image: str) -> None:
        """Drop the waiting fits of an image."""

    def drain(self) -> None:
        """Hand out no more fits."""

    def under_way(self) -> int:
        """How many fits have been handed out and not yet reported as finished."""

    def standing(self) -> QueueStanding:
        """How many fits run and wait."""

    def set_bound(self, bound: int) -> None:
        """Limit how many fits are handed out at a time and not yet finished."""

    def set_may_idle(self, may_idle: bool) -> None:
        """Set whether a session without work may wait for more."""

    def wants_session(self, number: int) -> bool:
        """Whether fits wait that no session takes; the session of this number will take them."""

    def give_back(self, number: int) -> list[FitJob]:
        """Take back the fits that a session had taken and not finished."""

    def close(self) -> None:
        """Announce that no more fits will be added."""


class Arrivals(Protocol):
    """Images on their way to the store (`orchestrator.ingest.bring.Bringing`).

    Attributes:
        coming: How many files have not arrived yet.
    """

    coming: int

    def take(self, seconds: float = 0.0) -> Sequence[Arrival]:
        """What has arrived since the last call; waits at most so long for the first. Raises StoreError if the store
        failed, and ImagesUnavailableError if the folder of the images has vanished."""


class Endings(Protocol):
    """Records the images that end early (`orchestrator.schedule.ledger.StoreLedger`)."""

    def end(self, ended: EndImage) -> bool:
        """Write the rows of an image that ended early, and delete its fits; return False if another attempt's rows are
        there already."""
