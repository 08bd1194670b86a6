"""Clients of S3, one for each bucket and process, and this machine's copies of objects."""

import os
import threading
from pathlib import Path
from typing import Any

import boto3.session
import botocore.session
from botocore.config import Config

from orchestrator.store.s3.place import S3Place

_ROLE_IS_ASKED = {"metadata_service_timeout": 4, "metadata_service_num_attempts": 3}
"""How often a machine's role is requested, and how many seconds each request may take. The default is once for
one second, which a busy machine exceeds when all its workers begin at once; a run that lost its credentials
this way would be stopped.
"""
THREADS = 16


class Connection:
    """Everything that all stores in one bucket share in a process.

    Attributes:
        answered: Whether the bucket is known to exist.
        copies: The files of the cache that were compared with the bucket, by the keys there.
    """

    def __init__(self, place: S3Place) -> None:
        self.answered = False
        self.copies: dict[str, Path] = {}
        self._place = place
        self._client: Any = None
        self._lock = threading.Lock()

    def client(self) -> Any:
        """The client, made when it is first needed: boto3's are safe to share among
        threads, but not among processes.
        """
        with self._lock:
            if self._client is None:
                place = self._place
                core = botocore.session.Session(profile=place.profile or None)
                for name, value in _ROLE_IS_ASKED.items():
                    # Settings in the environment or in AWS's own files are kept.
                    if core.get_config_variable(name) == 1:
                        core.set_config_variable(name, value)
                session = boto3.session.Session(botocore_session=core, region_name=place.region or None)
                config = Config(
                    connect_timeout=5,
                    read_timeout=20,
                    retries={"total_max_attempts": 1},
                    max_pool_connections=2 * THREADS,
                    # Services other than AWS do not all know the newer checksums, nor buckets as names of hosts.
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    s3={"addressing_style": "path" if place.endpoint else "auto"},
                )
                self._client = session.client("s3", endpoint_url=place.endpoint or None, config=config)
                self._client.meta.events.register("before-call.s3.HeadBucket", _follow_no_redirect)
            return self._client

    def drop(self, client: Any = None) -> None:
        """Forget the client; given a client, forget it only if no other has taken its place already."""
        with self._lock:
            if self._client is None or client not in (None, self._client):
                return
            self._client.close()
            self._client = None


def _follow_no_redirect(context: dict[str, Any], **_: Any) -> None:
    """Mark a request for a bucket's region as redirected already.

    botocore follows a redirect to another region. Where the answer does not name the region, it asks for the bucket;
    and where that is answered by a redirect too, it would ask again, without end.
    """
    context.get("s3_redirect", {})["redirected"] = True


connections: dict[tuple[S3Place, int], Connection] = {}
"""Connections by bucket and process: a forked process shares no connection with its parent."""


def cache_folder() -> str:
    """Where copies of objects are kept on this machine."""
    caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return os.environ.get("DIP_CACHE") or f"{caches}/dip-orchestrator"


def cache_key(sha256: str) -> str:
    """The key of a copy in the cache."""
    return f"{sha256[:2]}/{sha256}"
