"""A user whom Ray does not know yet, and answers by name."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.doctor.check import Check

GB = 10**9
TOKEN = "0123456789abcdef"  # noqa: S105 - of no cluster


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user whom Ray does not know yet."""
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def leave_token(home: Path, mode: int = 0o600, token: str = TOKEN) -> Path:
    path = home / ".ray/auth_token"
    path.parent.mkdir(parents=True)
    path.write_text(token)
    path.chmod(mode)
    return path


def of(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.check: check for check in checks}
