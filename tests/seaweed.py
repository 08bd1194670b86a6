"""A real S3 service for tests: SeaweedFS on this machine, on its loopback if not told otherwise, with its
data in a folder of its own.

with SeaweedFS(folder) as server:
    server.make_bucket("tests")
    store = open_store(server.url("tests", "prefix"))  # with server.environment in os.environ
    server.kill()
    server.start()  # the same addresses and the same data
"""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.ports import free_ports

_LOOPBACK = "127.0.0.1"
_SERVICES = ("master", "volume", "filer", "s3")
_START_S = 300.0


class SeaweedFS:
    """The server as a context manager: it runs inside the ``with``, and may be killed and started there at will.

    Args:
        folder: Where its data, settings and log go; it must exist.
        host: The address at which it listens.
    """

    environment = {  # noqa: RUF012 - never changed
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": "tests-secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    """The environment variables with which a client may do everything."""

    def __init__(self, folder: Path, host: str = _LOOPBACK) -> None:
        self._folder = folder
        self._host = host
        self._process: subprocess.Popen[bytes] | None = None
        ports = free_ports(2 * len(_SERVICES), host)
        self._ports = dict(zip(_SERVICES, ports, strict=False))
        self._grpc_ports = dict(zip(_SERVICES, ports[len(_SERVICES) :], strict=True))
        (folder / "data").mkdir(exist_ok=True)
        key = {
            "accessKey": self.environment["AWS_ACCESS_KEY_ID"],
            "secretKey": self.environment["AWS_SECRET_ACCESS_KEY"],
        }
        identity = {"name": "tests", "credentials": [key], "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))

    @property
    def endpoint(self) -> str:
        """The address of its S3 service."""
        return f"http://{self._host}:{self._ports['s3']}"

    def url(self, bucket: str, prefix: str) -> str:
        """The URL of a store on this server."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}"

    def make_bucket(self, bucket: str) -> None:
        """A new bucket, by the server's other door: there a bucket is a folder, and nothing is signed."""
        status = self._status("filer", "POST", f"/buckets/{bucket}/")
        if status != http.client.CREATED:
            raise RuntimeError(f"SeaweedFS made no bucket: {status}")

    def start(self) -> None:
        """Start the server with its data, and wait until it answers.

        Raises:
            TimeoutError: it did not within a minute.
        """
        command = [
            *(Path(sys.executable).with_name("weed"), "-logtostderr", "server", "-filer", "-s3"),
            *(f"-ip={self._host}", f"-ip.bind={self._host}", "-dir=data", "-s3.config=s3.json"),
            *(
                "-master.telemetry=false",
                "-master.volumeSizeLimitMB=64",
                "-volume.max=30",
                "-s3.autoCreateBucket=false",
            ),
            "-master.electionTimeout=1s",  # by default a master that starts again waits for ten seconds
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.localSocket=s3.sock", "-filer.localSocket=filer.sock"),
            *(f"-{service}.port={port}" for service, port in self._ports.items()),
            *(f"-{service}.port.grpc={port}" for service, port in self._grpc_ports.items()),
        ]
        environment = {"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder)}
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, env=environment
            )
        end = time.monotonic() + _START_S
        while self._status("s3", "GET", "/healthz") != http.client.OK:
            if self._process.poll() is not None or time.monotonic() > end:
                log_end = (self._folder / "log").read_text(errors="replace")[-2000:]
                self.kill()
                raise TimeoutError(f"SeaweedFS did not start: {log_end}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End the server without warning, as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        for service, port in self._grpc_ports.items():
            # It leaves these behind, and takes no other place for them.
            Path(f"/tmp/seaweedfs-{service}-grpc-{port}.sock").unlink(missing_ok=True)  # noqa: S108

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _status(self, service: str, method: str, path: str) -> int:
        """The HTTP status of one of its services' answer; 0 if there is none."""
        connection = http.client.HTTPConnection(self._host, self._ports[service], timeout=60)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request(method, path)
            return connection.getresponse().status
        return 0
