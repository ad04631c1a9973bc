"""The import of aiohttp without the authorities for two TLS contexts of its own, which nothing here uses.

aiohttp makes them when it is imported and reads the system's bundle for each: a seventh of the daemon's start. All
connections get their context from `upstream.tls`. With one of aiohttp's, no certificate would be trusted.

To be imported before anything else that imports aiohttp.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator


@contextlib.contextmanager
def _without_authorities() -> Iterator[None]:
    """Have contexts load no authorities of the system, while no other thread makes one."""
    loading = ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths
    ssl.SSLContext.load_default_certs = ssl.SSLContext.set_default_verify_paths = _load_nothing  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        ssl.SSLContext.load_default_certs, ssl.SSLContext.set_default_verify_paths = loading  # type: ignore[method-assign]


def _load_nothing(*_: object) -> None:
    pass


with _without_authorities():
    import aiohttp.connector  # noqa: F401
