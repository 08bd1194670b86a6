"""A store that checks whether an object is there, and writes it then: `create` is not one step."""

import os
import threading
import time
from pathlib import Path
from typing import Any, Literal

from orchestrator.store import LocalStore

Writers = Literal["threads", "processes"]

_ALONE = threading.Lock()
_PATIENCE_S = 60.0


class ChecksFirst(LocalStore):
    """Two writers of one of the kinds that both have found nothing both write, however busy the machine.

    Other writers come one after the other. A writer waits between check and act until a second one has checked, if
    many write to the key: keys for which they compete end in a number.
    """

    def __init__(self, root: Path | str, writers: Writers, home: int | None = None) -> None:
        super().__init__(root)
        self._writers, self._home = writers, os.getpid() if home is None else home

    def __reduce__(self) -> Any:
        return ChecksFirst, (self.url, self._writers, self._home)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        many = key.rpartition("-")[2].isdigit()
        if many and (self._writers == "threads") == (os.getpid() == self._home):
            return self._check_and_write(key, data)
        if many and self._writers == "threads":
            return super().create(key, data)
        with _ALONE:
            return super().create(key, data)

    def _check_and_write(self, key: str, data: bytes) -> bool:
        if self.exists(key):
            return False
        checked = Path(f"{self.url}.checked", key.replace("/", "-"))
        checked.mkdir(parents=True, exist_ok=True)
        (checked / f"{os.getpid()}-{threading.get_ident()}").touch()
        deadline = time.monotonic() + _PATIENCE_S
        while len(list(checked.iterdir())) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        self.put(key, data)
        return True
