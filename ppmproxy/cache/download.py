"""Downloads: one for all clients that wait for the same file with the same token.

A download goes on as long as any client waits for it. A body that is cut is continued from where it broke, unseen by
the clients; one that turns out wrong is never kept.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from ppmproxy.cache.blobs import PartialFile
from ppmproxy.cache.conditions import CONDITIONS
from ppmproxy.cache.growing import Growing
from ppmproxy.cache.growing_relay import BodySink
from ppmproxy.cache.responses import without
from ppmproxy.cache.running_hash import CAN_FOLLOW, RunningHash
from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import PpmProxyError, UpstreamError, UpstreamUnexpectedError, UpstreamUnreachableError
from ppmproxy.index.routing import Target
from ppmproxy.upstream.cancellation import cancel_until_done
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

RESUME_DELAYS = (0.2, 1.0, 3.0)  # seconds before a broken body is continued
VERIFIED_FIRST = 1 << 16  # bytes of a body that is held in memory and verified before any of it is sent


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to download, and what is known of it."""

    url: str  # canonical
    key: Hashable  # what makes two downloads the same; the token is a part of it
    target: Target
    request: UpstreamRequest
    lookup: LookupResult
    refusals_before: int  # how many there were when it was asked for
    digest: str = ""  # the hash that it must have; "" where none is known
    variant: str = ""  # what else the answer depends on


@dataclass(frozen=True, slots=True)
class Finished:
    """A download that is whole and right."""

    wanted: Wanted
    response: UpstreamResponse  # its head
    content: PartialFile | bytes
    digest: str
    start: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Part:
    """An answer that continues the body, behind so many bytes that are known."""

    response: UpstreamResponse
    skip: int


@dataclass(frozen=True, slots=True)
class DownloadHooks:
    """The functions that a download calls: where to write, what to do with a right file, and with a full disk."""

    create: Callable[[], PartialFile | None]
    keep: Callable[[Finished], Awaitable[None]]
    report_full: Callable[[OSError], None]
    may_keep: Callable[[UpstreamResponse, Wanted], bool]  # whether the response is for several clients, and to be kept
    hurry: Callable[[], None] = lambda: None  # somebody waits until a file is kept
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


class Download:
    """One download, in a task of its own, until its last client has left."""

    def __init__(self, wanted: Wanted, fetcher: Fetcher, hooks: DownloadHooks) -> None:
        self.wanted = wanted
        self.clients = 0
        self.body: Growing | None = None
        self.head: asyncio.Future[UpstreamResponse] = asyncio.get_running_loop().create_future()
        self.head.add_done_callback(_retrieve)
        self._fetcher = fetcher
        self._hooks = hooks
        self._passed_on = asyncio.Event()  # the answer is one client's alone, and that has left
        self._hash = RunningHash()
        self._start = b""
        self._is_claimed = False
        self.task = asyncio.create_task(self._run())

    def __repr__(self) -> str:
        return f"Download({self.wanted.digest[:12]!r}, clients={self.clients}, body={self.body!r})"

    @property
    def is_under_way(self) -> bool:
        """Whether it has no answer yet, or one that is for several clients and that still comes in."""
        if not self.head.done():
            return not self.task.done()
        return self.body is not None and not self.body.is_whole and self.body.error is None

    @property
    def is_being_kept(self) -> bool:
        """Whether it is whole, but not in its place yet."""
        return self.body is not None and self.body.is_whole and not self.task.done()

    async def _run(self) -> None:
        request = replace(self.wanted.request, headers=without(self.wanted.request.headers, *CONDITIONS))
        try:
            async with contextlib.AsyncExitStack() as stack:
                response = await stack.enter_async_context(
                    self._fetcher.fetch(self.wanted.target, request, self.wanted.lookup)
                )
                if not self._hooks.may_keep(response, self.wanted):
                    self.head.set_result(response)
                    await self._passed_on.wait()
                    return
                length = response.header("Content-Length") or ""
                is_small = length.isdigit() and int(length) <= VERIFIED_FIRST
                self.body = Growing(None if is_small else self._hooks.create(), is_held=is_small)
                self.head.set_result(response)
                await self._fill(self.body, response, stack)
        except PpmProxyError as error:
            self._fail(error)
        except BaseException:
            self._fail(UpstreamUnreachableError("the download was cancelled", "try again"))
            raise

    def _fail(self, error: PpmProxyError) -> None:
        if not self.head.done():
            self.head.set_exception(error)
        elif self.body is not None and not self.body.is_whole:
            self.body.finish(error)

    # --- the body ---

    async def _fill(self, body: Growing, first: UpstreamResponse, stack: contextlib.AsyncExitStack) -> None:
        """Download all of it, continue it where it breaks, verify and keep it."""
        part: _Part | None = _Part(first, 0)
        delays = iter(RESUME_DELAYS)
        while True:
            try:
                part = part or await self._continued(body, first, stack)
                await self._copy(body, part)
                self._check_length(body, first)
                break
            except UpstreamError as error:
                part = None
                await stack.aclose()
                delay = next(delays, None)
                if delay is None or not (error.may_pass and self._may_be_continued(first)):
                    raise
                await self._hooks.sleep(delay)
                await self._digest()  # so that nobody has to wait for it when more comes
        digest = await self._digest()
        if self.wanted.digest and digest != self.wanted.digest:
            raise _wrong(self.wanted)
        body.finish()
        await stack.aclose()  # the connection is free while the file is kept
        if (content := body.content) is not None:
            await self._hooks.keep(Finished(self.wanted, first, content, digest, self._start))

    async def _copy(self, body: Growing, part: _Part) -> None:
        response, skip = part.response, part.skip
        while chunk := await response.chunk():
            fresh = chunk[skip:] if skip else chunk
            skip -= len(chunk) - len(fresh)
            if not fresh:
                continue
            self._take(body, fresh)
            await body.wait_for_readers()
            if not skip and response.has_large_rest:
                await self._relay(body, response)
                break

    async def _relay(self, body: Growing, response: UpstreamResponse) -> None:
        """The rest of a large body, past aiohttp's buffers: less than half the work."""
        with response.relay_to(BodySink(body, partial(self._take, body, is_large=True))) as relay:
            while relay.left:
                await relay.relay_until_blocked()
                await body.wait_for_readers()

    def _take(self, body: Growing, chunk: bytes | memoryview, *, is_large: bool = False) -> None:
        if len(self._start) < _START:
            self._start += bytes(chunk[:_START])
        if (error := body.write(chunk)) is not None:
            self._hooks.report_full(error)
        if is_large and CAN_FOLLOW and body.is_on_disk and body.partial is not None:
            self._hash.follow(body.partial.file, body.size)
        else:
            self._hash.update(chunk)

    async def _digest(self) -> str:
        try:
            return await self._hash.digest()
        except OSError as error:
            self._hooks.report_full(error)
            raise UpstreamUnreachableError("a file of the cache could not be read again", "try again") from error

    def _check_length(self, body: Growing, first: UpstreamResponse) -> None:
        length = first.header("Content-Length") or ""
        if length.isdigit() and int(length) != body.size:
            raise UpstreamUnreachableError(
                f"{self.wanted.target.upstream.url} ended its response too early", "try again"
            )

    def _may_be_continued(self, first: UpstreamResponse) -> bool:
        """Whether it would be known that the rest belongs to the beginning."""
        return bool(self.wanted.digest or _validator_of(first))

    async def _continued(self, body: Growing, first: UpstreamResponse, stack: contextlib.AsyncExitStack) -> _Part:
        """The rest of a body that was cut."""
        validator = _validator_of(first)
        headers = [*without(self.wanted.request.headers, *CONDITIONS), ("Range", f"bytes={body.size}-")]
        headers += [("If-Range", validator)] if validator else []
        request = replace(self.wanted.request, headers=headers)
        lookup = LookupResult(first.credential)
        response = await stack.enter_async_context(self._fetcher.fetch(self.wanted.target, request, lookup))
        is_same_token = response.credential == first.credential
        content_range = response.header("Content-Range") or ""
        is_rest = content_range.startswith(f"bytes {body.size}-")
        if is_same_token and response.status == HTTPStatus.PARTIAL_CONTENT and is_rest:
            return _Part(response, 0)
        is_whole = response.status == HTTPStatus.OK and (self.wanted.digest or response.header("ETag") == validator)
        if is_same_token and is_whole:
            return _Part(response, body.size)  # verified as a whole in the end
        url = self.wanted.target.upstream.url
        raise UpstreamUnexpectedError(f"{url} ended its response too early, and cannot resume it", "try again")

    async def answered(self) -> UpstreamResponse:
        """The head; raises the error that explains why there is none."""
        return await asyncio.shield(self.head)

    def claim(self) -> bool:
        """Whether an answer that is not for several clients is this one's: that of the first who asks."""
        is_first, self._is_claimed = not self._is_claimed, True
        return is_first

    async def end(self) -> None:
        """Wait until a file that is whole is kept; cancel anything else."""
        if self.is_being_kept:
            self._hooks.hurry()
            await asyncio.wait([self.task])
        self._passed_on.set()
        await cancel_until_done(self.task)
        self.close()

    def close(self) -> None:
        """Give back what it holds, once its task is done."""
        self._hash.close()
        if self.body is not None:
            self.body.close()


_START = 512  # bytes, by which a web page is known


def _validator_of(response: UpstreamResponse) -> str:
    """What a range may be asked for with: a strong validator (RFC 9110 section 13.1.5)."""
    validator = response.header("ETag") or response.header("Last-Modified") or ""
    return "" if validator.startswith("W/") else validator


def _retrieve(head: asyncio.Future[UpstreamResponse]) -> None:
    if not head.cancelled():
        head.exception()


def _wrong(wanted: Wanted) -> UpstreamUnexpectedError:
    name = wanted.target.url.partition("?")[0].rpartition("/")[2]
    what = f"the hash of {name} is not the one on its index page"
    return UpstreamUnexpectedError(what, "try again, or tell the administrator of the Package Manager")
