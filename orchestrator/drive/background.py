"""A driver in a process of its own on this machine, which goes on when the process that started it ends."""

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Sequence
from pathlib import Path

import orchestrator.errors
from orchestrator.store import Store

_LOG_SHOWN = 3000


class BackgroundDriver:
    """A driver that was started by `drive_in_background`."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        # The file has no name: the driver's output is read only if the driver ends without recording why in the store.
        output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed with the driver's last reader
        weakref.finalize(self, output.close)
        self._output = output.fileno()
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and our own arguments
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            # Ctrl-C in the terminal or the notebook is for the process in front, not for the driver.
            start_new_session=True,
        )
        # Somebody must wait for the process, or a zombie stays behind.
        threading.Thread(target=self._process.wait, name="background driver", daemon=True).start()

    def why_it_ended(self) -> str | None:
        """Return the end of its output if it has ended; None while it runs."""
        if self._process.poll() is None:
            return None
        size = os.fstat(self._output).st_size
        # Read without moving the position, which the driver's own writes share.
        last = os.pread(self._output, _LOG_SHOWN, max(0, size - _LOG_SHOWN))
        return last.decode(errors="replace")


def drive_in_background(
    store: Store, run: str, assignments: Sequence[str], *, after: int, address: str | None, dashboard: bool
) -> BackgroundDriver:
    """Start a driver for a run that is in the store.

    Args:
        store: Where the run is.
        run: Its name.
        assignments: Settings of the form ``a.b=value`` that replace recorded ones.
        after: The number of the claim that the driver follows. It does not begin if the run is cancelled under a later
            claim.
        address: ``auto`` joins the Ray cluster that this machine belongs to; None starts a Ray of its own.
        dashboard: Whether that Ray has a dashboard.
    """
    command = [sys.executable, "-P", "-m", "orchestrator", "resume", run, "--store", store.url, "--after", str(after)]
    command += [] if address is None else ["--address", address]
    command += [] if dashboard else ["--no-dashboard"]
    command += [word for assignment in assignments for word in ("--set", assignment)]
    # The driver must import the same code as this process, wherever that lies.
    package = str(Path(str(orchestrator.errors.__file__)).parents[1])
    places = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    return BackgroundDriver(command, {**os.environ, "PYTHONPATH": places})
