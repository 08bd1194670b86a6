import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import (
    NewerFormatError,
    RunCancelledError,
    StoreUnavailableError,
    SupersededError,
    UserMistakeError,
)
from orchestrator.run import claim as claims
from orchestrator.run.attempt import Holder, RunState, Standing, last_attempt, latest, now, read_attempt, read_log
from orchestrator.run.claim import STALE_S, Claim, request_stop, take, wait_until_free
from orchestrator.run.layout import RunLayout
from orchestrator.store import LocalStore

LAYOUT = RunLayout("r")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.02)


@pytest.fixture(scope="module")
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait()
    return process.pid


class Clock:
    """Time that passes only during sleep; ``during`` happens at each sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.during = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.during()


def taken(store: LocalStore, clock: Clock | None = None) -> Claim:
    clock = clock or Clock()
    return take(store, LAYOUT, {"cpu": "x"}, clock=clock, sleep=clock.sleep)


def elsewhere(store: LocalStore, number: int, beat: int = 0) -> None:
    """A claim of a driver on another machine, with a sign of life."""
    boot, started = "another boot", "1"
    holder = Holder(number, "elsewhere.example", 7, boot, started, "2026-01-31T14:25:01+00:00", {})
    store.put(LAYOUT.claim(number).holder, json.dumps(vars(holder)).encode())
    alive(store, number, beat)


def alive(store: LocalStore, number: int, beat: int, state: str = "running") -> None:
    store.put(LAYOUT.claim(number).state, json.dumps({"state": state, "beat": beat, "at": now()}).encode())


def until(condition: Iterator[bool] | object) -> None:
    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def beats(store: LocalStore, number: int) -> int:
    attempt = read_attempt(store, LAYOUT.claim(number))
    assert attempt is not None
    return attempt.standing.beat


def test_the_first_claim_is_number_one_and_says_who_holds_it(store: LocalStore) -> None:
    assert last_attempt(store, LAYOUT) is None
    with taken(store) as claim:
        attempt = last_attempt(store, LAYOUT)
        assert attempt is not None
        assert attempt.holder == claim.holder
        assert (attempt.holder.number, attempt.holder.pid) == (1, os.getpid())
        assert attempt.standing.state is RunState.RUNNING
        assert not attempt.is_over


def test_what_a_holder_said_last_stands(store: LocalStore, quick: None) -> None:
    with taken(store) as claim:
        claim.end(RunState.FAILED, seconds=1.5, reason="no luck")
        until(lambda: not claim._thread.is_alive())  # it must not change it
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    assert attempt.is_over
    assert (attempt.standing.state, attempt.standing.seconds, attempt.standing.reason) == (
        RunState.FAILED,
        1.5,
        "no luck",
    )
    with taken(store) as claim:
        assert claim.holder.number == 2


def test_a_holder_that_lives_is_left_alone_and_named(store: LocalStore) -> None:
    elsewhere(store, 1, beat=5)
    clock = Clock()
    clock.during = lambda: alive(store, 1, beat=6)
    with pytest.raises(
        UserMistakeError, match=r"under way, by process 7 on elsewhere\.example, since 2026-01-31"
    ) as caught:
        taken(store, clock)
    assert "\n" not in str(caught.value)
    assert latest(store, LAYOUT) == 1


def test_a_holder_without_a_sign_of_life_is_succeeded_by_the_observers_own_clock(store: LocalStore) -> None:
    elsewhere(store, 3, beat=5)
    clock = Clock()
    with taken(store, clock) as claim:
        assert claim.holder.number == 4
    assert clock.now == pytest.approx(STALE_S, abs=1)


class HeldUp(LocalStore):
    """A store whose reader is stopped for a while after it has read an object, as by SIGSTOP; the holder lives on."""

    def __init__(self, root: Path, clock: Clock, seconds: float, times: int) -> None:
        super().__init__(root)
        self.clock, self.seconds, self.times = clock, seconds, times

    def get(self, key: str) -> bytes:
        data = super().get(key)
        if key == LAYOUT.claim(1).state and self.times:
            self.times -= 1
            self.clock.now += self.seconds
            alive(self, 1, beat=6)
        return data


def test_an_observer_that_was_held_up_looks_again_before_it_takes_over(tmp_path: Path) -> None:
    clock = Clock()
    store = HeldUp(tmp_path, clock, 35, times=0)
    elsewhere(store, 1, beat=5)

    def held_up_when_it_is_time_to_judge() -> None:
        # What it reads next is old when it goes on.
        store.times = int(clock.now >= STALE_S)

    clock.during = held_up_when_it_is_time_to_judge
    with pytest.raises(UserMistakeError, match="under way, by process 7"):
        take(store, LAYOUT, {}, clock=clock, sleep=clock.sleep)
    assert latest(store, LAYOUT) == 1


def test_time_that_an_observer_lost_within_its_first_looks_is_no_silence_of_the_holder(tmp_path: Path) -> None:
    clock = Clock()
    store = HeldUp(tmp_path, clock, 35, times=2)
    elsewhere(store, 1, beat=5)
    with pytest.raises(UserMistakeError, match="under way, by process 7"):
        take(store, LAYOUT, {}, clock=clock, sleep=clock.sleep)
    assert latest(store, LAYOUT) == 1


def test_a_holder_that_ends_while_it_is_watched_is_succeeded_at_once(store: LocalStore) -> None:
    elsewhere(store, 1, beat=5)
    clock = Clock()
    clock.during = lambda: alive(store, 1, beat=6, state="interrupted")
    with taken(store, clock) as claim:
        assert claim.holder.number == 2
    assert clock.now < 1


def test_a_process_of_this_machine_that_is_no_more_is_succeeded_at_once(store: LocalStore, dead_pid: int) -> None:
    with taken(store) as claim:
        pass
    holder = replace(claim.holder, pid=dead_pid)
    store.put(LAYOUT.claim(1).holder, json.dumps(vars(holder)).encode())
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    assert attempt.holder.is_gone
    clock = Clock()
    with taken(store, clock) as second:
        assert second.holder.number == 2
    assert clock.now == 0


def test_a_later_process_of_the_same_number_is_another(store: LocalStore) -> None:
    with taken(store) as claim:
        assert not claim.holder.is_gone
        assert replace(claim.holder, started="1").is_gone
        # For another boot of the machine, or another machine, one look shows nothing.
        assert not replace(claim.holder, boot="before", started="1").is_gone
        assert not replace(claim.holder, host="elsewhere.example", started="1").is_gone


def test_of_many_who_come_at_once_one_holds_the_run(store: LocalStore, quick: None) -> None:
    elsewhere(store, 1, beat=5)
    held: list[Claim] = []
    refused: list[UserMistakeError] = []
    barrier = threading.Barrier(6)

    def come() -> None:
        clock = Clock()
        # Others beat in real time, so that a late driver sees it.
        clock.during = lambda: time.sleep(0.01)
        barrier.wait()
        try:
            held.append(take(store, LAYOUT, {}, clock=clock, sleep=clock.sleep).__enter__())
        except UserMistakeError as error:
            refused.append(error)

    threads = [threading.Thread(target=come) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 1
    assert len(refused) == 5
    held[0].__exit__(None, None, None)


def test_a_holder_that_comes_to_life_again_learns_that_it_has_been_succeeded(store: LocalStore, quick: None) -> None:
    with taken(store) as old:
        old.check()
        elsewhere(store, 2)
        until(lambda: _superseded(old))
        with pytest.raises(SupersededError, match=r"taken over by process 7 on elsewhere\.example"):
            old.check()
        # Its report is under its own number, which is not the one that counts.
        old.end(RunState.FAILED, reason="late")
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    assert attempt.standing.state is RunState.RUNNING
    with pytest.raises(SupersededError):
        old.check(now=True)


def _superseded(claim: Claim) -> bool:
    try:
        claim.check()
    except SupersededError:
        return True
    return False


def test_signs_of_life_go_on_when_a_store_in_trouble_recovers(
    store: LocalStore, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    tried = threading.Event()
    put = LocalStore.put

    def sometimes(self: LocalStore, key: str, data: bytes) -> None:
        if broken.is_set():
            tried.set()
            raise StoreUnavailableError("away")
        put(self, key, data)

    monkeypatch.setattr(LocalStore, "put", sometimes)

    def beats() -> int:
        attempt = last_attempt(store, LAYOUT)
        assert attempt is not None
        return attempt.standing.beat

    with taken(store):
        until(lambda: beats() > 1)
        broken.set()
        assert tried.wait(10)
        seen = beats()
        broken.clear()
        until(lambda: beats() > seen)


@pytest.mark.parametrize(
    ("asked", "stop"), [(["drain"], "drain"), (["now"], "now"), (["drain", "now", "drain"], "now")]
)
def test_a_holder_is_asked_to_stop_and_asking_again_changes_only_to_the_sooner(
    store: LocalStore, quick: None, asked: list[claims.Stop], stop: claims.Stop
) -> None:
    with taken(store) as claim:
        assert claim.stop is None
        for word in asked:
            request_stop(store, LAYOUT, 1, word)
        until(lambda: claim.stop == stop)
    with _next(store) as second:
        # The driver that resumes the run is not the one that was asked.
        until(lambda: beats(store, 2) > 1)
        assert second.stop is None


def _next(store: LocalStore) -> Claim:
    alive(store, 1, 0, state="cancelled")
    return taken(store)


def test_an_end_that_is_recorded_just_before_the_process_ends_counts(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(store) as claim:
        pass

    def gone(holder: Holder) -> bool:
        claim.end(RunState.FINISHED, seconds=2.0)  # between the look at its state and that at its process
        return True

    monkeypatch.setattr(Holder, "is_gone", property(gone))
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    assert (attempt.standing.state, attempt.standing.seconds) == (RunState.FINISHED, 2.0)


def test_a_claim_has_the_number_of_its_place_and_a_copied_one_stops_nobody(store: LocalStore) -> None:
    with taken(store) as claim:
        claim.end(RunState.FAILED)
    for name in ("holder", "state"):
        copied = store.get(getattr(LAYOUT.claim(1), name))
        store.put(getattr(LAYOUT.claim(2), name), copied)
    with taken(store) as third:
        assert third.holder.number == 3


def test_who_comes_second_waits_a_moment_before_it_looks_again(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(store, 1)
    alive(store, 1, 0, state="failed")
    clock = Clock()
    clock.during = monkeypatch.undo
    # A listing that does not show the claim yet, as some services give out.
    monkeypatch.setattr(claims, "latest", lambda store, layout: 0)
    with taken(store, clock) as claim:
        assert claim.holder.number == 2
    assert clock.now > 0


def test_a_driver_that_was_succeeded_learns_it_also_where_listings_lag(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(store) as claim:
        elsewhere(store, 2)
        monkeypatch.setattr(claims, "latest", lambda store, layout: 1)
        with pytest.raises(SupersededError, match="process 7"):
            claim.check(now=True, through=LocalStore(store.url))


@pytest.mark.parametrize("gone", [LAYOUT.root, "runs"])
def test_a_driver_whose_claim_is_gone_stops(store: LocalStore, gone: str) -> None:
    with taken(store) as claim:
        claim.check(now=True)
        store.delete_all(gone)
        with pytest.raises(SupersededError, match=rf"the run {LAYOUT.run} is gone, .* this driver stops"):
            claim.check(now=True)
        with pytest.raises(SupersededError):
            claim.check_stop()


def test_a_folder_that_nobody_came_to_put_a_holder_into_is_no_claim(store: LocalStore) -> None:
    with taken(store) as claim:
        (Path(store.url) / LAYOUT.claim(2).root).mkdir()
        assert latest(store, LAYOUT) == 1
        claim.check(now=True)
        claim.end(RunState.FAILED)
    with taken(store) as second:
        assert second.holder.number == 2


def test_a_word_that_cannot_be_read_does_not_silence_a_driver(store: LocalStore, quick: None) -> None:
    with taken(store) as claim:
        store.put(LAYOUT.claim(1).cancel, b"no JSON")
        # The request is there, and the gentle way loses nothing.
        until(lambda: claim.stop == "drain")
        before = beats(store, 1)
        until(lambda: beats(store, 1) > before + 1)
        store.put(LAYOUT.claim(1).cancel, b'{"stop": "now"}')
        until(lambda: claim.stop == "now")
        with pytest.raises(RunCancelledError):
            claim.check_stop()


def test_a_driver_whose_successors_claim_is_damaged_leaves_the_run_to_it(store: LocalStore, quick: None) -> None:
    with taken(store) as claim:
        store.put(LAYOUT.claim(2).holder, b"no JSON")
        with pytest.raises(SupersededError, match="taken over by a driver whose claim is damaged"):
            claim.check(now=True)


def test_a_holder_and_a_request_to_stop_of_a_newer_version_are_heeded_though_they_cannot_be_read(
    store: LocalStore, quick: None
) -> None:
    with taken(store) as claim:
        store.put(LAYOUT.claim(1).cancel, b'{"format": 9, "stop": "later"}')
        until(lambda: claim.stop == "drain")
        claim.check()
        store.put(LAYOUT.claim(2).holder, b'{"format": 9}')
        with pytest.raises(SupersededError, match="taken over by a driver of a newer version"):
            claim.check(now=True)
    with pytest.raises(NewerFormatError, match=r"the holder of a claim .*holder\.json has format 9"):
        taken(store)


# The state of the run, as the holder reports it.

STAGES = [{"name": "cohort", "done": 3, "total": 9, "running": 2}]
WAITS = "2 fits wait for a machine with 1 CPU and 1 GPU each"


def said(store: LocalStore) -> Standing:
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    return attempt.standing


def log_of(store: LocalStore, number: int) -> list[str]:
    """The lines logged under a claim, without the times."""
    return [line.partition(" ")[2] for line in store.get(LAYOUT.claim(number).log).decode().splitlines()]


def test_how_the_run_goes_is_said_with_the_next_sign_of_life(store: LocalStore, quick: None) -> None:
    with taken(store) as claim:
        claim.report(STAGES, [WAITS], {"machine_hours": 0.25})
        until(lambda: said(store).stages)
        beat = said(store).beat
        assert beat > 0
        assert (said(store).stages, said(store).waits_for) == (STAGES, [WAITS])
        assert said(store).usage == {"machine_hours": 0.25}
        # It stays until the next report.
        until(lambda: said(store).beat > beat)
        assert (said(store).stages, said(store).waits_for) == (STAGES, [WAITS])
        claim.report(STAGES, [], {"machine_hours": 0.5})
        until(lambda: not said(store).waits_for)
        assert said(store).usage == {"machine_hours": 0.5}


def test_who_has_ended_waits_for_nothing_and_its_counts_stand(store: LocalStore) -> None:
    with taken(store) as claim:
        claim.report(STAGES, [WAITS], {"machine_hours": 0.25})
        claim.end(RunState.INTERRUPTED, reason="stopped by the user")
    assert said(store).state is RunState.INTERRUPTED
    assert (said(store).stages, said(store).waits_for) == (STAGES, [])
    assert said(store).usage == {"machine_hours": 0.25}


def test_what_a_run_has_used_is_carried_on_by_whoever_holds_it_next(store: LocalStore) -> None:
    with taken(store) as first:
        assert said(store).usage == {}
        first.report([], [], {"machine_hours": 1.5, "gpu_hours": 0.5})
        first.end(RunState.INTERRUPTED)
    with taken(store) as second:
        assert said(store).usage == {"machine_hours": 1.5, "gpu_hours": 0.5}
        # It reports its own usage, and reports it from the beginning each time.
        second.report([], [], {"machine_hours": 0.1, "cpu_hours": 8.0})
        second.report([], [], {"machine_hours": 0.2, "cpu_hours": 16.0})
        second.end(RunState.CANCELLED)
    assert said(store).usage == {"machine_hours": 1.7, "gpu_hours": 0.5, "cpu_hours": 16.0}
    with taken(store) as third:  # it ends before it has used anything
        third.end(RunState.CANCELLED)
    assert said(store).usage == {"machine_hours": 1.7, "gpu_hours": 0.5, "cpu_hours": 16.0}


def test_what_a_holder_that_was_silent_has_used_is_carried_on_too(store: LocalStore) -> None:
    elsewhere(store, 1, beat=5)
    standing = {"state": "running", "beat": 5, "at": now(), "usage": {"gpu_hours": 2.0}}
    store.put(LAYOUT.claim(1).state, json.dumps(standing).encode())
    with taken(store):
        assert said(store).usage == {"gpu_hours": 2.0}


def test_what_is_noted_is_written_with_the_next_sign_of_life_and_once(store: LocalStore, quick: None) -> None:
    with taken(store) as claim:
        claim.log("first")
        until(lambda: store.exists(LAYOUT.claim(1).log))
        assert log_of(store, 1) == ["first"]
        # A log can be long: without new lines it is not written again.
        store.delete(LAYOUT.claim(1).log)
        beat = said(store).beat
        until(lambda: said(store).beat > beat + 2)
        assert not store.exists(LAYOUT.claim(1).log)
        claim.log("second")
        until(lambda: store.exists(LAYOUT.claim(1).log))
        assert log_of(store, 1) == ["first", "second"]


def test_what_is_noted_before_the_end_is_written_by_the_end_a_line_each_with_its_time(store: LocalStore) -> None:
    with taken(store) as claim:
        claim.log("two\nlines \x1b[31mred, \udcff")
        claim.log("Zürich")
        claim.end(RunState.FAILED)
    assert log_of(store, 1) == ["two\\nlines \\x1b[31mred, \\udcff", "Zürich"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 two", store.get(LAYOUT.claim(1).log).decode())


def test_who_finds_that_a_run_has_ended_finds_all_of_its_log(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with taken(store) as claim:
        claim.log("the last words")
        put = store.put
        monkeypatch.setattr(claim._store, "put", lambda key, data: (written.append(key), put(key, data)))
        written: list[str] = []
        claim.end(RunState.FINISHED)
    keys = LAYOUT.claim(1)
    assert written[-2:] == [keys.log, keys.state]


def test_a_log_that_cannot_be_written_hides_no_end(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with taken(store) as claim:
        claim.log("the last words")
        put = store.put

        def put_no_log(key: str, data: bytes) -> None:
            if key == LAYOUT.claim(1).log:
                raise StoreUnavailableError("away")
            put(key, data)

        monkeypatch.setattr(claim._store, "put", put_no_log)
        with pytest.raises(StoreUnavailableError):
            claim.end(RunState.CANCELLED)
    attempt = last_attempt(store, LAYOUT)
    assert attempt is not None
    assert attempt.standing.state is RunState.CANCELLED


def test_the_log_lets_go_of_its_oldest_lines(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LOG_LINES", 3)
    with taken(store) as claim:
        for number in range(5):
            claim.log(str(number))
        claim.end(RunState.FAILED)
    assert log_of(store, 1) == ["2", "3", "4"]


def test_a_log_whose_length_stays_is_written_when_its_lines_change(
    store: LocalStore, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "LOG_LINES", 1)
    with taken(store) as claim:
        for line in ("first", "second"):
            claim.log(line)
            until(lambda: store.exists(LAYOUT.claim(1).log) and log_of(store, 1) == [line])  # noqa: B023


def test_the_log_of_a_run_is_that_of_all_its_drivers_each_after_its_name(store: LocalStore) -> None:
    assert list(read_log(store, LAYOUT)) == []
    names = []
    for words in (["one", "two"], [], ["three"]):
        with taken(store) as claim:
            names.append(f"-- {claim.holder.name}")
            for word in words:
                claim.log(word)
            claim.end(RunState.INTERRUPTED)

    def lines(after: int = 0) -> list[str]:
        text = "".join(read_log(store, LAYOUT, after))
        assert not text or text.endswith("\n")
        return [line if line.startswith("-- ") else line.partition(" ")[2] for line in text.splitlines()]

    assert lines() == [names[0], "one", "two", names[1], names[2], "three"]
    assert lines(after=1) == [names[1], names[2], "three"]
    assert lines(after=2) == [names[2], "three"]
    assert lines(after=3) == []


def test_a_claim_that_has_lost_its_holder_is_left_out_of_the_log(store: LocalStore) -> None:
    elsewhere(store, 1)
    elsewhere(store, 3)
    store.put(LAYOUT.claim(3).log, b"2026-01-31T14:25:01+00:00 three\n")
    head = "-- process 7 on elsewhere.example, since 2026-01-31T14:25:01+00:00\n"
    assert list(read_log(store, LAYOUT)) == [head, f"{head}2026-01-31T14:25:01+00:00 three\n"]


def test_a_log_or_a_holder_that_is_damaged_hides_no_other_log(store: LocalStore) -> None:
    for number in (1, 2, 3, 4):
        elsewhere(store, number)
        store.put(LAYOUT.claim(number).log, b"2026-01-31T14:25:01+00:00 \xff\n")
    store.put(LAYOUT.claim(1).holder, b"{")
    store.put(LAYOUT.claim(2).holder, b'{"format": 9}')
    spoilt = Path(store.show(LAYOUT.claim(3).log))
    spoilt.write_bytes(b"x")
    first, second, third, fourth = read_log(store, LAYOUT)
    assert "holder.json is damaged" in first
    assert "has format 9" in second
    assert "log.txt is damaged" in third
    assert fourth.endswith(" \N{REPLACEMENT CHARACTER}\n")


def test_the_first_sign_of_life_is_one(store: LocalStore) -> None:
    elsewhere(store, 1)
    store.delete(LAYOUT.claim(1).state)
    clock = Clock()
    clock.during = lambda: alive(store, 1, beat=0) if clock.now > STALE_S - 3 else None
    with pytest.raises(UserMistakeError, match="under way"):
        taken(store, clock)


def test_a_state_that_is_damaged_is_no_sign_of_life_until_the_holder_writes_another(store: LocalStore) -> None:
    elsewhere(store, 1, beat=5)
    store.put(LAYOUT.claim(1).state, b"{")
    clock = Clock()
    clock.during = lambda: alive(store, 1, beat=6) if clock.now > 3 else None
    with pytest.raises(UserMistakeError, match="under way"):
        taken(store, clock)
    store.put(LAYOUT.claim(1).state, b"{")
    clock = Clock()
    with taken(store, clock) as claim:
        assert claim.holder.number == 2
    assert clock.now >= STALE_S


def test_whether_a_run_is_free_is_found_out_by_the_observers_own_clock_and_nothing_is_claimed(
    store: LocalStore,
) -> None:
    clock = Clock()
    wait_until_free(store, LAYOUT, clock=clock, sleep=clock.sleep)
    assert clock.now == 0
    elsewhere(store, 1, beat=5)
    wait_until_free(store, LAYOUT, clock=clock, sleep=clock.sleep)
    assert clock.now == pytest.approx(STALE_S, abs=1)
    clock.during = lambda: alive(store, 1, beat=6)
    with pytest.raises(UserMistakeError, match="under way, by process 7"):
        wait_until_free(store, LAYOUT, clock=clock, sleep=clock.sleep)
    assert latest(store, LAYOUT) == 1
