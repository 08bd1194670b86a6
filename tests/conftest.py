from pathlib import Path

import pytest

import orchestrator.local_ray  # noqa: F401 - before anything imports Ray, which reads its environment once

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA
