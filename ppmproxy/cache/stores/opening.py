"""Which store a URL names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ppmproxy.cache.stores.disk import DiskStore
from ppmproxy.cache.stores.protocol import BlobStore
from ppmproxy.config.cache_url import folder_of
from ppmproxy.config.model import CacheUrlMode, Settings


def store_for(settings: Settings, environ: Mapping[str, str]) -> BlobStore:
    """The store that `cache_url` names; `ConfigError` where it takes what is not installed."""
    if settings.cache_url.startswith("file:"):
        is_read_only = settings.cache_url_mode is CacheUrlMode.READ
        return DiskStore(Path(folder_of(settings.cache_url)), is_read_only=is_read_only)
    from ppmproxy.cache.stores.object import ObjectStore  # noqa: PLC0415 - only where there is such a URL

    return ObjectStore(settings.cache_url, environ, settings.cache_url_timeout)
