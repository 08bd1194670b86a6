import json
from pathlib import Path

import pytest

from orchestrator.doctor import examine as examination
from orchestrator.doctor.examine import examine
from orchestrator.doctor.machine import (
    Torch,
)
from tests.orchestrator.doctor.conftest import of


def test_everything_is_asked_whatever_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Torch:
        raise RuntimeError("a broken driver")

    monkeypatch.setattr(examination, "torch_here", broken)
    found = of(examine("gs://nowhere/x", "no address"))
    wrong = {name for name, check in found.items() if not check.ok}
    assert wrong == {"torch", "store", "cluster"}
    assert list(found) == ["python", "ray", "token", "environment", "torch", "machine", "disk", "store", "cluster"]
    assert found["torch"].found == "RuntimeError: a broken driver"


def test_this_machine_can_be_examined(tmp_path: Path) -> None:
    checks = list(examine(str(tmp_path / "store")))
    assert {check.check for check in checks if not check.ok} <= {"gpu", "disk", "machine"}
    assert not (tmp_path / "store").exists()
    for check in checks:
        assert json.loads(json.dumps(check.to_dict())) == {
            "check": check.check,
            "ok": check.advice is None,
            "found": check.found,
            "advice": check.advice,
        }
