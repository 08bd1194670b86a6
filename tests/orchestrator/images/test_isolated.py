import ctypes
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from orchestrator.images.isolated import isolated_map

MEMORY = 1 << 28


@pytest.fixture
def kept_processes() -> None:
    """No process here has done anything before."""


def halved(number: int) -> int:
    if number % 7 == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number % 7 == 5:
        ctypes.string_at(0)
    if number < 0:
        raise ValueError(number)
    return number // 2


def limited(*numbers: int, seconds: int = 10) -> Iterator[int | None]:
    return isolated_map(halved, numbers, memory=MEMORY, seconds=seconds)


def test_results_come_in_order_and_a_crash_costs_its_own_call() -> None:
    assert list(limited(*range(20))) == [None if number % 7 in (3, 5) else number // 2 for number in range(20)]


@pytest.mark.parametrize("numbers", [(), (4,), (3,), (3, 3, 3)])
def test_few_calls_and_none_are_done_too(numbers: tuple[int, ...]) -> None:
    assert list(limited(*numbers)) == [None if number == 3 else number // 2 for number in numbers]


def test_several_arguments_go_together() -> None:
    assert list(isolated_map(pow, [2, 3, 4], [1, 2, 3], memory=MEMORY, seconds=10)) == [2, 9, 64]


def test_what_a_call_raises_is_raised_here() -> None:
    results = limited(2, -1)
    assert next(results) == 1
    with pytest.raises(ValueError, match="-1"):
        next(results)


def taken(size: int) -> int | str:
    try:
        return len(bytes(size))
    except MemoryError:
        return "too much"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say how much memory a process begins with")
def test_a_call_that_takes_too_much_memory_is_refused_it() -> None:
    sizes = [MEMORY // 2, 2 * MEMORY, MEMORY // 2]
    assert list(isolated_map(taken, sizes, memory=MEMORY, seconds=10)) == [MEMORY // 2, "too much", MEMORY // 2]


def busy(times: int) -> int:
    for _ in range(times):
        sum(range(1_000_000))
    return times


def test_a_call_that_comes_to_no_end_is_ended() -> None:
    # The limit is for one call, so three calls may take longer together.
    calls = [1, 10**9, 1, 1]
    assert list(isolated_map(busy, calls, memory=MEMORY, seconds=2)) == [1, None, 1, 1]


def facts(_: int) -> tuple[bool, tuple[int, int]]:
    os.write(2, b"libpng warning\n")
    return signal.getsignal(signal.SIGINT) is signal.SIG_IGN, resource.getrlimit(resource.RLIMIT_CORE)


def test_a_process_leaves_interrupts_to_us_and_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(isolated_map(facts, [0], memory=MEMORY, seconds=10)) == [(True, (0, 0))]
    assert capfd.readouterr() == ("", "")


def test_no_process_and_no_thread_stays_behind() -> None:
    threads = threading.active_count()
    processes = set(isolated_map(own_number, range(9), memory=MEMORY, seconds=10))
    assert os.getpid() not in processes
    for process in processes:
        assert process is not None
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert threading.active_count() == threads


def test_only_a_few_calls_are_made_before_their_results_are_taken(tmp_path: Path) -> None:
    paths = [tmp_path / str(number) for number in range(500)]
    results = isolated_map(Path.touch, paths, memory=MEMORY, seconds=10)
    next(results)
    results.close()
    assert 1 <= len(list(tmp_path.iterdir())) < 100


def test_processes_end_with_the_one_that_was_killed() -> None:
    code = (
        "import os, signal\n"
        "from orchestrator.images.isolated import isolated_map\n"
        "from tests.orchestrator.images.test_isolated import own_number\n"
        "results = isolated_map(own_number, [1, 2], memory=2**30, seconds=10)\n"
        "print(next(results), flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(told.stdout)).wait(60)


def own_number(_: int) -> int:
    return os.getpid()


def test_where_no_process_can_be_started_nothing_is_blamed_on_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.images.isolated._prepare", halved)
    with pytest.raises(RuntimeError, match="no process can be started"):
        list(isolated_map(own_number, [1], memory=3, seconds=10))


def test_a_script_that_calls_at_its_top_level_is_not_run_once_more(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from orchestrator.images.isolated import isolated_map\n"
        "print('begun', flush=True)\n"
        "print(list(isolated_map(abs, [-1, -2], memory=2**30, seconds=10)))\n"
    )
    told = subprocess.run([sys.executable, "-W", "error", str(script)], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == ["begun", "[1, 2]"]
