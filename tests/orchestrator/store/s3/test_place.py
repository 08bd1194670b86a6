import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import UserMistakeError
from orchestrator.store.s3.place import S3Place

ALL = "region=eu-central-1&endpoint=http://127.0.0.1:9000&profile=me&sse=aws:kms&kms_key=arn:aws:kms:key/1&storage_class=X"


def test_a_url_names_bucket_prefix_and_options() -> None:
    place = S3Place.parse(f"s3://bucket/a/b c?{ALL}", {})
    assert place == S3Place(
        "bucket", "a/b c", "eu-central-1", "http://127.0.0.1:9000", "me", "aws:kms", "arn:aws:kms:key/1", "X"
    )
    assert place.url == f"s3://bucket/a/b c?{ALL}"


@pytest.mark.parametrize("url", ["s3://bucket", "s3://bucket/", "s3://bucket/?"])
def test_the_prefix_may_be_none(url: str) -> None:
    assert S3Place.parse(url, {}).url == "s3://bucket"


def test_what_the_url_does_not_say_the_environment_does() -> None:
    environment = {
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_REGION": "eu-west-2",
        "AWS_ENDPOINT_URL": "https://all.example.org",
        "AWS_ENDPOINT_URL_S3": "https://s3.example.org",
        "DIP_S3_SSE": "aws:kms",
        "DIP_S3_KMS_KEY": "alias/dip",
        "DIP_S3_STORAGE_CLASS": "STANDARD_IA",
        "AWS_PROFILE": "of this machine",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }
    place = S3Place.parse("s3://bucket/p?region=us-east-1", environment)
    assert place.url == (
        "s3://bucket/p?region=us-east-1&endpoint=https://s3.example.org&sse=aws:kms&kms_key=alias/dip"
        "&storage_class=STANDARD_IA"
    )
    assert S3Place.parse("s3://bucket/p", {"AWS_REGION": "", "AWS_DEFAULT_REGION": "eu-west-1"}).region == "eu-west-1"


@given(
    prefix=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/?.\0"), min_size=1),
    profile=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_places_url_is_read_back(prefix: str, profile: str) -> None:
    place = S3Place("bucket", prefix, profile=profile)
    assert S3Place.parse(place.url, {}) == place


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://", "no bucket's name: a store in S3 is s3://bucket/prefix"),
        ("s3:///prefix", "no bucket's name"),
        ("s3://a_b!/prefix", "'a_b!' is no bucket's name"),
        ("s3://bucket/a/../b", "the prefix of the store"),
        ("s3://bucket/a//b", "the prefix of the store"),
        ("s3://bucket/p?reigon=x", "'reigon' is no option of a store in S3; did you mean region"),
        ("s3://bucket/p?xyz=x", "there are region, endpoint, profile, sse, kms_key, storage_class"),
        ("s3://bucket/p?region", "the option region of the store needs one value"),
        ("s3://bucket/p?region=", "the option region of the store needs one value"),
        ("s3://bucket/p?region=a&region=b", "the option region of the store needs one value"),
        ("s3://bucket/p?region=a/b", "'a/b' is no region"),
        ("s3://bucket/p?endpoint=127.0.0.1:9000", "'127.0.0.1:9000' is no endpoint"),
        ("s3://bucket/p?endpoint=ftp://x", "'ftp://x' is no endpoint"),
        ("s3://bucket/p?endpoint=http://", "'http://' is no endpoint"),
        ("s3://bucket/p?endpoint=http://x:port", "is no endpoint"),
        ("s3://bucket/p?endpoint=http://[x", "is no endpoint"),
        ("s3://bucket/p?endpoint=http://x/%0a", "is no endpoint"),
        ("s3://bucket/p?sse=none", "sse of the store is AES256 or aws:kms, not 'none'"),
        ("s3://bucket/p?kms_key=1", "kms_key of the store is for sse=aws:kms only"),
    ],
)
def test_a_mistake_is_said_in_one_line(url: str, said: str) -> None:
    with pytest.raises(UserMistakeError) as caught:
        S3Place.parse(url, {})
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIA:s3cret@bucket/prefix",
        "s3://AKIA:s3/cret@bucket/prefix",
        "s3://s3cret@bucket",
        "s3://bucket/p?access_key=s3cret",
        "s3://bucket/p?aws_secret_access_key=s3cret",
        "s3://bucket/p?session_token=s3cret",
        "s3://bucket/p?endpoint=http://AKIA:s3cret@host",
    ],
)
def test_credentials_have_no_place_in_a_url_and_are_not_echoed(url: str) -> None:
    with pytest.raises(UserMistakeError, match="holds no credentials") as caught:
        S3Place.parse(url, {})
    assert "s3" not in str(caught.value)
