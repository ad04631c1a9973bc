"""The rows of the catalog: pages, the hashes that they name, and what URLs had last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SHARED_COUNTS = ("shared_hits", "shared_misses", "shared_bytes", "uploads", "uploaded_bytes")


@dataclass(frozen=True, slots=True)
class PageRow:
    """An index page as it came, decoded, with what is needed of its head."""

    holder: bytes = field(repr=False)
    url: str
    form: str  # the types that were asked for
    upstream: str
    project: str
    head: Mapping[str, object]
    body: bytes = field(repr=False)
    proved_at: float  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class Naming:
    """The hash that pages of one holder name for a URL; these pages; and when one of them was last proved."""

    digest: str
    pages: tuple[str, ...]
    proved_at: float


@dataclass(frozen=True, slots=True)
class UrlRow:
    """The last known answer of a URL: the hash of its body, and its head."""

    holder: bytes = field(repr=False)
    url: str
    variant: str  # "" where pages name the hash; else what the answer depends on
    digest: str
    head: Mapping[str, object]
    proved_at: float


@dataclass(frozen=True, slots=True)
class Totals:
    """How much there is, and what it was good for."""

    files: int
    file_bytes: int
    pages: int
    page_bytes: int
    hits: int
    misses: int
    saved_bytes: int
    oldest_use: float | None  # seconds since the epoch
    shared_hits: int = 0  # of the tier that machines share, with the bytes that came from there
    shared_misses: int = 0
    shared_bytes: int = 0
    uploads: int = 0  # to it
    uploaded_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes of everything."""
        return self.file_bytes + self.page_bytes
