"""Ray's side of the short work: actors that answer questions about images, and the task that computes part of a
bank."""

from itertools import cycle
from typing import Any

import ray
import torch

from orchestrator.collect.collect import collect
from orchestrator.collect.fits import picked_network
from orchestrator.fit.assemble import assemble, check_tiles
from orchestrator.pick.decide import decide
from orchestrator.pick.halve import halve
from orchestrator.run.context import RunContext
from orchestrator.run.inputs import InputImage
from orchestrator.run.versions import check_code
from orchestrator.schedule.questions import Assemble, Collect, Decide, Halve, PickNetwork, Question, Score
from orchestrator.score.bank import BankPart, compute_part
from orchestrator.score.score import Scored, score_image
from workers.tiles import Tiling


def answer(context: RunContext, question: Question) -> Any:
    """Answer a question: with a cohort per arm, the members that go on, a decision, a network's name,
    the state of a fit, or rows.

    An image that has its rows already has no cohorts: the answer is None. Another driver may have written them since
    this one listed all rows, and listings of some services lag.

    Raises:
        ImageRejectedError: the image cannot be worked on.
        StoreError: the store failed.
    """
    match question:
        case Score(image, without, tiling):
            return (
                None if context.store.exists(context.layout.row(image.id)) else _score(context, image, without, tiling)
            )
        case Halve(image, arm, cohort, iterations):
            return halve(context, image, arm, cohort, iterations)
        case Decide(image, arm, cohort, ended):
            return decide(context, image, arm, cohort, ended)
        case PickNetwork(image, chosen):
            return picked_network(context, image, chosen)
        case Assemble(image, name, tiling, until):
            return assemble(context, image, tiling, name, until)
        case Collect(image, chosen, previews):
            return collect(context, image, chosen, previews=previews)


def _score(
    context: RunContext, image: InputImage, without: frozenset[str], tiling: Tiling | None
) -> dict[str, list[Scored]]:
    if tiling is not None:
        check_tiles(context, image, tiling)
    return score_image(context, image, without)


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=5)
class ImageWorker:
    """Answers questions. It takes no CPU from the trials.

    It is an actor and not a task: Ray ends idle workers beyond its number of CPUs, and a new worker would have to
    import torch for every question.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        torch.set_num_threads(context.threads)

    def answer(self, question: Question) -> Any:
        """See `answer`."""
        return answer(self._context, question)


class ImageWorkers:
    """Some image workers on one node, asked in turn."""

    def __init__(self, context: RunContext, count: int, strategy: Any) -> None:
        actors: Any = ImageWorker
        actor = actors.options(scheduling_strategy=strategy)
        self._workers = cycle([actor.remote(context) for _ in range(count)])

    def ask(self, question: Question) -> Any:
        """Ask the next worker; return Ray's reference to the answer."""
        return next(self._workers).answer.remote(question)


def compute_bank_part(context: RunContext, part: BankPart) -> None:
    """Compute the fingerprints of a chunk of candidates; this is a scoring task."""
    check_code(context.code)
    torch.set_num_threads(context.threads)
    compute_part(context.store, part, context.config, context.score_device)
