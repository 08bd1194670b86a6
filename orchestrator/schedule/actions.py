"""Actions as data: the scheduler returns them, the loop (`orchestrator.schedule.loop`) carries them out and reports the
results."""

from dataclasses import dataclass

from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.run.rows import RowState
from orchestrator.schedule.questions import Question
from orchestrator.score.bank import BankPart


@dataclass(frozen=True)
class Start:
    """Put fits into the queue: before those that already wait (``first``), or after them."""

    jobs: tuple[FitJob, ...]
    first: bool


@dataclass(frozen=True)
class Ask:
    """Let an image worker answer a question; ``tries`` counts the workers that died while answering it."""

    question: Question
    tries: int = 0


@dataclass(frozen=True)
class Compute:
    """Compute a part of a bank; ``tries`` counts the attempts that failed."""

    part: BankPart
    tries: int = 0


@dataclass(frozen=True)
class EndImage:
    """End an image early: drop its waiting fits, write rows that give the reason, and delete its fits; say so."""

    image: InputImage
    state: RowState
    reason: str


@dataclass(frozen=True)
class Note:
    """Show a line to everyone who follows the run."""

    text: str


Action = Start | Ask | Compute | EndImage | Note
