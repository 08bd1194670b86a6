from typing import Any

import pytest

from orchestrator.drive import start
from orchestrator.plan.advice import DAY_S, Advice


def test_a_run_of_more_than_a_day_says_so_first(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    listener: Any = type("Listener", (), {"note": staticmethod(said.append)})
    anything: Any = None
    for advice in (None, Advice(3 * DAY_S, "quick", 3600.0, 3)):
        monkeypatch.setattr(start, "advice_at_start", lambda request, plan, advice=advice: advice)
        start._note_length(anything, anything, listener)
    assert said == [
        "this takes at most 3 d 0 h on this machine: --effort quick takes at most 1 h 00 min;"
        " 3 machines like this one take at most a day (docs/clusters.md)"
    ]
