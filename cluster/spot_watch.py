"""Tells Ray that the spot machine it runs on will be taken away, so that fits write a checkpoint and go on elsewhere.

    python3 spot_watch.py aws
    python3 spot_watch.py gce --notice 120

It goes into the background and asks the cloud's metadata service every two seconds. At a notice it runs ``ray
drain-node`` for this machine until that has succeeded. It ends after that, when the raylet is gone, and where there is
no such service. One runs per user and machine. It connects to no other address, uses no proxy, and needs the standard
library only, since it is copied to machines unchanged.

Sources: "Spot Instance interruption notices" and "Use IMDSv2" in the EC2 User Guide; "Create and use Spot VMs" in the
Compute Engine documentation.
"""

import argparse
import contextlib
import fcntl
import http.client
import json
import logging
import os
import subprocess
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_METADATA = "http://169.254.169.254"
_ASKED_S = 2.0
_TOKEN_S = 6 * 3600
_DRAIN_S = 30.0
_AWS_NOTICE_S = 120.0
_MOST_BYTES = 1 << 16

log = logging.getLogger("spot_watch")


class NoMetadataError(OSError):
    """The answer does not come from the cloud's metadata service, or the service refuses to answer us."""


class Cloud(Protocol):
    """A cloud's metadata service."""

    def notice(self) -> float | None:
        """The seconds until the machine will be taken away; None while there is no notice.

        Raises:
            OSError: no answer, or one without meaning.
        """


class Metadata:
    """A metadata service over plain HTTP: asked directly, and never redirected."""

    def __init__(self, address: str) -> None:
        self._host = urllib.parse.urlsplit(address).netloc

    def ask(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str, Mapping[str, str]]:
        """The status, the body and the headers, by their names in lower case, of the answer.

        Raises:
            OSError: there is none.
        """
        connection = http.client.HTTPConnection(self._host, timeout=_ASKED_S)
        try:
            with contextlib.closing(connection):
                connection.request(method, path, headers=dict(headers))
                answer = connection.getresponse()
                found = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, answer.read(_MOST_BYTES).decode("utf-8", "replace"), found
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error


class Aws:
    """EC2, by IMDSv2. A recommendation to rebalance is no notice: most machines that get one are never taken away."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self._token: str | None = None

    def notice(self) -> float | None:
        """As the protocol defines it; the time is the one that EC2 names."""
        status, body = self._ask("/latest/meta-data/spot/instance-action")
        if status == http.HTTPStatus.NOT_FOUND:
            return None
        if status != http.HTTPStatus.OK:
            raise OSError(f"EC2's metadata service answers with HTTP {status}")
        try:
            notice = json.loads(body)
            action, when = notice["action"], notice.get("time")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise NoMetadataError("the answer is not from EC2's metadata service") from error
        try:
            end = datetime.strptime(when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        except (ValueError, TypeError):
            log.warning("EC2 will %s this machine, but does not say when", action)
            return _AWS_NOTICE_S
        return max(0.0, (end - datetime.now(UTC)).total_seconds())

    def _ask(self, path: str) -> tuple[int, str]:
        """The answer, with a new token if the old one has expired."""
        fresh = self._token is None
        if self._token is None:
            self._token = self._new_token()
        status, body, _ = self._metadata.ask("GET", path, {"X-aws-ec2-metadata-token": self._token})
        if status == http.HTTPStatus.UNAUTHORIZED:
            self._token = None
            return (status, body) if fresh else self._ask(path)
        return status, body

    def _new_token(self) -> str:
        wish = {"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_S), "Content-Length": "0"}
        status, token, _ = self._metadata.ask("PUT", "/latest/api/token", wish)
        # Sent back as a header, so it must be a valid one.
        if status != http.HTTPStatus.OK or not token.isascii() or not token.isprintable() or not token:
            raise NoMetadataError(f"no token of EC2's metadata service (HTTP {status})")
        return token


class Gce:
    """Google's Compute Engine, which reports that a machine is preempted, but not when that is carried out.

    Args:
        metadata: The service.
        notice_s: How long before its end the machine gets notice: ``scheduling.preemptionNoticeDuration``, or 30
            seconds.
    """

    def __init__(self, metadata: Metadata, notice_s: float) -> None:
        self._metadata = metadata
        self._notice_s = notice_s

    def notice(self) -> float | None:
        """As the protocol defines it."""
        path = "/computeMetadata/v1/instance/preempted"
        status, body, headers = self._metadata.ask("GET", path, {"Metadata-Flavor": "Google"})
        if headers.get("metadata-flavor") != "Google":
            raise NoMetadataError("this is not Google's metadata service")
        if status != http.HTTPStatus.OK:
            raise OSError(f"Google's metadata service answers with HTTP {status}")
        return self._notice_s if body.strip() == "TRUE" else None


@dataclass(frozen=True)
class Raylet:
    """A running raylet: its process, by number and time of start, and its name in the cluster."""

    proc: Path
    started: str
    node_id: str
    gcs_address: str

    @classmethod
    def of(cls, proc: Path) -> "Raylet | None":
        """The raylet that a folder such as ``/proc/123`` describes; None if it is another process, or gone."""
        try:
            words = (proc / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except OSError:
            return None
        started = _started(proc)
        if started is None or Path(words[0]).name != "raylet":
            return None
        flags = dict(word.split("=", 1) for word in words if word.startswith("--") and "=" in word)
        if not flags.get("--node_id") or not flags.get("--gcs-address"):
            return None
        return cls(proc, started, flags["--node_id"], flags["--gcs-address"])

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return _started(self.proc) == self.started


def _started(proc: Path) -> str | None:
    """When a process started, in the kernel's ticks; None if it has ended."""
    try:
        # The name, in brackets, may hold anything; after it come the state and, as the 20th from there, the start.
        fields = (proc / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError):
        return None


def find_raylet(proc: Path) -> Raylet | None:
    """Our user's raylet, the last started if there are several; None if there is none."""
    found = []
    for folder in proc.iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and folder.stat().st_uid == os.getuid():
                found.append(Raylet.of(folder))
    return max((raylet for raylet in found if raylet), key=lambda raylet: int(raylet.started), default=None)


def watch(raylet: Raylet, cloud: Cloud, *, interval_s: float, patience_s: float) -> float | None:
    """Wait for a notice.

    Returns:
        The seconds until the machine will be taken away. None if the raylet is gone, or if no metadata service has
        answered for the first ``patience_s`` seconds.
    """
    found, end = False, time.monotonic() + patience_s
    while raylet.alive:
        try:
            left = cloud.notice()
            found = True
            if left is not None:
                return left
        except OSError as error:
            if not found and time.monotonic() > end:
                log.info("there is no metadata service that could give notice: %s", error)
                return None
        time.sleep(interval_s)
    log.info("the raylet is gone")
    return None


def drain(raylet: Raylet, ray: str, left_s: float, *, pause_s: float = 1.0) -> bool:
    """Report to Ray that this machine will be taken away, until Ray has accepted it; False if its raylet is gone first.

    Args:
        raylet: The machine's.
        ray: Ray's command.
        left_s: The seconds until it will be taken away.
        pause_s: The time between two attempts.
    """
    end = time.monotonic() + left_s
    while raylet.alive:
        command = [
            *(ray, "drain-node", "--address", raylet.gcs_address, "--node-id", raylet.node_id),
            *("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "the cloud takes this spot machine away"),
            *("--deadline-remaining-seconds", str(max(1, int(end - time.monotonic())))),
        ]
        try:
            done = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=_DRAIN_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            log.warning("%s failed: %s", ray, error)
        else:
            if done.returncode == 0:
                log.info("Ray has been told")
                return True
            log.warning("%s drain-node failed (%d): %s", ray, done.returncode, done.stderr.strip()[-500:])
        time.sleep(pause_s)
    return False


@contextlib.contextmanager
def only_one(lock: Path, patience_s: float) -> Iterator[bool]:
    """Whether we are the only process that holds the lock. A watcher whose raylet is gone takes a
    moment to see it and to leave.
    """
    end = time.monotonic() + patience_s
    with lock.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    yield False
                    return
                time.sleep(0.1)
            else:
                yield True
                return


def go_into_the_background(messages: Path) -> None:
    """Leave the terminal and the parent process, which is free to go on; later messages go to a file."""
    if os.fork():
        os._exit(0)
    os.setsid()
    # The leader of a session could get a terminal again; a child cannot.
    if os.fork():
        os._exit(0)
    os.chdir("/")
    with messages.open("ab") as file, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tells Ray that this spot machine will be taken away.")
    parser.add_argument("cloud", choices=["aws", "gce"])
    parser.add_argument(
        "--notice",
        type=float,
        default=30.0,
        metavar="S",
        help="gce: scheduling.preemptionNoticeDuration of the machine",
    )
    parser.add_argument("--metadata", default=_METADATA, metavar="URL", help="where the metadata service is")
    parser.add_argument("--ray", default="ray", help="Ray's command")
    parser.add_argument("--raylet", type=int, metavar="PID", help="the raylet (default: our user's last one)")
    parser.add_argument("--interval", type=float, default=2.0, metavar="S", help="the time between two requests")
    parser.add_argument(
        "--patience",
        type=float,
        default=120.0,
        metavar="S",
        help="how long to wait for the lock, the raylet and the service",
    )
    parser.add_argument(
        "--files", type=Path, default=Path.home(), metavar="FOLDER", help="where the lock and the messages go"
    )
    parser.add_argument("--foreground", action="store_true", help="stay in the foreground, and log there")
    return parser.parse_args(arguments)


def main() -> None:
    """The command."""
    options = parse()
    if not options.foreground:
        go_into_the_background(options.files / ".dip-spot-watch.log")
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    with only_one(options.files / ".dip-spot-watch.lock", options.patience) as alone:
        if not alone:
            log.info("another one watches already")
            return
        end = time.monotonic() + options.patience
        while (raylet := _raylet(options.raylet)) is None:
            if time.monotonic() > end:
                log.warning("there is no raylet to watch")
                return
            time.sleep(min(1.0, options.interval))
        metadata = Metadata(options.metadata)
        cloud: Cloud = Aws(metadata) if options.cloud == "aws" else Gce(metadata, options.notice)
        log.info("watching for node %s", raylet.node_id)
        left = watch(raylet, cloud, interval_s=options.interval, patience_s=options.patience)
        if left is not None:
            log.info("the machine will be taken away in %.0f s", left)
            drain(raylet, options.ray, left)


def _raylet(number: int | None) -> Raylet | None:
    proc = Path("/proc")
    return find_raylet(proc) if number is None else Raylet.of(proc / str(number))


if __name__ == "__main__":
    main()
