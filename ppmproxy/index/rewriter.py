"""Simple-index pages (PEP 503, PEP 691) with their links made local.

To change how a page passes while its links are rewritten, open this file.

A page streams: what comes in goes out at once, but for a tag or string that is not complete yet. Whatever is no link
passes byte for byte, so that unknown attributes and keys of a later PEP survive.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from ppmproxy.index.html_links import HtmlLinks, is_for_people
from ppmproxy.index.json_links import JsonLinks, is_object
from ppmproxy.index.link_resolver import BrokenPage, Edit, LinkResolver, Straight

__all__ = ["BrokenPage", "PageFormat", "PageRewriter", "is_index", "page_format"]

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


def is_index(page_format: PageFormat, beginning: bytes, *, is_root: bool = False) -> bool:
    """Whether a page is an index, by its first 64 KiB or all of it; the root is the one that lists all projects.

    A login page or a single-page application comes with status 200, and clients find "no versions" on it.
    """
    if page_format is PageFormat.JSON:
        return is_object(beginning)
    return not is_for_people(beginning, is_root=is_root)


class _Links(Protocol):
    used: int

    def edits(self, text: bytes) -> Iterator[Edit]: ...

    def close(self, rest: bytes) -> None: ...


class PageRewriter:
    """Rewrites the links of one page while it streams.

    `page_url` is where the page finally came from, `local_path` the raw path by which the client asked for it, and
    `localize` gives the root-relative local path of an absolute URL, or that URL itself where it is left alone; it is
    called once for each link, and a `ValueError` leaves the link alone. It is not asked about `straight` links, which
    are rewritten as many at a time as follow each other.
    """

    def __init__(
        self,
        page_format: PageFormat,
        page_url: str,
        local_path: str,
        localize: Callable[[str], str],
        *,
        straight: Straight | None = None,
    ) -> None:
        links = LinkResolver(page_url, local_path, localize, straight=straight)
        self.changed = False
        self._links: _Links = HtmlLinks(links) if page_format is PageFormat.HTML else JsonLinks(links)
        self._held = bytearray()
        self._enough = 1  # bytes held that are worth another look

    def feed(self, chunk: bytes | memoryview) -> bytes:
        """Take the next bytes of the page and give those that are ready; `BrokenPage` as soon as it is seen to be.

        A token is looked at again only when twice as much of it is there, so that one that comes byte by byte costs
        no more than twice one that comes at once.
        """
        ready: list[bytes] = []
        chunk = memoryview(chunk)
        while chunk:
            size = min(_PIECE, LONGEST_TOKEN - len(self._held))
            piece, chunk = chunk[:size], chunk[size:]
            if len(self._held) + len(piece) < self._enough:
                self._held += piece
            else:
                ready += self._advance(piece)
        return b"".join(ready)

    def close(self) -> bytes:
        """Give the rest; `BrokenPage` when the page was cut or is not what it says."""
        ready = self._advance()
        rest = bytes(self._held)
        self._links.close(rest)
        return b"".join([*ready, rest])

    def _advance(self, more: bytes | memoryview = b"") -> list[bytes]:
        """Rewrite what is held and more, up to a token that is not complete."""
        text = b"".join((self._held, more))
        pieces: list[bytes] = []
        done = 0
        for start, end, replacement in self._links.edits(text):
            pieces += text[done:start], replacement
            done = end
        used = self._links.used
        self.changed |= done > 0
        if not used and len(text) == LONGEST_TOKEN:
            msg = "a tag or string of the page has no end"
            raise BrokenPage(msg)
        pieces.append(text[done:used])
        self._held = bytearray(text[used:])
        self._enough = max(1, min(2 * len(self._held), LONGEST_TOKEN))
        return pieces
