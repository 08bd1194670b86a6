"""A Ray of our own on this machine, closed to everyone else."""

import contextlib
import logging
import os
import secrets
import shutil
import signal
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before Ray is imported, which reads these once: all its servers listen on loopback only, as they do on other laptops, and
# answer only who knows the token.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray

from orchestrator.resources.share import Resources

OBJECT_STORE_BYTES = 256 * 2**20
"""Ray's object store carries records and references here, never images."""
_START_S = 120.0
"""How long Ray's processes may take to start. Ray itself gives up after 30 s (2.60), which a busy machine needs now and then."""
_LOOK_AGAIN_S = 0.2


@contextlib.contextmanager
def local_ray(resources: Resources, *, dashboard: bool) -> Iterator[str | None]:
    """A Ray of our own on this machine, ended with the block; gives the dashboard's address.

    It has as many CPUs as the trials that run at once reserve, which is what bounds them. It never joins a cluster that
    happens to run, asks everyone for its token and sends no usage statistics.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")
    # Ray warns at every start about a future default; what it is then is set here already.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    make_token()
    # Ray lets every user of the machine into its files; into this folder only ours can go. Its sockets need a short path.
    files = tempfile.mkdtemp(prefix="dip-ray-", dir="/tmp")
    with patient_start():
        started = ray.init(
            address="local",
            num_cpus=resources.parallel * resources.threads,
            _temp_dir=files,
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
            configure_logging=True,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    try:
        yield f"http://{started.dashboard_url}" if dashboard and started.dashboard_url else None
    finally:
        with uninterrupted():
            ray.shutdown()
            shutil.rmtree(files, ignore_errors=True)


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


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Let SIGTERM, with which batch systems and spot machines say that they will soon pull the plug, be what Ctrl-C is.

    To be entered when Ray has started, which takes the signal for itself. Gives a function that raises KeyboardInterrupt if
    either has come: an exception that is raised while Ray is at work may get lost there (it did, once in some dozen times).
    """
    came = threading.Event()

    def interrupt(number: int, frame: object) -> None:
        came.set()
        raise KeyboardInterrupt

    def heed() -> None:
        if came.is_set():
            raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield heed
        return
    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Let no second Ctrl-C or SIGTERM into what ends a run: it takes seconds, and half-ended Ray processes would stay behind."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def make_token() -> None:
    """See to it that Ray's authentication token is there and ours alone: Ray would let every user of the machine read it."""
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ:
        return
    path = Path("~/.ray/auth_token").expanduser()
    if path.exists():
        with contextlib.suppress(OSError):  # it may be somebody else's to keep
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~(stat.S_IRWXG | stat.S_IRWXO))
        return
    token = secrets.token_hex(32)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "w") as handle:
            handle.write(token)
    except OSError:
        # A home that cannot be written: the token lives as long as this process.
        os.environ["RAY_AUTH_TOKEN"] = token
