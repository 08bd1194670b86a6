"""A real service of S3 on this machine, and stores in it."""

import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from moto import mock_aws
from moto.core.botocore_stubber import BotocoreStubber

from orchestrator.store import Store
from orchestrator.store.s3.connection import connections
from orchestrator.store.s3.store import S3Store
from tests.orchestrator.store.spoiling import SpoilingProxy
from tests.seaweed import SeaweedFS

BUCKET = "tests"
OpenS3 = Callable[..., S3Store]


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweed")) as server:
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def only_proxy(seaweed: SeaweedFS) -> Iterator[SpoilingProxy]:
    with SpoilingProxy(seaweed.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxy(only_proxy: SpoilingProxy) -> SpoilingProxy:
    """A way to the service that spoils selected requests."""
    only_proxy.next.clear()
    only_proxy.asked.clear()
    return only_proxy


def forget_connections() -> None:
    """Forget all buckets, as in a new process."""
    while connections:
        _, connection = connections.popitem()
        connection.drop()


@pytest.fixture(scope="session", autouse=True)
def _connections() -> Iterator[None]:
    yield
    forget_connections()


@pytest.fixture
def new_process() -> Iterator[Callable[[], None]]:
    """For tests whose process must share no knowledge with others; may be called for another."""
    forget_connections()
    yield forget_connections
    forget_connections()


@pytest.fixture
def open_s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenS3:
    """Opens a store under a prefix of its own, with this test's own cache and the credentials of the real service."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name, value in SeaweedFS.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "aws-credentials"))
    monkeypatch.setenv("DIP_CACHE", str(tmp_path / "cache"))

    def open_(options: str = "", *, bucket: str = BUCKET) -> S3Store:
        return S3Store(f"s3://{bucket}/{uuid.uuid4().hex}?{options}")

    return open_


def client_of(store: Store) -> Any:
    assert isinstance(store, S3Store)
    return store._connection.client()


@pytest.fixture
def on_moto(open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenS3]:
    """Opens stores in the simulated S3 of AWS."""
    one_at_a_time, answer = threading.Lock(), BotocoreStubber.process_request

    def process_request(*arguments: Any) -> Any:
        with one_at_a_time:  # moto is no server: it knows nothing of threads
            return answer(*arguments)

    monkeypatch.setattr(BotocoreStubber, "process_request", process_request)
    with mock_aws():
        client_of(open_s3()).create_bucket(Bucket=BUCKET)
        yield open_s3
