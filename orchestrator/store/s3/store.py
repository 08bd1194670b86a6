"""A bucket of S3, or of a service that speaks its protocol, as a store."""

import contextlib
import dataclasses
import hashlib
import io
import math
import os
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import botocore.exceptions as failures
from boto3.s3.transfer import TransferConfig
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from orchestrator.errors import DamagedError, NotFoundError, StoreError, StoreUnavailableError
from orchestrator.store.base import MARKER, Entry, check_key
from orchestrator.store.local import LocalStore
from orchestrator.store.s3.connection import THREADS, Connection, cache_folder, cache_key, connections
from orchestrator.store.s3.place import S3Place
from orchestrator.store.s3.trouble import (
    BAD_CREDENTIALS,
    EXPIRED,
    NO_CREDENTIALS,
    NO_KEY,
    NOT_RENEWED,
    PASSING,
    RENEW,
    SAID_CHARACTERS,
    UNREACHABLE,
    about_a_redirect,
    about_credentials,
    code_of,
    status_of,
)
from orchestrator.text import printable

_SHA256 = "dip-sha256"
_TOKEN = "dip-token"  # noqa: S105 - the name of a create's token
_SEEN_FOR_S = 10.0
"""So long a look at the marker of a store that is held counts."""
_LOOK_AHEAD = 2 * THREADS
_DELETED_AT_ONCE = 1000  # the most keys that S3 deletes in one request


class S3Store:
    """The contract of `Store` on a bucket of S3.

    An object appears in S3 whole or not at all, and the service is consistent; creating once rests on ``If-None-Match:
    *``. Each object carries its SHA-256 as metadata. Nothing is retried here: `PatientStore` does that for every store.

    Args:
        url: ``s3://bucket/prefix?option=value&...`` (docs/store.md).

    Raises:
        UserMistakeError: the URL is malformed.
    """

    multipart_bytes = 32 << 20
    """Objects of this size and more are written in parts."""
    part_bytes = 16 << 20

    def __init__(self, url: str, marker: bytes = b"") -> None:
        self._place = S3Place.parse(url)
        self._marker, self._seen = marker, -math.inf

    def __reduce__(self) -> tuple[type["S3Store"], tuple[str, bytes]]:
        return S3Store, (self.url, self._marker)

    @property
    def url(self) -> str:
        """The bucket, the prefix and all options, never a secret."""
        return self._place.url

    def hold(self, marker: bytes) -> None:
        """Take only the place in the bucket that has this marker for this store."""
        self._marker, self._seen = marker, -math.inf

    def show(self, key: str) -> str:
        """The object's address, ``s3://bucket/prefix/key``."""
        return f"s3://{self._place.bucket}/{self._address(key)}"

    def put(self, key: str, data: bytes) -> None:
        """Write an object, replacing one of the same key."""
        address, extra = self._address(key), self._extra(data)
        with self._reporting("write", key) as client:
            if len(data) < self.multipart_bytes:
                client.put_object(Bucket=self._place.bucket, Key=address, Body=data, **extra)
            else:
                config = TransferConfig(
                    multipart_threshold=self.multipart_bytes,
                    multipart_chunksize=self.part_bytes,
                    max_concurrency=4,
                    preferred_transfer_client="classic",
                )
                client.upload_fileobj(io.BytesIO(data), self._place.bucket, address, ExtraArgs=extra, Config=config)

    def create(self, key: str, data: bytes, *, token: str | None = None) -> bool:
        """Write an object unless the key is taken; returns whether it was written."""
        token = token or uuid.uuid4().hex
        address, extra = self._address(key), self._extra(data, **{_TOKEN: token})
        with self._reporting("create", key) as client:
            try:
                client.put_object(Bucket=self._place.bucket, Key=address, Body=data, IfNoneMatch="*", **extra)
            except failures.ClientError as error:
                if status_of(error) != 412:
                    raise
            else:
                return True
        try:
            # Taken, perhaps by an earlier try with this token whose answer was lost.
            return self._metadata(key).get(_TOKEN) == token
        except NotFoundError:
            return False  # it was taken, and has been deleted since

    def get(self, key: str) -> bytes:
        """The object's bytes, verified."""
        for _ in range(2):  # damage on the way does not happen twice
            with self._reporting("read", key) as client:
                answer = client.get_object(Bucket=self._place.bucket, Key=self._address(key))
                with contextlib.closing(answer["Body"]) as body:
                    data: bytes = body.read()
            written = answer["Metadata"].get(_SHA256)
            if written is None or hashlib.sha256(data).hexdigest() == written:
                return data
        raise DamagedError(
            f"{printable(self.show(key))} is damaged: it is not what was written (SHA-256); put back a good copy,"
            " or delete it if it was computed, and resume the run"
        )

    def get_many(self, keys: Iterable[str]) -> Iterator[bytes]:
        """The bytes of many objects, in the keys' order, 16 fetched at a time and at most 32 held."""
        waiting: deque[Future[bytes]] = deque()
        pool = ThreadPoolExecutor(THREADS, thread_name_prefix="s3-get")
        try:
            for key in keys:
                waiting.append(pool.submit(self.get, key))
                if len(waiting) == _LOOK_AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def exists(self, key: str) -> bool:
        """Whether the key holds an object."""
        return self.checksum(key) is not None

    def checksum(self, key: str) -> str | None:
        """The SHA-256 that was recorded with an object; None if there is none."""
        try:
            return self._metadata(key).get(_SHA256, "")
        except NotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Delete an object; nothing happens if there is none."""
        with contextlib.suppress(NotFoundError), self._reporting("delete", key) as client:
            client.delete_object(Bucket=self._place.bucket, Key=self._address(key))

    def delete_all(self, prefix: str) -> None:
        """Delete all objects whose keys begin with ``prefix/``."""
        self.delete_many(self.keys(check_key(prefix)))

    def delete_many(self, keys: Iterable[str]) -> None:
        """Delete these objects; nothing happens where there is none."""
        keys = tuple(keys)
        for key in keys:
            if not key.isprintable():  # many are deleted by a list in XML, which cannot hold all characters
                self.delete(key)
        listed = [{"Key": self._address(key)} for key in keys if key.isprintable()]
        for start in range(0, len(listed), _DELETED_AT_ONCE):
            some = {"Objects": listed[start : start + _DELETED_AT_ONCE], "Quiet": True}
            with self._reporting("delete", keys[start]) as client:
                for error in client.delete_objects(Bucket=self._place.bucket, Delete=some).get("Errors", []):
                    raise failures.ClientError({"Error": error}, "DeleteObjects")

    def entries(self, prefix: str) -> Iterator[Entry]:
        """The entries of all keys that begin with ``prefix/``, sorted."""
        start = len(self._prefix(prefix)) - len(prefix and f"{prefix}/")
        listed = [item for page in self._pages(prefix) for item in page.get("Contents", [])]
        found = (Entry(item["Key"][start:], item["Size"], item["LastModified"].timestamp()) for item in listed)
        # Consoles mark folders by empty objects with a slash at the end, which are none of ours.
        yield from sorted(entry for entry in found if not entry.key.endswith("/"))

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with ``prefix/``, sorted."""
        return (entry.key for entry in self.entries(prefix))

    def children(self, prefix: str) -> list[str]:
        """The next parts of the keys that begin with ``prefix/``, sorted, each once."""
        start = len(self._prefix(prefix))
        found: set[str] = set()
        for page in self._pages(prefix, Delimiter="/"):
            found.update(item["Prefix"][start:-1] for item in page.get("CommonPrefixes", []))
            found.update(item["Key"][start:] for item in page.get("Contents", []))
        return sorted(found - {""})

    def sweep(self, prefix: str, *, dry_run: bool = False) -> int:
        """Do nothing: killed writers leave no objects, and the bucket's lifecycle removes parts of uploads."""
        if prefix:
            check_key(prefix)
        return 0

    def local_path(self, key: str) -> Path:
        """A copy of the object in this machine's cache, named by its content.

        On the first request in a process the copy is compared with the store's SHA-256 of the object; later requests
        skip this.
        """
        copies, address = self._connection.copies, self._address(key)
        if address not in copies or not copies[address].is_file():
            copies[address] = self._cached(key)
        return copies[address]

    def _cached(self, key: str) -> Path:
        cache = LocalStore(cache_folder())
        written = self._metadata(key).get(_SHA256, "")
        if re.fullmatch(r"[0-9a-f]{64}", written):
            copy = Path(cache.show(cache_key(written)))
            with contextlib.suppress(OSError), copy.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == written:
                    return copy
        data = self.get(key)
        name = cache_key(hashlib.sha256(data).hexdigest())
        try:
            cache.put(name, data)
        except StoreError as error:
            raise type(error)(f"no copy of {printable(key)} in the cache (DIP_CACHE is its place): {error}") from error
        return Path(cache.show(name))

    @property
    def _connection(self) -> "Connection":
        place = dataclasses.replace(self._place, prefix="")
        return connections.setdefault((place, os.getpid()), Connection(place))

    def _address(self, key: str) -> str:
        """The key in the bucket."""
        check_key(key)
        return f"{self._place.prefix}/{key}" if self._place.prefix else key

    def _prefix(self, prefix: str) -> str:
        """What the keys below a prefix begin with in the bucket; those of the whole store if it is empty."""
        whole = f"{self._place.prefix}/" if self._place.prefix else ""
        return f"{self._address(prefix)}/" if prefix else whole

    def _extra(self, data: bytes, **metadata: str) -> dict[str, Any]:
        """The metadata that is sent with an object."""
        extra: dict[str, Any] = {"Metadata": {_SHA256: hashlib.sha256(data).hexdigest(), **metadata}}
        if self._place.sse:
            extra["ServerSideEncryption"] = self._place.sse
        if self._place.kms_key:
            extra["SSEKMSKeyId"] = self._place.kms_key
        if self._place.storage_class:
            extra["StorageClass"] = self._place.storage_class
        return extra

    def _metadata(self, key: str) -> dict[str, str]:
        """An object's metadata, by a GET of a byte: errors of HEAD tell no missing key from a missing bucket."""
        where = {"Bucket": self._place.bucket, "Key": self._address(key)}
        with self._reporting("read", key) as client:
            try:
                answer = client.get_object(**where, Range="bytes=0-0")
            except failures.ClientError as error:
                if status_of(error) != 416:
                    raise
                answer = client.head_object(**where)  # an empty object has no first byte
            else:
                with contextlib.closing(answer["Body"]) as body:
                    body.read()
        found: dict[str, str] = answer["Metadata"]
        return found

    def _pages(self, prefix: str, **how: str) -> Iterator[dict[str, Any]]:
        with self._reporting("list", prefix) as client:
            pages = client.get_paginator("list_objects_v2")
            yield from pages.paginate(Bucket=self._place.bucket, Prefix=self._prefix(prefix), **how)

    @contextlib.contextmanager
    def _reporting(self, verb: str, key: str) -> Iterator[Any]:
        """The client; errors inside this context become errors of the store."""
        connection, client, place = self._connection, None, printable(self.show(key) if key else self.url)
        try:
            client = connection.client()
            if self._marker and time.monotonic() - self._seen > _SEEN_FOR_S:
                self._check_held(client)
            yield client
        except RuntimeError as error:
            if "credentials" not in str(error):
                raise
            connection.drop(client)  # botocore renewed a role's credentials and was given expired ones
            raise StoreUnavailableError(f"cannot {verb} {place}: {RENEW}") from error
        except (failures.ClientError, failures.BotoCoreError, ResponseParserError, HTTPError, OSError) as error:
            if code_of(error) in EXPIRED | BAD_CREDENTIALS or isinstance(error, NO_CREDENTIALS + NOT_RENEWED):
                connection.drop(client)  # a new client reads the credentials afresh
            if code_of(error) == NO_KEY:
                connection.answered = True
                raise NotFoundError(f"the store {self.url} holds no {printable(key)}") from None
            kind, reason = self._diagnosis(error)
            raise kind(f"cannot {verb} {place}: {reason}") from error
        else:
            connection.answered = True

    def _check_held(self, client: Any) -> None:
        """Compare the marker with the one that is wanted.

        Raises:
            StoreUnavailableError: it is another, or not there.
        """
        try:
            answer = client.get_object(Bucket=self._place.bucket, Key=self._address(MARKER))
            with contextlib.closing(answer["Body"]) as body:
                found: bytes = body.read(len(self._marker) + 1)
        except failures.ClientError as error:
            if code_of(error) != NO_KEY:
                raise
            found = b""
        if found != self._marker:
            raise StoreUnavailableError(
                f"the store {self.url} {'is another one' if found else f'has lost its {MARKER}'}: it was emptied or"
                " replaced; put it back, and resume the run"
            )
        self._seen = time.monotonic()

    def _diagnosis(self, error: Exception) -> tuple[type[StoreError], str]:
        """Whether an error passes, and what it is, in words that hold no secret."""
        credentials = about_credentials(error)
        if credentials:
            return credentials
        code, status, words = code_of(error), status_of(error), printable(str(error))[:SAID_CHARACTERS]
        if code == "NoSuchBucket":
            # A bucket that has been seen still exists: some services deny it while they start.
            kind = StoreUnavailableError if self._connection.answered else StoreError
            return kind, f"there is no bucket {self._place.bucket}: make it, or correct the URL of the store"
        if elsewhere := about_a_redirect(error, self._place.bucket):
            return StoreError, elsewhere
        if isinstance(error, failures.SSLError) and "CERTIFICATE_VERIFY_FAILED" in words:
            return StoreError, f"the service's certificate is not trusted (AWS_CA_BUNDLE names one that is): {words}"
        if isinstance(error, UNREACHABLE):
            return StoreUnavailableError, f"the service cannot be reached: {words}"
        # A 404 that does not name the missing thing comes from something before the service, or in its place.
        passes = code in PASSING or status in (404, 408, 429) or (status >= 500 and status != 501)
        return StoreUnavailableError if passes else StoreError, words
