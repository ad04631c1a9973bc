"""What `ppmproxy cache info` shows of the tier of the cache that machines share."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ppmproxy.errors import PpmProxyError

if TYPE_CHECKING:
    from ppmproxy.cache.catalog_rows import Totals
    from ppmproxy.config.model import Settings

LEAST_TIMEOUT = 5.0  # seconds: the daemon's limit says how long a request waits, not what works


def described(settings: Settings, environ: Mapping[str, str], totals: Totals) -> dict[str, object] | None:
    """The tier, whether it can be reached, and what it did for this machine's cache; None where there is none."""
    if not settings.cache_url:
        return None
    from ppmproxy.cli import event_loop  # noqa: PLC0415 - only where there is such a tier

    trouble = event_loop.run(_trouble(settings, environ))
    return {
        "url": settings.cache_url,
        "mode": settings.cache_url_mode.value,
        "reachable": not trouble,
        "trouble": trouble,
        "hits": totals.shared_hits,
        "misses": totals.shared_misses,
        "bytes": totals.shared_bytes,
        "uploads": totals.uploads,
        "uploaded_bytes": totals.uploaded_bytes,
    }


async def _trouble(settings: Settings, environ: Mapping[str, str]) -> str:
    from ppmproxy.cache.stores.opening import store_for  # noqa: PLC0415

    limit = max(settings.cache_url_timeout, LEAST_TIMEOUT)
    try:
        store = store_for(settings, environ)
        try:
            await asyncio.wait_for(store.check(), limit)
        finally:
            await store.close()
    except PpmProxyError as error:
        return error.detail
    except asyncio.TimeoutError:
        return f"{settings.cache_url} does not answer within {limit:g} s."
    return ""


def lines(shared: Mapping[str, object], size: Mapping[str, str]) -> Iterator[str]:
    """The tier as text; `size` has its numbers of bytes as they are shown."""
    yield f"shared: {shared['url']} ({shared['mode']}): {'reachable' if shared['reachable'] else 'not reachable'}"
    if shared["trouble"]:
        yield f"  {shared['trouble']}"
    yield f"  {shared['hits']} hits, {shared['misses']} misses, {size['bytes']} from there"
    yield f"  {shared['uploads']} files uploaded, {size['uploaded_bytes']}"
