"""An index page on its way to the client: as it came where possible, with local links where necessary.

The beginning of a page is buffered until it is known whether a link has to change. If the page ends before that, it is
sent as it came, still compressed. Otherwise it is decoded and rewritten while it streams, whatever its size. The buffer
is bounded; a page that exceeds it counts as one to be rewritten.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.codings import BrokenCodingError, Decoder, is_plain_text, unreadable
from ppmproxy.index.json_links import is_object
from ppmproxy.index.link_map import LinkMap, RealLinks
from ppmproxy.index.login_page import is_login_page, is_web_page
from ppmproxy.index.rewriter import BrokenPage, PageFormat, PageRewriter
from ppmproxy.index.routing import is_project_list

MOST_BUFFERED = 1 << 20  # bytes as they came, compressed or not
ENOUGH_TO_JUDGE = 1 << 16  # decoded bytes in which a sign-in page is recognised
SLICES = (1 << 12, 1 << 15, 1 << 17)  # bytes rewritten between two looks at the clock: at least, at first, at most
LONGEST_TURN = 0.01  # seconds after which other tasks have theirs
QUICK = 0.002  # seconds; a slice that took less is followed by one twice as large
FULLY_CHECKED = 1 << 18  # decoded bytes up to which a JSON page is parsed as a whole


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page, and what its links are rewritten with."""

    page_format: PageFormat
    page_url: str  # where the page finally came from
    local_path: str  # the path by which the client asked for it; a URL if the client knows it by its real one
    codings: tuple[str, ...]
    links: LinkMap | RealLinks = field(repr=False)

    def reading(self) -> Reading:
        """A decoder and rewriter at the page's beginning."""
        links = self.links
        rewriter = PageRewriter(self.page_format, self.page_url, self.local_path, links.local, links.local_prefix)
        return Reading(Decoder(self.codings), rewriter)


class _LoopTurn:
    """The time for which other tasks have waited."""

    __slots__ = ("_began",)

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def is_over(self) -> bool:
        return time.monotonic() - self._began > LONGEST_TURN

    async def next(self) -> None:
        """Let other tasks have their turns."""
        await asyncio.sleep(0)
        self._began = time.monotonic()


@dataclass(slots=True)
class Reading:
    """A page that is being decoded and rewritten."""

    decoder: Decoder
    rewriter: PageRewriter
    slice_size: int = SLICES[1]

    async def rewritten(self, piece: bytes) -> bytes:
        """What is ready after one more piece, with pauses: a page of nothing but tags takes a second per megabyte."""
        ready: list[bytes] = []
        view = memoryview(piece)
        at, turn = 0, _LoopTurn()
        while at < len(piece):
            began = time.monotonic()
            ready.append(self.rewriter.feed(view[at : at + self.slice_size]))
            at += self.slice_size
            self.slice_size = slice_after(self.slice_size, time.monotonic() - began)
            if turn.is_over:
                await turn.next()
        return b"".join(ready)

    def close(self) -> bytes:
        """The rest of the page; `BrokenPage` or `BrokenCodingError` if it was cut."""
        self.decoder.close()
        return self.rewriter.close()


def slice_after(size: int, seconds: float) -> int:
    """How much to rewrite at a time when a slice of some size took so long: more only where that stays a short turn."""
    if seconds > LONGEST_TURN:
        return SLICES[0]
    return min(2 * size, SLICES[2]) if seconds < QUICK else size


@dataclass(slots=True)
class BufferedPage:
    """The beginning of a page, or all of it."""

    reading: Reading
    ready: list[bytes] | None = field(default_factory=list)  # rewritten; None once that is too much to keep
    raw: list[bytes] = field(default_factory=list)
    raw_size: int = 0
    decoded: bytearray = field(default_factory=bytearray)  # the first FULLY_CHECKED bytes
    decoded_size: int = 0
    has_changed: bool = False
    is_whole: bool = False

    def keep(self, piece: bytes) -> None:
        """Keep what is rewritten, so that it need not be done again, as long as it is little."""
        if self.ready is not None:
            self.ready.append(piece)
        if self.decoded_size > FULLY_CHECKED:
            self.ready = None

    @property
    def whole(self) -> bytes | None:
        """All of the page, rewritten; None where it has not ended, or was too much to keep."""
        return b"".join(self.ready) if self.is_whole and self.ready is not None else None

    @property
    def is_enough(self) -> bool:
        """Whether the page has to change and is an index, or is too large to be buffered any longer."""
        return (self.has_changed and self.decoded_size >= ENOUGH_TO_JUDGE) or self.raw_size >= MOST_BUFFERED


async def buffer(page: PageRequest, chunks: AsyncIterator[bytes]) -> BufferedPage:
    """Read a page until it is known what to do with it.

    Raises `UpstreamUnexpectedError` if it is no index, is broken, or is in a coding nobody asked for.
    """
    buffered = BufferedPage(page.reading())
    try:
        async for chunk in chunks:
            await _buffer_chunk(buffered, chunk)
            if buffered.is_enough:
                break
        else:
            buffered.is_whole = True
            buffered.keep(buffered.reading.close())
            buffered.has_changed = buffered.reading.rewriter.has_changed
    except (BrokenPage, BrokenCodingError) as error:
        _check_coding(page, buffered)
        if buffered.decoded:
            _check_is_index(page, buffered)  # a sign-in page is the better explanation
        raise _unexpected(page, str(error)) from error
    _check_coding(page, buffered)
    _check_is_index(page, buffered)
    if buffered.is_whole:
        _check_json(page, buffered)
    return buffered


async def _buffer_chunk(buffered: BufferedPage, chunk: bytes) -> None:
    buffered.raw.append(chunk)
    buffered.raw_size += len(chunk)
    turn = _LoopTurn()
    for piece in buffered.reading.decoder.feed(chunk):
        if piece:
            buffered.decoded_size += len(piece)
            buffered.decoded += piece[: FULLY_CHECKED - len(buffered.decoded)]
            buffered.keep(await buffered.reading.rewritten(piece))
            buffered.has_changed = buffered.has_changed or buffered.reading.rewriter.has_changed
        if turn.is_over:  # a small chunk may inflate to a thousand pieces, or take long and be empty
            await turn.next()


def _check_coding(page: PageRequest, buffered: BufferedPage) -> None:
    """Make sure that a page can be read: one with a coding that clients do not know, either, may be in none."""
    coding = unreadable(page.codings)
    if not coding:
        return
    start = bytes(buffered.decoded[:ENOUGH_TO_JUDGE])
    begins_as_page = is_web_page(start) if page.page_format is PageFormat.HTML else is_object(start)
    if not (begins_as_page and is_plain_text(start)):
        raise _unexpected(page, f"the index page is in the unsupported coding {coding}")


def _check_is_index(page: PageRequest, buffered: BufferedPage) -> None:
    beginning = bytes(buffered.decoded[:ENOUGH_TO_JUDGE])
    is_root = is_project_list(page.local_path)
    is_html = page.page_format is PageFormat.HTML
    if is_login_page(beginning, is_root=is_root) if is_html else not is_object(beginning):
        raise UpstreamUnexpectedError(
            "the Package Manager answered with a web page instead of an index",
            "check the upstream's url, the repository's name and the token",
        )


def _check_json(page: PageRequest, buffered: BufferedPage) -> None:
    if page.page_format is not PageFormat.JSON or buffered.decoded_size > len(buffered.decoded):
        return
    try:
        json.loads(buffered.decoded)
    except (ValueError, RecursionError) as error:
        raise _unexpected(page, "the index page is broken JSON") from error


def _unexpected(page: PageRequest, what: str) -> UpstreamUnexpectedError:
    return UpstreamUnexpectedError(
        f"{what} ({page.page_url.partition('?')[0]})", "try again, or tell its administrator"
    )


async def rewritten(page: PageRequest, buffered: BufferedPage, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The page with its links made local, from its beginning; `UpstreamUnexpectedError` where it turns out broken."""
    reading = buffered.reading
    try:
        if buffered.ready is None:
            reading = page.reading()
            for chunk in buffered.raw:
                async for piece in _rewritten_chunk(reading, chunk):
                    yield piece
        else:
            yield b"".join(buffered.ready)
        buffered.raw.clear()
        async for chunk in rest:
            async for piece in _rewritten_chunk(reading, chunk):
                yield piece
        if buffered.ready is None or not buffered.is_whole:
            yield reading.close()
    except (BrokenPage, BrokenCodingError) as error:
        raise _unexpected(page, str(error)) from error


async def _rewritten_chunk(reading: Reading, chunk: bytes) -> AsyncIterator[bytes]:
    turn = _LoopTurn()
    for piece in reading.decoder.feed(chunk):
        if piece:
            yield await reading.rewritten(piece)
        if turn.is_over:
            await turn.next()
