"""The client of object storage, made from the environment, and what it refuses said in one line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

from placevec.errors import JobError, PlacevecError, UsageError
from placevec.registry import need

CONNECT_S = 10
RETRIES = 5  # with pauses that double from a tenth of a second
_UNREACHABLE = ("error sending request", "connection refused", "connection reset", "timed out", "dns error")


@contextmanager
def told(url: str) -> Iterator[None]:
    """Say in one line what the storage of `url` (s3://BUCKET/KEY) refuses.

    Raises:
        UsageError: there are no credentials, they are refused, or there is no such bucket.
        JobError: the server cannot be reached, or failed.
    """
    try:
        yield
    except PlacevecError:
        raise
    except Exception as error:
        known = _known(url, error)
        if known is None:
            raise
        raise known from error


def client(bucket: str) -> Any:
    """The client for a bucket, by the environment as it is now."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return _store_of(bucket, tuple(sorted(settings.items())))


def obstore() -> Any:
    """The package obstore."""
    return need("obstore", extra="s3", purpose="object storage (s3://)")


def lance_options() -> dict[str, str]:
    """What Lance is told besides the environment to find a dataset in object storage."""
    options = {"client_max_retries": str(RETRIES), "connect_timeout": f"{CONNECT_S}s"}
    if endpoint():
        options |= {"aws_endpoint": endpoint(), "aws_region": region() or "us-east-1"}
        if endpoint().startswith("http://"):
            options["allow_http"] = "true"
    return options


def endpoint() -> str:
    """The address of another server than Amazon's; "" for that."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def region() -> str:
    """The region, if one is named."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ""


@cache
def _store_of(bucket: str, settings: tuple[tuple[str, str], ...]) -> Any:
    """A client for a bucket; `settings` is the part of the environment that it is made of."""
    obstore()
    store = need("obstore.store", extra="s3", purpose="object storage (s3://)")
    options: dict[str, Any] = {"checksum_algorithm": "SHA256"}  # of what is sent, compared by the server
    if region():
        options["region"] = region()
    if endpoint():
        options["endpoint"] = endpoint()
    settled = {"timeout": "120s", "connect_timeout": f"{CONNECT_S}s", "allow_http": endpoint().startswith("http://")}
    retry = {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=60)}
    return store.S3Store(bucket, **options, client_options=settled, retry_config=retry)


def _known(url: str, error: Exception) -> PlacevecError | None:
    text = str(error)
    where = endpoint() or "Amazon S3"
    kind = type(error).__name__
    if "NoSuchBucket" in text:
        return UsageError(f"{url}: {where} has no bucket {url.split('/')[2]!r}: create it, or correct the name")
    if isinstance(error, FileNotFoundError) or kind in ("AlreadyExistsError", "PreconditionError"):
        return None
    if "169.254.169.254" in text or "CredentialsNotLoaded" in text or "no providers in chain" in text:
        return UsageError(f"{url}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if kind in ("PermissionDeniedError", "UnauthenticatedError") or "403 Forbidden" in text or "AccessDenied" in text:
        reason = re.search(r"<Code>(\w+)</Code>", text)
        return UsageError(
            f"{url}: {where} refuses these credentials ({reason[1] if reason else 'access denied'}): look at "
            "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and the rights on the bucket"
        )
    if any(word in text.lower() for word in _UNREACHABLE):
        return JobError(f"{url}: {where} cannot be reached: when it is back, run the same again, what is done stays")
    if not isinstance(error, OSError | ValueError | obstore().exceptions.BaseError):
        return None
    reason = re.search(r"<Message>([^<]*)</Message>", text)
    line = reason[1] if reason else (text.splitlines() or [kind])[0][:200]
    return JobError(f"{url}: {where} failed ({line}): run the same again, what is done stays")
