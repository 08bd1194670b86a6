import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Ray's workers import torch, which takes long where others keep the machine busy.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
# Ray lets its workers give way to all others (15). Then each whole run would wait for all other tests, and for mypy.
os.environ.setdefault("RAY_worker_niceness", "0")

import orchestrator.drive.local_ray  # noqa: F401 - before anything imports Ray, which reads its environment once

import torch  # isort: skip

from orchestrator.images import isolated

DATA = Path(__file__).parent / "data"


# Every run of the tests tries new examples. What failed once is kept in .hypothesis and tried again first, and the
# failure says how to repeat it anywhere. HYPOTHESIS_EXAMPLES=fixed tries the same examples each time. A machine may be
# busy, so no example has a deadline.
_of_all = settings(settings.get_profile("default"), deadline=None, max_examples=60)
settings.register_profile("new", _of_all, derandomize=False, print_blob=True)
settings.register_profile("fixed", _of_all, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_EXAMPLES", "new"))


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


_start = isolated._start
_kept: dict[int, list[ProcessPoolExecutor]] = defaultdict(list)
_started: list[ProcessPoolExecutor] = []
"""All of them, so that the garbage collector never finds one. An iterator that nobody holds gives its process back
when it is collected; by then the process would have been told to end, because its weak reference is dead."""


@pytest.fixture(autouse=True)
def kept_processes() -> Iterator[None]:
    """Processes that read images are kept for the next test: each would have its imports to do."""

    def start(memory: int) -> ProcessPoolExecutor:
        if _kept[memory]:
            process = _kept[memory].pop()
        else:
            _started.append(process := _start(memory))
        process.submit(os.chdir, Path.cwd()).result()

        def shutdown(*_: Any, **__: Any) -> None:
            _kept[memory].append(process)

        process.shutdown = shutdown  # type: ignore[method-assign]
        return process

    # Not by the fixture: what tests patch would then be put back after all that the other fixtures end.
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(isolated, "_start", start)
        yield


@pytest.fixture(scope="session", autouse=True)
def _kept_processes_end() -> Iterator[None]:
    yield
    for process in _started:
        ProcessPoolExecutor.shutdown(process)


# The tests run in as many processes as there are cores: threads of theirs would only wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first, and of them the longest file; without a GPU its tests are skipped.

    With two workers, to which files go whole and in this order, both then end at about the same time.
    """
    system = str(Path(__file__).parent / "system")
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no GPU"))
    items.sort(key=lambda item: (item.path.name != "test_resume.py", not str(item.path).startswith(system)))
