"""A Ray of our own on this machine, closed to everyone else."""

import contextlib
import logging
import os
import secrets
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Ray reads these once, when it is imported. They let its servers listen on loopback only, on Linux as on other systems,
# and answer only clients that know the token.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray.job_config import JobConfig

from orchestrator.errors import RayLostError
from orchestrator.resources.place import PURPOSE, ray_place
from orchestrator.resources.scratch import scratch, sweep
from orchestrator.resources.share import Resources
from orchestrator.text import printable, shortened

OBJECT_STORE_BYTES = 256 * 2**20
"""A small object store suffices: it carries records and references, never images."""
_START_S = 120.0
"""How long Ray's processes may take to start. Ray itself gives up after 30 s (2.60), which a busy machine exceeds."""
_LOOK_AGAIN_S = 0.2


@contextlib.contextmanager
def local_ray(resources: Resources, *, dashboard: bool) -> Iterator[str | None]:
    """Start a Ray of our own on this machine and end it with the block; yield the dashboard's URL.

    Its number of CPUs limits how many trials run at once. It never joins a cluster that happens to run, asks every
    client for the token and sends no usage statistics.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    # Ray warns at every start about a future default; this sets that default now.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    make_token()
    sweep(ray_place())
    # Ray opens the folder that it is given to every user of the machine, so its folder lies inside one that is closed
    # to them.
    with contextlib.ExitStack() as folder:
        private = folder.enter_context(scratch(PURPOSE, ray_place()))
        try:
            with _explained(dashboard=dashboard), patient_start():
                started = ray.init(
                    address="local",
                    num_cpus=resources.parallel * resources.threads,
                    _temp_dir=f"{private}/ray",
                    job_config=OurPlaces(),
                    include_dashboard=dashboard,
                    dashboard_host="127.0.0.1",
                    object_store_memory=OBJECT_STORE_BYTES,
                    configure_logging=True,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                )
            yield f"http://{started.dashboard_url}" if dashboard and started.dashboard_url else None
        finally:
            with uninterrupted():
                ray.shutdown()
                folder.close()


@contextlib.contextmanager
def _explained(*, dashboard: bool) -> Iterator[None]:
    """Make an error of Ray's start one that pauses the run, and says what may help."""
    try:
        yield
    except Exception as error:
        reason = shortened(printable(" ".join(str(error).split())), 300)
        without = ", or start it without its dashboard, by --no-dashboard" if dashboard else ""
        raise RayLostError(
            f"Ray did not start on this machine ({type(error).__name__}: {reason}); see what `doctor` says, free some"
            f" memory and space on disk{without}"
        ) from error


class OurPlaces(JobConfig):  # type: ignore[misc] # Ray has no types
    """The settings of a job whose workers look for modules where its driver does.

    Ray would add the driver's working directory, where others may be able to write.
    """

    _py_driver_sys_path: list[str]

    def _serialize(self) -> Any:
        self._py_driver_sys_path = [place for place in self._py_driver_sys_path if place in sys.path]
        return super()._serialize()


@contextlib.contextmanager
def patient_start() -> Iterator[None]:
    """Let a Ray that is started in this block wait longer until its node has registered.

    Ray has no setting for it: it asks for the node again and again, and the question is made to wait here.
    """
    services = ray._private.services
    ask = services.get_node

    def wait(*arguments: Any, **options: Any) -> Any:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return ask(*arguments, **options)
            except RuntimeError:  # it is not there yet
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_LOOK_AGAIN_S)

    services.get_node = wait
    try:
        yield
    finally:
        services.get_node = ask


def _stopping() -> list[signal.Signals]:
    """The signals that pause a run; not the one of a terminal that goes away, if it is to be ignored (`nohup`)."""
    stopping = [signal.SIGINT, signal.SIGTERM]
    return stopping if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [*stopping, signal.SIGHUP]


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Treat SIGTERM and SIGHUP like Ctrl-C within the block. Batch systems and spot machines send the former shortly
    before they stop, a terminal that goes away the latter.

    Enter the block once more after Ray has started, because Ray takes SIGTERM for itself. The block gets a function
    that raises KeyboardInterrupt if a signal has arrived: an exception that is raised inside Ray's code may get lost
    there (it did, once in some dozen times).
    """
    arrived = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        arrived.set()
        raise KeyboardInterrupt

    def check() -> None:
        if arrived.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield check
        return
    before = {number: signal.signal(number, interrupt) for number in _stopping()}
    try:
        yield check
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore a second Ctrl-C, SIGTERM or SIGHUP while a run ends. That takes seconds, and an interrupt would leave Ray
    processes behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _stopping()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_token() -> None:
    """Make sure that Ray's authentication token exists and that only our user can read it; Ray would let every user
    read it."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = Path("~/.ray/auth_token").expanduser()
    if path.exists():
        with contextlib.suppress(OSError):  # the file may belong to somebody else
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
        return
    token = secrets.token_hex(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as handle:
            handle.write(token)
    except OSError:
        # The home folder cannot be written, so the token lives as long as this process.
        os.environ["RAY_AUTH_TOKEN"] = token
