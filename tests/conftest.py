import os
from pathlib import Path

import pytest

# Ray's workers import torch, which takes long where others keep the machine busy.
os.environ.setdefault("RAY_worker_register_timeout_seconds", "300")
# Ray lets its workers give way to all others (15). Then each whole run would wait for all other tests, and for mypy.
os.environ.setdefault("RAY_worker_niceness", "0")

import orchestrator.drive.local_ray  # noqa: F401 - before anything imports Ray, which reads its environment once

import torch  # isort: skip

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


# The tests run in as many processes as there are cores: threads of theirs would only wait for each other.
torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first, and of them the longest file.

    With two workers, to which files go whole and in this order, both then end at about the same time.
    """
    system = str(Path(__file__).parent / "system")
    items.sort(key=lambda item: (item.path.name != "test_resume.py", not str(item.path).startswith(system)))
