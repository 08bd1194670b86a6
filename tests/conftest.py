from pathlib import Path

import pytest

import orchestrator.drive.local_ray  # noqa: F401 - before anything imports Ray, which reads its environment once

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole runs first: with two workers, to which files go whole and in this order, both then
    end at about the same time.
    """
    system = str(Path(__file__).parent / "system")
    items.sort(key=lambda item: not str(item.path).startswith(system))
