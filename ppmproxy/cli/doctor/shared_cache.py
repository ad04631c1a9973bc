"""The check of the cache's tier that machines share: write what nobody else has, read it, compare.

With `cache_url_mode = "read"` nothing is written. The probe is removed again, where that is allowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from ppmproxy.cache.stores.opening import store_for
from ppmproxy.cache.stores.protocol import BlobStore, StoreError, key_of
from ppmproxy.cli.doctor.checks import CheckResult, failed_by, ok, warning
from ppmproxy.config.model import CacheUrlMode, Settings
from ppmproxy.errors import ConfigError

CHECK = "shared-cache"
PROBE_SIZE = 1024  # bytes
LEAST_TIMEOUT = 10.0  # seconds for each step: the daemon's limit says how long a request waits, not what works


async def shared_cache_checks(settings: Settings, environ: Mapping[str, str]) -> list[CheckResult]:
    """Whether it can be read, and written where that is wanted."""
    if not settings.cache_url:
        return []
    if not any(upstream.cache for upstream in settings.upstreams):
        return [warning(CHECK, "cache_url is of no use with cache = false", "set cache = true, or remove cache_url")]
    try:
        store = store_for(settings, environ)
    except ConfigError as error:
        return [failed_by(CHECK, error)]
    try:
        return [await _tried(store, settings)]
    finally:
        await store.close()


async def _tried(store: BlobStore, settings: Settings) -> CheckResult:
    limit = max(settings.cache_url_timeout, LEAST_TIMEOUT)
    key, data = f"{key_of('0' * 64)}.probe-{secrets.token_hex(8)}", secrets.token_bytes(PROBE_SIZE)
    writes = settings.cache_url_mode is CacheUrlMode.READ_WRITE
    began = time.monotonic()
    try:
        await asyncio.wait_for(store.check(), limit)
        if writes and (refused := await _refusal(store, key, data, limit)):
            what = f"{refused}; files are read from there, and none are uploaded"
            return warning(CHECK, what, f'{refused.hint}; or set cache_url_mode = "read"')
        found = await asyncio.wait_for(_read(store, key), limit)
    except StoreError as error:
        return warning(CHECK, f"{error}; files come from the Package Manager", error.hint)
    except asyncio.TimeoutError:
        what = f"{settings.cache_url} does not answer within {limit:g} s; files come from the Package Manager"
        return warning(CHECK, what, "check the network to it")
    except OSError as error:  # of this machine's temporary folder
        reason = (error.strerror or str(error)).lower()
        what = f"{settings.cache_url} is not tried: no temporary file can be written: {reason}"
        return warning(CHECK, what, "set TMPDIR to a folder that this user can write to")
    if writes and found != data:
        what = f"{settings.cache_url} gives back other bytes than it was given"
        return warning(CHECK, what, "find out what stands between it and here; wrong bytes are never served")
    with contextlib.suppress(StoreError, asyncio.TimeoutError):
        await asyncio.wait_for(store.delete(key) if writes else store.check(), limit)
    took = (time.monotonic() - began) * 1000
    done = "written, read and compared" if writes else 'readable (cache_url_mode = "read")'
    return ok(CHECK, f"{settings.cache_url}: {done} in {took:.0f} ms")


async def _refusal(store: BlobStore, key: str, data: bytes, limit: float) -> StoreError | None:
    """Why nothing can be written; None where that was possible."""
    try:
        await asyncio.wait_for(_write(store, key, data), limit)
    except StoreError as error:
        return error
    return None


async def _write(store: BlobStore, key: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="ppmproxy-") as folder:
        file = Path(folder) / "probe"
        file.write_bytes(data)
        await store.put(key, file)


async def _read(store: BlobStore, key: str) -> bytes | None:
    async with store.open(key) as blob:
        if blob is None:
            return None
        found = b""
        async for chunk in blob.chunks:
            found += chunk
            if len(found) > PROBE_SIZE:
                break
        return found
