"""The URL of a store in S3: ``s3://bucket/prefix?option=value&...``."""

import difflib
import os
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from orchestrator.errors import StoreError, UserMistakeError
from orchestrator.store.base import check_key
from orchestrator.text import printable

_ENVIRONMENT = {
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    "sse": ("DIP_S3_SSE",),
    "kms_key": ("DIP_S3_KMS_KEY",),
    "storage_class": ("DIP_S3_STORAGE_CLASS",),
}
_SSE = ("AES256", "aws:kms")
_NO_CREDENTIALS_HERE = (
    "the URL of a store holds no credentials: give them in the environment (AWS_ACCESS_KEY_ID and"
    " AWS_SECRET_ACCESS_KEY), in a profile, or by the machine's role"
)


@dataclass(frozen=True)
class S3Place:
    """A bucket, the prefix of all keys in it (empty: none), and how to reach it; AWS's own files decide empty options.

    Options from the environment become part of the place, and so of its URL: workers on other machines, whose
    environment differs, find the same store. A profile does not, because its name means something on one machine only.
    """

    bucket: str
    prefix: str
    region: str = ""
    endpoint: str = ""
    profile: str = ""
    sse: str = ""
    kms_key: str = ""
    storage_class: str = ""

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] = os.environ) -> Self:
        """The place that a URL and the environment describe.

        Raises:
            UserMistakeError: the URL is malformed or holds credentials, or an option is unknown or invalid.
        """
        place, _, query = url.partition("://")[2].partition("?")
        bucket, _, prefix = place.partition("/")
        if "@" in bucket or ":" in bucket:
            raise UserMistakeError(_NO_CREDENTIALS_HERE)
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}", bucket):
            raise UserMistakeError(f"{printable(bucket)!r} is no bucket's name: a store in S3 is s3://bucket/prefix")
        options = _options(query)
        for name, variables in _ENVIRONMENT.items():
            set_values = (environment[variable] for variable in variables if environment.get(variable))
            options.setdefault(name, next(set_values, ""))
        parsed = cls(bucket, prefix.strip("/"), **options)
        parsed._check()
        return parsed

    @property
    def url(self) -> str:
        """The place as a URL, with its options."""
        options = {option: getattr(self, option) for option in _OPTIONS if getattr(self, option)}
        query = urllib.parse.urlencode(options, safe=":/", quote_via=urllib.parse.quote)
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + (f"?{query}" if query else "")

    def _check(self) -> None:
        try:
            if self.prefix:
                check_key(self.prefix)
        except StoreError as error:
            raise UserMistakeError(f"the prefix of the store: {error}") from None
        if self.endpoint:
            _check_endpoint(self.endpoint)
        if self.region and not re.fullmatch(r"[A-Za-z0-9-]{1,63}", self.region):
            raise UserMistakeError(f"{printable(self.region)!r} is no region, as eu-central-1 is one")
        if self.sse and self.sse not in _SSE:
            raise UserMistakeError(f"sse of the store is {' or '.join(_SSE)}, not {printable(self.sse)!r}")
        if self.kms_key and self.sse != "aws:kms":
            raise UserMistakeError("kms_key of the store is for sse=aws:kms only")


_OPTIONS = tuple(field.name for field in fields(S3Place) if field.name not in ("bucket", "prefix"))


def _options(query: str) -> dict[str, str]:
    """The options by name. Values are not echoed: they may be secrets in the wrong place."""
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        name, _, value = part.partition("=")
        if re.search("secret|access|token|password|credential", name, re.IGNORECASE):
            raise UserMistakeError(_NO_CREDENTIALS_HERE)
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, n=1)
            meant = f"; did you mean {near[0]}?" if near else f": there are {', '.join(_OPTIONS)}"
            raise UserMistakeError(f"{printable(name)!r} is no option of a store in S3{meant}")
        if not value or name in options:
            raise UserMistakeError(f"the option {name} of the store needs one value, as in ?{name}=...")
        options[name] = urllib.parse.unquote(value)
    return options


def _check_endpoint(endpoint: str) -> None:
    try:
        parts = urllib.parse.urlsplit(endpoint)
        sound = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        sound = False
    if "@" in endpoint:
        raise UserMistakeError(_NO_CREDENTIALS_HERE)
    if not sound or parts.query or parts.fragment or not endpoint.isprintable() or " " in endpoint:
        raise UserMistakeError(f"{printable(endpoint)!r} is no endpoint, as https://s3.example.org:9000 is one")
