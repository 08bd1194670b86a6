import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import botocore.exceptions as failures
import pytest

from orchestrator.errors import DamagedError, StoreError, StoreUnavailableError
from orchestrator.store import Store
from orchestrator.store.contract import StoreContract
from orchestrator.store.patient import PatientStore
from orchestrator.store.s3 import store as module
from orchestrator.store.s3.store import S3Store
from tests.orchestrator.store.conftest import BUCKET, OpenS3, client_of
from tests.orchestrator.store.spoiling import Refused, SpoilingProxy
from tests.seaweed import SeaweedFS


def patient(store: S3Store) -> tuple[PatientStore, list[float]]:
    """A store that waits without waiting, and its waits."""
    waits: list[float] = []
    return PatientStore(store, patience_s=60, sleep=waits.append), waits


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(S3Store, "multipart_bytes", 5 << 20)
    monkeypatch.setattr(S3Store, "part_bytes", 5 << 20)


@pytest.fixture
def spoilt(proxy: SpoilingProxy, open_s3: OpenS3) -> S3Store:
    """A store behind the proxy."""
    return open_s3(f"endpoint={proxy.endpoint}")


@pytest.mark.usefixtures("small_parts")
class S3Contract(StoreContract):
    def damage(self, store: Store, key: str, data: bytes) -> None:
        client, (_, _, place) = client_of(store), store.show(key).partition(f"{BUCKET}/")
        metadata = client.head_object(Bucket=BUCKET, Key=place)["Metadata"]
        client.put_object(Bucket=BUCKET, Key=place, Body=data, Metadata=metadata)


class TestOnMoto(S3Contract):
    @pytest.fixture
    def store(self, on_moto: OpenS3) -> S3Store:
        return on_moto()


class TestOnSeaweedFS(S3Contract):
    @pytest.fixture
    def store(self, seaweed: SeaweedFS, open_s3: OpenS3) -> S3Store:
        return open_s3(f"endpoint={seaweed.endpoint}")


# The metadata sent with objects.


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("size", [1, 6 << 20])
def test_objects_are_encrypted_and_stored_as_the_url_says(on_moto: OpenS3, size: int) -> None:
    store = on_moto("sse=aws:kms&kms_key=alias/dip&storage_class=STANDARD_IA")
    store.put("put", bytes(size))
    store.create("create", bytes(size))
    for key in ("put", "create"):
        head = client_of(store).head_object(Bucket=BUCKET, Key=store.show(key).partition(f"{BUCKET}/")[2])
        assert head["ServerSideEncryption"] == "aws:kms"
        assert head["SSEKMSKeyId"] == "alias/dip"
        assert head["StorageClass"] == "STANDARD_IA"


def test_objects_of_others_are_taken_as_they_are(on_moto: OpenS3) -> None:
    store = on_moto()
    place = store.show("a").partition(f"{BUCKET}/")[2]
    client_of(store).put_object(Bucket=BUCKET, Key=place, Body=b"theirs")
    client_of(store).put_object(Bucket=BUCKET, Key=f"{place}-folder/", Body=b"")
    assert store.get("a") == b"theirs"
    assert store.local_path("a").read_bytes() == b"theirs"
    assert list(store.keys("a-folder")) == []
    assert store.children("a-folder") == []


def test_more_are_deleted_than_a_request_takes(on_moto: OpenS3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DELETED_AT_ONCE", 10)
    store = on_moto()
    for number in range(25):
        store.put(f"many/{number}", b"")
    store.delete_all("many")
    assert list(store.keys("many")) == []


def test_what_cannot_be_deleted_is_told(on_moto: OpenS3, monkeypatch: pytest.MonkeyPatch) -> None:
    store = on_moto()
    store.put("a/b", b"")
    errors = [{"Key": "a/b", "Code": "AccessDenied", "Message": "no"}]
    monkeypatch.setattr(client_of(store), "delete_objects", lambda **_: {"Errors": errors})
    with pytest.raises(StoreError, match=r"cannot delete .*a/b: the credentials do not allow it"):
        store.delete_all("a")


def test_no_more_than_a_few_objects_are_fetched_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(S3Store, "get", lambda _, key: key.encode())

    def keys() -> Iterator[str]:
        for number in range(1000):
            asked.append(str(number))
            yield str(number)

    objects = S3Store("s3://tests/p").get_many(keys())
    assert [next(objects) for _ in range(3)] == [b"0", b"1", b"2"]
    assert len(asked) == 34
    objects.close()  # type: ignore[attr-defined]


# Trouble that passes.


@pytest.mark.parametrize(
    "refused",
    [
        *(
            Refused(500, "InternalError"),
            Refused(502),
            Refused(503, "SlowDown"),
            Refused(504),
            Refused(507, "StorageFull"),
        ),
        *(Refused(429), Refused(400, "RequestTimeout"), Refused(400, "BadDigest"), Refused(409, "OperationAborted")),
        *(Refused(403, "QuotaExceeded"), Refused(400, "ExpiredToken"), Refused(404)),
    ],
)
def test_a_service_in_trouble_is_unavailable(spoilt: S3Store, proxy: SpoilingProxy, refused: Refused) -> None:
    proxy.next.append(refused)
    with pytest.raises(StoreUnavailableError, match="cannot read"):
        spoilt.get("a")
    assert len(proxy.asked) == 1


def test_every_operation_asks_once_and_tells_of_the_trouble(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    for operation in (
        lambda: spoilt.put("a", b"1"),
        lambda: spoilt.create("a", b"1"),
        lambda: spoilt.get("a"),
        lambda: list(spoilt.get_many(["a"])),
        lambda: spoilt.exists("a"),
        lambda: spoilt.local_path("a"),
        lambda: list(spoilt.keys("a")),
        lambda: spoilt.children("a"),
        lambda: spoilt.delete("a"),
        lambda: spoilt.delete_all("a"),
    ):
        proxy.next.append(Refused(503, "SlowDown"))
        proxy.asked.clear()
        with pytest.raises(StoreUnavailableError, match="SlowDown"):
            operation()
        assert len(proxy.asked) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Refused(301, "PermanentRedirect"), "elsewhere .301 PermanentRedirect., not where: correct region="),
        (Refused(301, headers=(("Location", "https://s3.example.org/b/k?s=1"),)), "https://s3.example.org .301.: corr"),
        (Refused(308, headers=(("Location", "https://s3.example.org/b/k"),)), "https://s3.example.org .308.: correct"),
        (Refused(301, "PermanentRedirect", (("x-amz-bucket-region", "eu-north-1"),)), "write region=eu-north-1 in"),
    ],
)
def test_a_bucket_that_is_elsewhere_is_told_at_once_and_where(
    spoilt: S3Store, proxy: SpoilingProxy, answer: Refused, said: str
) -> None:
    store, waits = patient(spoilt)
    for operation in (lambda: store.get("a"), lambda: store.put("a", b"1"), lambda: list(store.keys("a"))):
        proxy.asked.clear()
        proxy.next.extend([answer] * 200)
        with pytest.raises(StoreError, match=said) as raised:
            operation()
        assert "\n" not in str(raised.value)
        assert len(proxy.asked) < 5
        proxy.next.clear()
    assert waits == []


def test_an_operation_goes_through_when_the_trouble_is_over(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    store, waits = patient(spoilt)
    proxy.next.extend([Refused(503, "SlowDown"), Refused(503, "SlowDown")])
    store.put("a", b"1")
    proxy.next.extend(["lost", "cut", Refused(500, "InternalError")])
    assert store.get("a") == b"1"
    proxy.next.append("lost")
    store.delete("a")
    assert not store.exists("a")
    assert len(waits) == 6


def test_a_create_whose_answer_was_lost_is_not_somebody_elses(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    store, waits = patient(spoilt)
    proxy.next.append("lost")
    assert store.create("a", b"mine")
    assert len(waits) == 1
    proxy.next.extend([Refused(409, "ConditionalRequestConflict"), None, Refused(500, "InternalError")])
    assert not store.create("a", b"theirs")
    assert len(waits) == 3
    assert store.get("a") == b"mine"


def test_what_was_taken_and_is_gone_was_not_created(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    proxy.next.append(Refused(412, "PreconditionFailed"))
    assert not spoilt.create("a", b"mine")
    assert not spoilt.exists("a")


def test_bytes_that_change_on_the_way_are_read_again(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    spoilt.put("a", b"as it was")
    proxy.next.append("changed")
    assert spoilt.get("a") == b"as it was"
    proxy.next.extend(["changed", "changed"])
    with pytest.raises(DamagedError, match="a is damaged"):
        spoilt.get("a")


@pytest.mark.usefixtures("small_parts")
def test_of_an_upload_that_fails_nothing_is_left(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    proxy.next.extend([None, Refused(503, "SlowDown")])
    with pytest.raises(StoreUnavailableError, match="SlowDown"):
        spoilt.put("large", bytes(12 << 20))
    assert not spoilt.exists("large")
    assert not client_of(spoilt).list_multipart_uploads(Bucket=BUCKET).get("Uploads")


def test_where_nobody_listens_is_unavailable(open_s3: OpenS3, seaweed: SeaweedFS) -> None:
    with SpoilingProxy(seaweed.endpoint) as gone:
        endpoint = gone.endpoint
    with pytest.raises(StoreUnavailableError, match="the service cannot be reached"):
        open_s3(f"endpoint={endpoint}").get("a")


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (failures.ReadTimeoutError(endpoint_url="http://s3"), StoreUnavailableError, "cannot be reached"),
        (failures.ConnectTimeoutError(endpoint_url="http://s3"), StoreUnavailableError, "cannot be reached"),
        (failures.SSLError(endpoint_url="https://s3", error="EOF"), StoreUnavailableError, "cannot be reached"),
        (failures.SSLError(endpoint_url="https://s3", error="CERTIFICATE_VERIFY_FAILED"), StoreError, "AWS_CA_BUNDLE"),
        (failures.CredentialRetrievalError(provider="process", error_msg="s3cret"), StoreUnavailableError, "expired"),
        (RuntimeError("refreshed credentials are still expired"), StoreUnavailableError, "expired"),
        (failures.NoCredentialsError(), StoreError, "set AWS_ACCESS_KEY_ID"),
        (failures.ProfileNotFound(profile="nobody"), StoreError, "nobody"),
        (ConnectionResetError("reset"), StoreUnavailableError, "cannot be reached"),
        (PermissionError(13, "Permission denied", "/credentials"), StoreError, "/credentials"),
    ],
)
@pytest.mark.usefixtures("new_process")
def test_what_the_client_says_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception, kind: type[StoreError], reason: str
) -> None:
    def fail(**_: Any) -> None:
        raise error

    client = SimpleNamespace(get_object=fail, close=lambda: None)
    store = S3Store("s3://tests/p")
    monkeypatch.setattr(store._connection, "_client", client)
    with pytest.raises(StoreError, match=reason) as caught:
        store.get("line\nbreak")
    assert type(caught.value) is kind
    assert str(caught.value).startswith("cannot read s3://tests/p/line\\nbreak: ")
    assert "s3cret" not in str(caught.value)


@pytest.mark.usefixtures("new_process")
def test_mistakes_of_the_program_are_no_trouble_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: Any) -> None:
        raise RuntimeError("something else")

    store = S3Store("s3://tests/p")
    monkeypatch.setattr(store._connection, "_client", SimpleNamespace(get_object=fail))
    with pytest.raises(RuntimeError, match="something else"):
        store.get("a")


# Credentials and buckets.


@pytest.mark.usefixtures("new_process")
def test_credentials_that_expired_are_read_afresh(
    seaweed: SeaweedFS, proxy: SpoilingProxy, open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    right = [seaweed.environment[name] for name in names]
    for name in names:
        monkeypatch.delenv(name)

    def write(key: str, secret: str) -> None:
        text = f"[default]\naws_access_key_id={key}\naws_secret_access_key={secret}\n"
        (tmp_path / "aws-credentials").write_text(text)

    write("old", "old")
    store = PatientStore(open_s3(f"endpoint={proxy.endpoint}"), patience_s=60, sleep=lambda _: write(*right))
    proxy.next.append(Refused(400, "ExpiredToken"))
    store.put("a", b"1")
    assert [key for _, _, key in proxy.asked] == ["old", right[0]]


@pytest.mark.usefixtures("new_process")
@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_refused_at_once(
    seaweed: SeaweedFS, open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    monkeypatch.setenv(wrong, "s3cret")
    store, waits = patient(open_s3(f"endpoint={seaweed.endpoint}"))
    for operation in (lambda: store.put("a", b""), lambda: store.get("a"), lambda: store.exists("a")):
        with pytest.raises(StoreError, match=r"credentials are missing or wrong .*: set AWS_ACCESS_KEY_ID") as caught:
            operation()
        assert not isinstance(caught.value, StoreUnavailableError)
        assert "s3cret" not in str(caught.value)
    assert waits == []


@pytest.mark.usefixtures("new_process")
def test_without_credentials_it_is_said_which_to_set(
    seaweed: SeaweedFS, open_s3: OpenS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StoreError, match=r"missing or wrong \(none found\): set AWS_ACCESS_KEY_ID"):
        open_s3(f"endpoint={seaweed.endpoint}").get("a")


@pytest.mark.usefixtures("new_process")
def test_a_bucket_that_was_never_there_is_the_users_to_make(seaweed: SeaweedFS, open_s3: OpenS3) -> None:
    store, waits = patient(open_s3(f"endpoint={seaweed.endpoint}", bucket="none-such"))
    for operation in (
        lambda: store.put("a", b""),
        lambda: store.get("a"),
        lambda: store.exists("a"),
        lambda: store.keys("a"),
        lambda: store.local_path("a"),
    ):
        with pytest.raises(StoreError, match="there is no bucket none-such: make it"):
            operation()
    assert waits == []


def test_a_bucket_that_was_there_comes_back(spoilt: S3Store, proxy: SpoilingProxy) -> None:
    store, waits = patient(spoilt)
    proxy.next.extend([None, Refused(404, "NoSuchBucket")])
    assert not store.exists("a")
    store.put("a", b"1")
    assert len(waits) == 1


# The cache.


def test_a_process_asks_once_for_a_file(spoilt: S3Store, proxy: SpoilingProxy, new_process: Callable[[], None]) -> None:
    spoilt.put("a", b"1" * 100)
    path = spoilt.local_path("a")
    assert path.read_bytes() == b"1" * 100
    proxy.asked.clear()
    assert spoilt.local_path("a") == path
    assert proxy.asked == []
    new_process()
    assert spoilt.local_path("a") == path
    assert len(proxy.asked) == 1  # for its SHA-256 only


def test_objects_of_one_content_share_a_file(spoilt: S3Store) -> None:
    spoilt.put("a", b"1")
    spoilt.put("b", b"1")
    assert spoilt.local_path("a") == spoilt.local_path("b")


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"2"), Path.unlink])
def test_a_damaged_or_missing_copy_is_fetched_again(
    spoilt: S3Store, damage: Any, new_process: Callable[[], None]
) -> None:
    spoilt.put("a", b"1")
    damage(spoilt.local_path("a"))
    new_process()
    assert spoilt.local_path("a").read_bytes() == b"1"
    Path.unlink(spoilt.local_path("a"))
    assert spoilt.local_path("a").read_bytes() == b"1"


def test_a_cache_that_cannot_be_written_is_named(
    spoilt: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIP_CACHE", str(tmp_path / "file"))
    spoilt.put("a", b"1")
    with pytest.raises(StoreError, match=r"no copy of a in the cache \(DIP_CACHE is its place\): .*file"):
        spoilt.local_path("a")


def test_the_cache_is_where_caches_are(spoilt: S3Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    spoilt.put("a", b"1")
    assert spoilt.local_path("a").is_relative_to(tmp_path / "caches" / "dip-orchestrator")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    spoilt.put("b", b"2")
    assert spoilt.local_path("b").is_relative_to(tmp_path / "home" / ".cache" / "dip-orchestrator")


# A service that crashes.


def test_a_service_may_crash_and_come_back_in_the_middle_of_a_run(seaweed: SeaweedFS, open_s3: OpenS3) -> None:
    store = PatientStore(open_s3(f"endpoint={seaweed.endpoint}"), patience_s=60)
    objects = {f"objects/{number:02}": bytes([number]) * 200_000 for number in range(40)}
    begun, trouble = threading.Event(), []

    def work() -> None:
        try:
            for number, (key, data) in enumerate(objects.items()):
                store.put(key, data)
                assert store.create(f"marks/{key}", b"")
                if number == 10:
                    begun.set()
                assert store.get("objects/00") == objects["objects/00"]  # never "not found" while the service starts
        except BaseException as error:
            trouble.append(error)
            begun.set()

    worker = threading.Thread(target=work)
    worker.start()
    begun.wait()
    seaweed.kill()
    seaweed.start()
    worker.join()
    assert trouble == []
    assert list(store.keys("objects")) == list(objects)
    assert list(store.get_many(objects)) == list(objects.values())
