"""The secrets of the object storage that `cache_url` names: which variables no child gets, and what is masked.

Masked is only what is secret. The redactor also looks for parts of a secret in what a Package Manager says, and its own
presigned URLs have much in common with a connection string, a shared access signature, a session token, or a key file:
the storage's host, dates, a key's id.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

COMMON = 64  # characters with which all session tokens of a region begin, and some more

_PEM = re.compile(r"-----[A-Z ]+-----|\s")

# These hold a secret, or a part of one.
_SECRETS = {
    "s3": frozenset(
        {
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_TOKEN"),
            *("AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_SSE_CUSTOMER_KEY_BASE64"),
        }
    ),
    "gs": frozenset({"GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_BEARER_TOKEN"}),
    "az": frozenset(
        {
            *("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_MASTER_KEY", "AZURE_STORAGE_KEY"),
            *("AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_TOKEN", "AZURE_ENCRYPTION_KEY"),
            *("AZURE_STORAGE_CLIENT_SECRET", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_CONNECTION_STRING"),
            *("AZURE_FABRIC_SESSION_TOKEN", "IDENTITY_HEADER"),
        }
    ),
}
# These name a file with one, or the address that gives one out.
_PLACES = {
    "s3": frozenset(
        {
            *("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
            *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        }
    ),
    "gs": frozenset(
        {
            *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
            "SERVICE_ACCOUNT",
        }
    ),
    "az": frozenset({"AZURE_FEDERATED_TOKEN_FILE"}),
}


def storage_variables(cache_url: str) -> frozenset[str]:
    """The variables that no child gets; none where there is no such storage."""
    scheme = cache_url.partition("://")[0]
    return _SECRETS.get(scheme, frozenset()) | _PLACES.get(scheme, frozenset())


def storage_secrets(environ: Mapping[str, str], cache_url: str) -> list[str]:
    """The secrets in the variables of the storage that `cache_url` names."""
    names = _SECRETS.get(cache_url.partition("://")[0], frozenset())
    given = {name.upper(): environ[name] for name in environ if name.upper() in names}
    found = (secret for name, value in given.items() for secret in _SECRET_PARTS.get(name, _whole)(value))
    return [secret for secret in found if secret]


def _whole(value: str) -> Iterator[str]:
    yield value


def _nothing(_value: str) -> Iterator[str]:
    yield from ()


def _rest(value: str) -> Iterator[str]:
    """What tells one session token from others."""
    yield value[COMMON:] if len(value) >= 2 * COMMON else value


def _signature(value: str) -> Iterator[str]:
    yield from re.findall(r"(?:^|[?&])sig=([^&]+)", value)


def _account_key(value: str) -> Iterator[str]:
    yield from re.findall(r"(?:AccountKey|SharedAccessKey)=([^;]+)", value)


def _private_key(value: str) -> Iterator[str]:
    try:
        key = json.loads(value)["private_key"]
    except (ValueError, TypeError, KeyError):
        yield value
        return
    yield str(key)
    yield _PEM.sub("", str(key))


_SECRET_PARTS: Mapping[str, Callable[[str], Iterator[str]]] = {
    "AWS_ACCESS_KEY_ID": _nothing,
    "AWS_SESSION_TOKEN": _rest,
    "AWS_SECURITY_TOKEN": _rest,
    "AWS_TOKEN": _rest,
    "AZURE_STORAGE_SAS_KEY": _signature,
    "AZURE_STORAGE_SAS_TOKEN": _signature,
    "AZURE_STORAGE_CONNECTION_STRING": _account_key,
    "GOOGLE_SERVICE_ACCOUNT_KEY": _private_key,
}
