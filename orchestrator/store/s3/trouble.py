"""Errors of S3: whether they pass, and what they are, in words that hold no secret."""

import urllib.parse

import botocore.exceptions as failures
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from orchestrator.errors import StoreError, StoreUnavailableError
from orchestrator.text import printable

NO_KEY = "NoSuchKey"
BAD_CREDENTIALS = frozenset({"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken"})
_NOT_ALLOWED = frozenset({"AccessDenied", "403", "Forbidden"})
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})
# Besides answers of 5xx and 429: a conflict of writers, an upload that lost a part or was aborted, bytes that were lost
# or changed on the way, a quota.
PASSING = frozenset(
    {
        *(
            "ConditionalRequestConflict",
            "OperationAborted",
            "NoSuchUpload",
            "InvalidPart",
            "BadDigest",
            "IncompleteBody",
        ),
        *("XAmzContentSHA256Mismatch", "RequestTimeout", "SlowDown", "RequestLimitExceeded", "QuotaExceeded"),
        *("InternalError", "ServiceUnavailable", "Throttling", "ThrottlingException"),
    }
)
UNREACHABLE = (
    failures.HTTPClientError,
    failures.ConnectionError,
    failures.IncompleteReadError,
    failures.ChecksumError,
    ResponseParserError,
    HTTPError,
    ConnectionError,
    TimeoutError,
)
NO_CREDENTIALS = (failures.NoCredentialsError, failures.PartialCredentialsError, failures.NoAuthTokenError)
NOT_RENEWED = (
    failures.CredentialRetrievalError,
    failures.MetadataRetrievalError,
    failures.TokenRetrievalError,
    failures.SSOError,
)
_WHICH_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile (AWS_PROFILE), or the machine's role"
RENEW = "the credentials have expired and were not renewed: renew them where they come from (as by aws sso login)"
SAID_CHARACTERS = 300


def about_credentials(error: Exception) -> tuple[type[StoreError], str] | None:
    """The problem with the credentials, without quoting them; None if it is something else."""
    code = code_of(error)
    if code in EXPIRED or isinstance(error, NOT_RENEWED):
        return StoreUnavailableError, RENEW
    if code in BAD_CREDENTIALS or isinstance(error, NO_CREDENTIALS):
        return StoreError, f"the credentials are missing or wrong ({code or 'none found'}): set {_WHICH_CREDENTIALS}"
    if code in _NOT_ALLOWED:
        return (
            StoreError,
            f"the credentials do not allow it ({code}): allow it (docs/store.md), or set {_WHICH_CREDENTIALS}",
        )
    return None


_ELSEWHERE = frozenset({"PermanentRedirect", "IllegalLocationConstraintException", "AuthorizationHeaderMalformed"})


def about_a_redirect(error: Exception, bucket: str) -> str | None:
    """What to correct if the service says that the bucket is elsewhere; None if the error is something else.

    botocore follows a redirect to another region of AWS by itself, so the region is only wrong where it cannot.
    """
    if not isinstance(error, failures.ClientError):
        return None
    status = status_of(error)
    if not (300 <= status < 400 or code_of(error) in _ELSEWHERE):
        return None
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    said = error.response["Error"]
    region = headers.get("x-amz-bucket-region") or said.get("Region")
    if region:
        region = printable(str(region))[:SAID_CHARACTERS]
        return f"the bucket {bucket} is in the region {region}: write region={region} in the URL of the store"
    # The rest of the address is the object's.
    host = urllib.parse.urlsplit(headers.get("location", ""))[:2]
    place = urllib.parse.urlunsplit((*host, "", "", "")) if all(host) else str(said.get("Endpoint", ""))
    if place:
        place = printable(place)[:SAID_CHARACTERS]
        return f"the service answers with a redirect to {place} ({status}): correct endpoint= in the URL of the store"
    return (
        f"the service answers that the bucket {bucket} is elsewhere ({status} {printable(code_of(error))}), not where:"
        " correct region= or endpoint= in the URL of the store"
    )


def code_of(error: Exception) -> str:
    """The service's code for an error; empty if it is not the service's."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, failures.ClientError) else ""


def status_of(error: Exception) -> int:
    """The HTTP status of a service's error; 0 if it is not the service's, or one of many in an answer."""
    if not isinstance(error, failures.ClientError):
        return 0
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
