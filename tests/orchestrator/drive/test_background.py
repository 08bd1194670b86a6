import sys
import time
from pathlib import Path

import pytest

from orchestrator.drive.background import BackgroundDriver, drive_in_background
from orchestrator.store import LocalStore


def ended(driver: BackgroundDriver) -> str:
    deadline = time.monotonic() + 120
    while (printed := driver.why_it_ended()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return printed


def test_a_driver_tells_what_it_printed_last_once_it_has_ended() -> None:
    code = "import sys; print('x' * 4000); print('bad \\udcff luck'.encode('utf8', 'surrogateescape')); sys.exit(3)"
    driver = BackgroundDriver([sys.executable, "-c", code], {})
    printed = ended(driver)
    assert printed.endswith("luck'\n")
    assert len(printed) == 3000


def test_a_driver_under_way_says_nothing_yet() -> None:
    driver = BackgroundDriver([sys.executable, "-c", "input(); import time; time.sleep(60)"], {})
    # It has no standard input, so it ends with an error.
    assert "EOFError" in ended(driver)


def test_the_driver_is_resume_with_the_code_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    driver = drive_in_background(store, "nope", ["resources.parallel=1"], after=0, address=None, dashboard=False)
    assert ended(driver) == f"resume: no run 'nope' in the store {store.url}; the latest there: none\n"
