"""The protocol of a store of blobs that several machines share, and how it fails.

Nothing is taken for granted of a store: it may be slow, full of wrong bytes, forget what it was given, and overwrite
what it was asked not to. So nothing here is atomic or conditional, and who reads verifies.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ppmproxy.errors import PpmProxyError


class StoreError(PpmProxyError):
    """The store did not do what it was asked; what is wrong with it, and what to do."""

    code = "shared-cache"
    title = "the shared cache cannot be used"


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What lies under a key: its size, and its bytes, which may be wrong, too few, or fail with `StoreError`.

    `whole` has the same bytes as the chunks, where all of them are here already.
    """

    size: int
    chunks: AsyncIterator[bytes] = field(repr=False)
    whole: bytes | None = field(default=None, repr=False)


class BlobStore(Protocol):
    """A place for blobs. Every method raises `StoreError`; the caller sets time limits, by cancelling."""

    def open(self, key: str) -> AbstractAsyncContextManager[StoredBlob | None]:
        """What lies under a key, while the context lasts; None where nothing does."""

    async def size(self, key: str) -> int | None:
        """How many bytes lie under a key; None where nothing does."""

    async def put(self, key: str, path: Path) -> None:
        """Put a file's bytes under a key, in place of what is there."""

    async def delete(self, key: str) -> None:
        """Remove what lies under a key."""

    async def check(self) -> None:
        """Ask for the place itself: a bucket that is missing is like one in which nothing is."""

    async def close(self) -> None:
        """Release what it holds."""


def key_of(digest: str) -> str:
    """The key of a blob."""
    return f"sha256/{digest[:2]}/{digest}"
