"""What is known of a file before the upstream is asked, and the question that shows who may have it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppmproxy.cache.catalog_rows import Naming, UrlRow
from ppmproxy.cache.conditions import CONDITIONS
from ppmproxy.cache.responses import without
from ppmproxy.upstream.messages import UpstreamRequest


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What is known of a URL before the upstream is asked."""

    url: str  # canonical
    variant: str
    digest: str = ""
    naming: Naming | None = None  # by the pages of the asking holder
    row: UrlRow | None = None  # what it had the last time
    is_missing: bool = False  # no such file is here

    @property
    def proved_at(self) -> float:
        """When it was last shown to this holder; seconds since the epoch."""
        times = [found.proved_at for found in (self.naming, self.row) if found is not None]
        return max(times, default=float("-inf"))

    @property
    def vouching(self) -> tuple[str, ...]:
        """The URLs on whose answers the right to it rests: its own, and those of the pages that name it."""
        return self.url, *(self.naming.pages if self.naming else ())

    def text_of(self, name: str) -> str:
        """A field of the head that the URL had; "" where there is none."""
        value = self.row.head.get(name) if self.row else None
        return value if isinstance(value, str) else ""


def question_about(request: UpstreamRequest, known: KnownFile) -> UpstreamRequest:
    """A request that shows whether this credential may have the file, and has no body in its answer if so."""
    headers = without(request.headers, *CONDITIONS)
    if etag := known.text_of("etag"):
        return replace(request, method="GET", headers=[*headers, ("If-None-Match", etag)], follows_redirects=False)
    if modified := known.text_of("modified"):
        conditional = [*headers, ("If-Modified-Since", modified)]
        return replace(request, method="GET", headers=conditional, follows_redirects=False)
    return replace(request, method="HEAD", headers=headers, follows_redirects=False)
