"""A store of blobs in object storage (S3 and compatible, Google, Azure) through obstore, imported only when needed.

obstore finds credentials by itself, in the provider's own variables and services. Its messages carry endpoints and
dumps of requests, so they are worded anew and never shown. Put-if-absent is not used: some stores ignore it, and
obstore would hold the whole body in memory.
"""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ppmproxy.cache.stores.protocol import StoredBlob, StoreError
from ppmproxy.config.local_address import is_loopback_host
from ppmproxy.errors import ConfigError

AT_ONCE = 1 << 19  # bytes of a blob that is read as a whole
PIECE = 1 << 18  # bytes that are read at least at once of a larger one
PART = 5 << 20  # bytes of one part of an upload, the least that S3 takes
PARTS_AT_ONCE = 1  # each is in memory
REQUEST_TIMEOUT = 30  # seconds for one request, such as the upload of a part
LARGEST_BUNDLE = 1 << 24  # bytes
ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}

_STATUS = re.compile(r"status code: ([0-9]{3})")
_MISTAKES = (  # what a provider calls it, what it is, what to do
    ("NoSuchBucket", "does not exist", "make the bucket, or correct cache_url and the endpoint"),
    ("ContainerNotFound", "does not exist", "make the container, or correct cache_url"),
    ("RequestTimeTooSkewed", "refuses this machine's clock", "set the clock, best by a time server"),
    ("ExpiredToken", "refuses the credentials: they have expired", "renew them"),
    ("TokenRefreshRequired", "refuses the credentials: they have expired", "renew them"),
    ("InvalidAccessKeyId", "does not know the access key", "correct AWS_ACCESS_KEY_ID, or the role of this machine"),
    ("SignatureDoesNotMatch", "refuses the signature", "correct AWS_SECRET_ACCESS_KEY and AWS_REGION"),
    ("without LOCATION", "is in another region", "set AWS_REGION to the bucket's"),
    ("SlowDown", "asks for fewer requests", "wait, or spread them over several prefixes"),
    ("169.254.169.254", "cannot be asked without credentials, and none were found", "set the provider's variables"),
    ("UnknownIssuer", "has a certificate that is not trusted", "add its authority to the operating system's store"),
)


class ObjectStore:
    """Blobs in a bucket; `ConfigError` where obstore is missing, or its variables make no sense."""

    def __init__(self, url: str, environ: Mapping[str, str], connect_timeout: float) -> None:
        self._url = url
        self._obstore, self._bucket = _connected(url, environ, connect_timeout)

    def __repr__(self) -> str:
        return f"ObjectStore({self._url!r})"

    @contextlib.asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[StoredBlob | None]:
        """See `BlobStore`."""
        found = await self._got(key)
        if found is None:
            yield None
            return
        size = int(found.meta["size"])
        whole = await self._whole(found) if size <= AT_ONCE else None
        async with contextlib.aclosing(self._chunks(found, whole)) as chunks:
            yield StoredBlob(size, chunks, whole)

    async def _got(self, key: str) -> Any:
        with self._worded():
            try:
                return await self._obstore.get_async(self._bucket, key)
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None

    async def _whole(self, found: Any) -> bytes:
        with self._worded():
            return bytes(await found.bytes_async())  # each turn between its threads and this one costs 0.1 ms

    async def _chunks(self, found: Any, whole: bytes | None) -> AsyncGenerator[bytes]:
        if whole is not None:
            yield whole
            return
        with self._worded():
            async for chunk in found.stream(PIECE):
                yield bytes(chunk)

    async def size(self, key: str) -> int | None:
        """See `BlobStore`."""
        with self._worded():
            try:
                return int((await self._obstore.head_async(self._bucket, key))["size"])
            except FileNotFoundError as error:
                self._refuse_missing_bucket(error)
                return None

    async def put(self, key: str, path: Path) -> None:
        """See `BlobStore`."""
        with self._worded():
            await self._obstore.put_async(self._bucket, key, path, chunk_size=PART, max_concurrency=PARTS_AT_ONCE)

    async def delete(self, key: str) -> None:
        """See `BlobStore`."""
        with self._worded(), contextlib.suppress(FileNotFoundError):
            await self._obstore.delete_async(self._bucket, key)

    async def check(self) -> None:
        """See `BlobStore`."""
        with self._worded():
            async for _ in self._obstore.list(self._bucket, "sha256/00", chunk_size=1):
                return

    async def close(self) -> None:
        """See `BlobStore`."""

    def _refuse_missing_bucket(self, error: FileNotFoundError) -> None:
        """A missing bucket and a missing key are the same error; a HEAD has no body that would tell them apart."""
        if "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error):
            raise error

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        """Words obstore's errors anew; every exception of its own, and those of Python that it borrows."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            what, hint = _explained(error)
            raise StoreError(f"the shared cache {self._url} {what}", hint) from None


def _explained(error: Exception) -> tuple[str, str]:
    """What is wrong, behind the name of the store, and what to do."""
    text, kind = str(error), type(error).__name__
    for word, what, hint in _MISTAKES:
        if word in text:
            return what, hint
    status = _STATUS.search(text)
    if kind in {"PermissionDeniedError", "UnauthenticatedError"} or (status and status[1] in {"401", "403"}):
        return "refuses the credentials", "allow them to list the bucket, to read and (unless read-only) to write there"
    if isinstance(error, FileNotFoundError):
        return "does not exist", "make the bucket, or correct cache_url and the endpoint"
    if "Connect" in text or "dns" in text:
        return "cannot be reached", "check cache_url, the provider's endpoint variable and the network"
    if status:
        return f"answers with status {status[1]}", "see the store's own log"
    return "does not answer as it should", "see the store's own log, and `ppmproxy doctor`"


def _connected(url: str, environ: Mapping[str, str], connect_timeout: float) -> tuple[Any, Any]:
    """The obstore module, and a bucket in it."""
    try:
        obstore: Any = import_module("obstore")  # an extra, without types where it is missing
        store: Any = import_module("obstore.store")
    except ImportError:
        what = f'cache_url = "{url}" needs the extra shared-cache, which is not installed'
        raise ConfigError(what, "install the extra ppmproxy[shared-cache], or use a file:// URL") from None
    parts = urlsplit(url)
    classes = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    try:
        bucket = classes[parts.scheme](
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options=_client_options(parts.scheme, environ, connect_timeout),
            retry_config={"max_retries": 1, "backoff": {"init_backoff": timedelta(milliseconds=50)}},
        )
    except Exception as error:  # noqa: BLE001 - obstore's own, and Python's
        what, hint = _explained(error)
        if what.startswith("does not answer"):
            what, hint = "cannot be used with the provider's variables that are set", _VARIABLES[parts.scheme]
        raise ConfigError(f'cache_url = "{url}" {what}', hint) from None
    return obstore, bucket


_VARIABLES = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_REGION, and for others than Amazon AWS_ENDPOINT_URL",
    "gs": "set GOOGLE_APPLICATION_CREDENTIALS, or use a machine with a service account",
    "az": "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or a federated token",
}


def _client_options(scheme: str, environ: Mapping[str, str], connect_timeout: float) -> dict[str, Any]:
    options: dict[str, Any] = {
        "timeout": timedelta(seconds=REQUEST_TIMEOUT),
        "connect_timeout": timedelta(seconds=connect_timeout),
        "user_agent": "ppmproxy",
    }
    if _is_plain(scheme, environ):
        options["allow_http"] = True
        options["pool_max_idle_per_host"] = "0"  # a used one waits 40 ms where the server has Nagle's algorithm on
    elif bundle := _trusted(environ):
        options["root_certificate"] = bundle
    return options


def _is_plain(scheme: str, environ: Mapping[str, str]) -> bool:
    """Whether the endpoint may be plain http: on loopback; with S3 (SigV4) elsewhere, but for a key of the customer's.

    Bytes are verified, and what else crosses is of no use alone.
    """
    endpoint = next((environ[name] for name in ENDPOINTS[scheme] if environ.get(name)), "")
    parts = urlsplit(endpoint)
    is_near = is_loopback_host(parts.hostname or "")
    has_no_secret = scheme == "s3" and not environ.get("AWS_SSE_CUSTOMER_KEY_BASE64")
    return parts.scheme == "http" and (has_no_secret or is_near)


def _trusted(environ: Mapping[str, str]) -> bytes:
    """The authorities of OpenSSL's bundle and of AWS_CA_BUNDLE, which obstore adds to those that it finds itself."""
    usual = ssl.get_default_verify_paths().cafile
    found = []
    for path in filter(None, (usual, environ.get("AWS_CA_BUNDLE"))):
        with contextlib.suppress(OSError), Path(path).open("rb") as file:
            found.append(file.read(LARGEST_BUNDLE))
    return b"\n".join(found)
