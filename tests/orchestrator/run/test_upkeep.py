from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import SupersededError
from orchestrator.run import claim as module
from orchestrator.run.attempt import HOLDERS, Holder, RunState, Standing, last_attempt
from orchestrator.run.upkeep import PRUNE, UPKEEP, check_upkeep, upkeep, wait_for_prune
from orchestrator.store import LocalStore
from tests.orchestrator.conftest import ELSEWHERE


class StoppedError(Exception):
    """Somebody gave up waiting."""


def stop() -> None:
    raise StoppedError


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


def test_the_claims_before_are_deleted_and_numbers_go_on(store: LocalStore) -> None:
    for number in (1, 2, 3):
        with upkeep(store, "import") as claim:
            assert claim.holder.number == number
            check_upkeep(store, claim)
    assert {key.split("/")[2] for key in store.keys(UPKEEP.claims)} == {"000003"}
    attempt = last_attempt(store, UPKEEP)
    assert attempt is not None
    assert attempt.standing.state is RunState.FINISHED


def test_what_ends_in_an_error_is_no_longer_held(store: LocalStore) -> None:
    with pytest.raises(KeyboardInterrupt), upkeep(store, PRUNE):
        raise KeyboardInterrupt
    wait_for_prune(store, check_stop=stop)
    attempt = last_attempt(store, UPKEEP)
    assert attempt is not None
    assert attempt.standing.state is RunState.INTERRUPTED


def test_who_begins_a_run_waits_for_a_prune_and_for_nothing_else(store: LocalStore) -> None:
    wait_for_prune(store, check_stop=stop)
    with upkeep(store, "import"):
        wait_for_prune(store, check_stop=stop)
    with upkeep(store, PRUNE), pytest.raises(StoppedError):
        wait_for_prune(store, check_stop=stop)
    wait_for_prune(store, check_stop=stop)


def test_a_prune_that_gives_no_sign_of_life_is_waited_for_no_longer(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = UPKEEP.claim(1)
    store.create(keys.holder, HOLDERS.to_json(replace(ELSEWHERE, machine={"what": PRUNE})))
    store.put(keys.state, Standing(RunState.RUNNING, 1).to_json())
    monkeypatch.setattr(module, "STALE_S", 0.0)
    wait_for_prune(store)


def test_who_was_taken_over_twice_knows_it(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with upkeep(store, PRUNE) as claim:
        monkeypatch.setattr(Holder, "is_gone", True)
        for _ in range(2):
            with upkeep(store, "import"):
                pass
        assert not store.exists(UPKEEP.claim(2).holder)
        with pytest.raises(SupersededError, match="try again later"):
            check_upkeep(store, claim)
