"""What is to be done in the world, as data: the loop does it (`orchestrator.schedule.loop`) and reports what became of it."""

from dataclasses import dataclass

from orchestrator.fit.job import FitJob
from orchestrator.run.inputs import InputImage
from orchestrator.run.rows import RowState
from orchestrator.schedule.questions import Question
from orchestrator.score.bank import BankPart


@dataclass(frozen=True)
class Start:
    """Put fits into the queue: before those that wait already (``first``), or after them."""

    jobs: tuple[FitJob, ...]
    first: bool


@dataclass(frozen=True)
class Ask:
    """Let an image worker answer a question; ``tries`` counts the workers that were lost with it."""

    question: Question
    tries: int = 0


@dataclass(frozen=True)
class Compute:
    """Compute a part of a bank; ``tries`` counts the attempts that failed."""

    part: BankPart
    tries: int = 0


@dataclass(frozen=True)
class EndImage:
    """Drop the fits of an image that wait, write its rows, which say why it went no further, and delete its fits."""

    image: InputImage
    state: RowState
    reason: str


@dataclass(frozen=True)
class Note:
    """Say a line to whoever follows the run."""

    text: str


Action = Start | Ask | Compute | EndImage | Note
