"""The driver in a simulated world; `benchmarks.simulate` has more seeds."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import pytest

from orchestrator.drive import driver
from orchestrator.run.formats import RecordFormat
from orchestrator.schedule import crashes
from orchestrator.schedule.questions import Question, Score
from orchestrator.schedule.workers import answer
from orchestrator.score.score import score_image
from tests.simulation.history import History, history_of

SEEDS = 60
_FOUND_WITHIN = 400


@pytest.mark.parametrize("first", range(0, SEEDS, 20))
def test_no_history_breaks_a_law(first: int) -> None:
    for seed in range(first, first + 20):
        history = history_of(seed)
        assert not history.mistakes, f"python -m benchmarks.simulate --seeds 1 --seed0 {seed}\n{history}"


def test_a_seed_gives_its_history_again() -> None:
    first, second = history_of(3), history_of(3)
    assert first.events == second.events
    assert len(first.events) > 50


# Faults, some of which the product had. If the simulation no longer finds them, it has become blind.


def _deleted_too_early(context: Any, image: str) -> None:
    """The fits of an image go before its rows are there."""
    context.store.delete_all(context.layout.fits(image))


def _begun_again(context: Any, question: Question) -> Any:
    """An image is begun without a look whether it has ended."""
    if isinstance(question, Score):
        return score_image(context, question.image, question.without)
    return answer(context, question)


def _retried(crash: Any, history: Any, *, alone: bool, retries: int, more: int) -> Any:
    """The budget of retries is another."""
    return crashes.decide(crash, history, alone=alone, retries=max(0, retries + more))


def _finished_before_the_tables(store: Any, record: Any, known: Any = (), write: Any = driver._write_tables) -> Any:
    """A finished run is reported without its rows."""
    return [] if record.state == "finished" else write(store, record, known)


def _overwritten(self: RecordFormat[Any], store: Any, key: str, record: Any, *, indent: int | None = None) -> Any:
    """The last record counts, and not the first."""
    store.put(key, self.to_json(record, indent=indent))
    return record


def _nothing(*_: Any) -> None:
    """Masks for the next round are not left, or pauses not read."""


def _none(*_: Any) -> list[str]:
    """The rows that a finished run has are known by a listing only."""
    return []


@pytest.mark.parametrize(
    ("target", "fault", "law", "first"),
    [
        ("orchestrator.collect.collect.mark_cleanup", _deleted_too_early, 3, 0),
        ("tests.simulation.crew.answer", _begun_again, 2, 0),
        ("orchestrator.schedule.scheduler.decide", partial(_retried, more=1), 7, 0),
        ("orchestrator.schedule.scheduler.decide", partial(_retried, more=-1), 7, 0),
        ("orchestrator.drive.driver._write_tables", _finished_before_the_tables, 9, 0),
        ("orchestrator.drive.driver._all_rows", _none, 9, 0),
        ("orchestrator.run.formats.RecordFormat.create_or_read", _overwritten, 1, 0),
        ("orchestrator.collect.fits.Fits._last_pause", _nothing, 8, 0),
        ("orchestrator.prune.rounds.leave_next", _nothing, 8, 0),
    ],
)
def test_a_fault_is_found(target: str, fault: Callable[..., Any], law: int, first: int) -> None:
    with patch(target, fault):
        broken: History | None = next(
            (each for each in map(history_of, range(first, first + _FOUND_WITHIN)) if each.mistakes), None
        )
    assert broken is not None
    assert broken.mistakes[0].startswith(f"law {law}")
