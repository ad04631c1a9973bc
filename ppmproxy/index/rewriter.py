"""Rewriter of the links of simple-index pages (PEP 503, PEP 691).

A page streams: each chunk is sent at once, except a tag or string that is not complete yet. Everything but links
passes byte for byte, so that unknown attributes and keys of a later PEP survive.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ppmproxy.index.html_links import HtmlLinks
from ppmproxy.index.json_links import JsonLinks
from ppmproxy.index.link_resolver import BrokenPage, Edit, LinkResolver

__all__ = ["BrokenPage", "PageFormat", "PageRewriter", "page_format"]

LONGEST_TOKEN: Final = 2**18  # bytes of a tag, comment or string: more is no index page, and would be read in one turn
_PIECE: Final = 2**17  # bytes rewritten at a time


class PageFormat(enum.Enum):
    """How an index page is written."""

    HTML = "html"
    JSON = "json"


_FORMATS: Final = {
    "text/html": PageFormat.HTML,
    "application/vnd.pypi.simple.v1+html": PageFormat.HTML,
    "application/vnd.pypi.simple.latest+html": PageFormat.HTML,
    "application/vnd.pypi.simple.v1+json": PageFormat.JSON,
    "application/vnd.pypi.simple.latest+json": PageFormat.JSON,
    "application/json": PageFormat.JSON,
}


def page_format(content_type: str | None) -> PageFormat | None:
    """The format that a Content-Type promises (PEP 691, "Content-Types"); None when it is no index page's."""
    return _FORMATS.get((content_type or "").partition(";")[0].strip().lower())


class _LinkFinder(Protocol):
    consumed: int

    def edits(self, text: bytes) -> Iterator[Edit]: ...

    def close(self, rest: bytes) -> bytes: ...


class PageRewriter:
    """Rewrites the links of one page while it streams.

    `page_url` is where the page finally came from, `local_path` the raw path by which the client asked for it, and
    `localize` gives the root-relative local path of an absolute URL, or that URL itself where it is left alone; it is
    called once for each link, and a `ValueError` leaves the link alone. `localize_prefix` does so for many links at a
    time, see `LinkResolver`.
    """

    def __init__(
        self,
        page_format: PageFormat,
        page_url: str,
        local_path: str,
        localize: Callable[[str], str],
        localize_prefix: Callable[[str], tuple[str, str] | None] = lambda _: None,
    ) -> None:
        links = LinkResolver(page_url, local_path, localize, localize_prefix)
        self.has_changed = False
        self._links: _LinkFinder = HtmlLinks(links) if page_format is PageFormat.HTML else JsonLinks(links)
        self._incomplete = bytearray()
        self._needed = 1  # bytes of an incomplete token at which it is read again

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Take the next bytes of the page and return those that are ready; `BrokenPage` as soon as it is known.

        An incomplete token is read again only when twice as much of it is there, so that one that comes byte by byte
        costs no more than twice one that comes at once.
        """
        ready: list[bytes] = []
        chunk = memoryview(chunk)
        while chunk:
            size = min(_PIECE, LONGEST_TOKEN - len(self._incomplete))
            piece, chunk = chunk[:size], chunk[size:]
            if len(self._incomplete) + len(piece) < self._needed:
                self._incomplete += piece
            else:
                ready += self._advance(piece)
        return b"".join(ready)

    def close(self) -> bytes:
        """The rest; `BrokenPage` if the page was cut or is not what its content type says."""
        ready: list[bytes] = []
        size = 0
        while self._incomplete and len(self._incomplete) != size:
            size = len(self._incomplete)
            ready += self._advance()
        rest = bytes(self._incomplete)
        kept = self._links.close(rest)
        self.has_changed |= kept != rest
        return b"".join([*ready, kept])

    def _advance(self, more: bytes | memoryview = b"") -> list[bytes]:
        """Rewrite what is incomplete and more, up to a token that is not complete."""
        text = b"".join((self._incomplete, more))
        pieces: list[bytes] = []
        done = 0
        for start, end, replacement in self._links.edits(text):
            pieces += text[done:start], replacement
            done = end
        consumed = self._links.consumed
        self.has_changed |= done > 0
        if not consumed and len(text) == LONGEST_TOKEN:
            msg = "a tag or a string of the page has no end"
            raise BrokenPage(msg)
        pieces.append(text[done:consumed])
        self._incomplete = bytearray(text[consumed:])
        self._needed = max(1, min(2 * len(self._incomplete), LONGEST_TOKEN))
        return pieces
