"""The driver in a simulated world; `benchmarks.simulate` has more seeds."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import pytest

from orchestrator.collect import collect
from orchestrator.run import claim
from orchestrator.run.rows import rows_of
from orchestrator.schedule.questions import Question, Score
from orchestrator.schedule.workers import answer
from orchestrator.score.score import score_image
from tests.simulation.history import History, history_of

SEEDS = 200
_FOUND_WITHIN = 600


@pytest.mark.parametrize("first", range(0, SEEDS, 50))
def test_no_history_breaks_a_law(first: int) -> None:
    for seed in range(first, first + 50):
        history = history_of(seed)
        assert not history.mistakes, f"python -m benchmarks.simulate --seeds 1 --seed0 {seed}\n{history}"


def test_a_seed_gives_its_history_again() -> None:
    first, second = history_of(3), history_of(3)
    assert first.events == second.events
    assert len(first.events) > 50


# Faults that the product had. If the simulation no longer finds them, it has become blind.


def _taken_for_dead(store: Any, layout: Any, attempt: Any, *, note: Any, clock: Any, sleep: Any) -> Any:
    """A look that took long is taken for the present (A13)."""
    began = clock()
    while clock() - began < claim.STALE_S:
        sleep(claim._POLL_S)
        seen = claim.read_attempt(store, layout.claim(attempt.holder.number))
        if seen is None or seen.is_over:
            return seen
        if seen.standing.beat != attempt.standing.beat:
            raise claim.UserMistakeError("it is alive")
    return attempt


def _named_fits_deleted(context: Any, image: Any) -> Any:
    """Rows that another attempt has written are no reason to keep fits (A14)."""
    rows = rows_of(context.store, context.layout.row(image.id))
    collect._delete_fits(context, image, lambda root: False)
    return rows


def _begun_again(context: Any, question: Question) -> Any:
    """An image is begun without a look whether it has ended."""
    if isinstance(question, Score):
        return score_image(context, question.image, question.without)
    return answer(context, question)


@pytest.mark.parametrize(
    ("target", "fault", "law", "first"),
    [
        ("orchestrator.run.claim._watch", _taken_for_dead, "law 4", 450),
        ("orchestrator.collect.collect._rows_of_another", _named_fits_deleted, "law 3", 0),
        ("tests.simulation.crew.answer", _begun_again, "law 2", 0),
    ],
)
def test_a_fault_is_found(target: str, fault: Callable[..., Any], law: str, first: int) -> None:
    with patch(target, fault):
        broken: History | None = next(
            (each for each in map(history_of, range(first, first + _FOUND_WITHIN)) if each.mistakes), None
        )
    assert broken is not None
    assert broken.mistakes[0].startswith(law)
