import threading
from collections.abc import Iterator

from orchestrator.doctor.check import Check, answers
from orchestrator.errors import StoreError


def test_a_question_that_fails_or_hangs_is_an_answer_and_leaves_what_was_told_before() -> None:
    def fails() -> Iterator[Check]:
        yield Check("x", "here")
        raise ValueError("two\nlines")

    def misses() -> Iterator[Check]:
        raise ImportError("no module")
        yield

    def errs() -> Iterator[Check]:
        raise StoreError("the URL is wrong")
        yield

    released = threading.Event()

    def hangs() -> Iterator[Check]:
        yield Check("x", "here")
        released.wait(30)

    told, failed = answers("x", fails)
    assert told == Check("x", "here")
    assert (failed.check, failed.ok, failed.found) == ("x", False, "ValueError: two lines")
    assert "make install" in str(next(answers("x", misses)).advice)
    assert [check.found for check in answers("x", errs)] == ["the URL is wrong"]
    told, late = answers("x", hangs, deadline_s=1)
    released.set()
    assert told == Check("x", "here")
    assert (late.ok, late.found) == (False, "no answer within 1 s")
