from pathlib import Path

import pytest

from orchestrator.store import LocalStore
from tests.orchestrator.conftest import Encoded


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path, encoded: Encoded) -> Path:
    """A folder with one image of 48 x 40 pixels."""
    path = tmp_path / "images"
    path.mkdir()
    (path / "a.png").write_bytes(encoded(40, 48))
    return path
