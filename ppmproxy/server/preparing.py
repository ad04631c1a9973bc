"""Preparing a response for delivery: checked, and read as far as its head depends on its body.

A page is read until it is known whether its links change, an error whole. Nothing is read while no client waits for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeGuard

from ppmproxy.errors import UpstreamError, UpstreamTimeoutError, UpstreamUnexpectedError
from ppmproxy.index.codings import decoded_start, unreadable
from ppmproxy.index.link_map import LinkMap, RealLinks
from ppmproxy.index.login_page import is_too_short_to_judge, is_web_page
from ppmproxy.index.page import PageRequest, buffer, rewritten
from ppmproxy.index.rewriter import PageFormat, page_format
from ppmproxy.index.routing import ResourceKind, Target, is_project_list
from ppmproxy.server.checked_body import checked_chunks
from ppmproxy.server.error_bodies import may_be_passed_on, read_start, rejection_of
from ppmproxy.server.error_responses import header_text
from ppmproxy.upstream.messages import UpstreamResponse

if TYPE_CHECKING:
    from ppmproxy.cache.pages import PageResponse  # nothing of the cache is imported where there is none

CHECKED_AT_ONCE = 1 << 16  # bytes of which all must be in order before any is sent
NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_NO_PAGE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})


@dataclass(frozen=True, slots=True)
class PreparedResponse:
    """A response with everything that its head depends on."""

    received: UpstreamResponse
    target: Target
    body: bytes | AsyncIterator[bytes] | None = None  # None: the upstream's, as it comes, after `start`
    start: list[bytes] = field(default_factory=list)  # of the upstream's body: read already; emptied as it is sent
    is_rewritten: bool = False  # the body is not the upstream's
    reason: str | None = None  # instead of the upstream's
    page_error: UpstreamError | None = None  # for pip, which shows nothing of an index page's own 4xx


@dataclass(frozen=True, slots=True)
class Preparation:
    """A response that is to be prepared."""

    received: UpstreamResponse
    target: Target
    method: str
    links: LinkMap
    attended: asyncio.Event  # set while a client waits

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, read only while a client waits."""
        await self.attended.wait()
        while chunk := await self.received.chunk():
            yield chunk
            await self.attended.wait()


async def prepare(preparation: Preparation) -> PreparedResponse:
    """The response, ready for delivery; `UpstreamError` for one that does not answer the request."""
    received, target = preparation.received, preparation.target
    check_response(received, target)
    is_head = preparation.method == "HEAD"
    is_success = received.status < HTTPStatus.MULTIPLE_CHOICES
    if not is_success and received.status not in NO_BODY and not is_head:
        return await _short(preparation)
    if target.kind is ResourceKind.INDEX_PAGE:
        return await _page(preparation, preparation.chunks())
    if target.kind is ResourceKind.UPLOAD and not is_head:
        return await _short(preparation)
    if target.kind is ResourceKind.FILE and not is_head:
        return PreparedResponse(received, target, start=[await _checked_start(preparation)])
    if target.kind is ResourceKind.API and received.status not in NO_BODY and not is_head:
        return await _checked(preparation)
    return PreparedResponse(received, target)


def check_response(received: UpstreamResponse, target: Target) -> None:
    """Refuse a response that does not answer the request; `UpstreamError`."""
    url = target.upstream.url
    if received.status < HTTPStatus.OK:
        what = f"{url} answered {received.status}, which is not a final response"
        raise UpstreamUnexpectedError(what, "correct the upstream's url, or tell its administrator")
    if received.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        what = f"{url} answered {received.status} {received.reason}".rstrip()
        is_timeout = received.status == HTTPStatus.GATEWAY_TIMEOUT
        error = UpstreamTimeoutError if is_timeout else UpstreamUnexpectedError
        raise error(what, "try again later, or tell its administrator")


async def _checked_start(preparation: Preparation) -> bytes:
    """The first bytes of a file; `UpstreamUnexpectedError` if they are a web page's."""
    received, start = preparation.received, b""
    if received.status == HTTPStatus.PARTIAL_CONTENT:
        return start
    while is_too_short_to_judge(start):
        await preparation.attended.wait()
        if not (chunk := await received.chunk()):
            break
        start += chunk
    _check_no_web_page(start, received, preparation.target)
    return start


def _check_no_web_page(start: bytes, received: UpstreamResponse, target: Target) -> None:
    """`UpstreamUnexpectedError` for the start of a web page where a file or the response to an upload was expected.

    The content decides: some servers label every file as ``text/html``.
    """
    if is_web_page(decoded_start(start, received.codings)):
        url = target.upstream.url
        what = f"{url} answered with a web page instead of a file"
        if target.kind is ResourceKind.UPLOAD:
            what = f"{url} answered the upload with a web page, so it did not take it"
        raise UpstreamUnexpectedError(what, "check the upstream's url and the token")


async def _page(preparation: Preparation, chunks: AsyncIterator[bytes]) -> PreparedResponse:
    """An index page, whatever its status: pip and uv read the body of every response that is no 4xx or 5xx."""
    received, target = preparation.received, preparation.target
    found = page_format(received.header("Content-Type"))
    if preparation.method == "HEAD":
        return PreparedResponse(received, target, is_rewritten=True)
    if received.status in NO_BODY or (found is not None and _is_json_root(found, target)):
        return PreparedResponse(received, target)
    if found is None:
        return await _checked(preparation)
    place, links = (target.url, RealLinks(target.upstream)) if target.keeps_links else (target.local, preparation.links)
    if _is_kept_page(received):
        return await _kept_page(received, PageRequest(found, received.url, place, (), links), target)
    page = PageRequest(found, received.url, place, received.codings, links)
    buffered = await buffer(page, chunks)
    if buffered.is_whole and not buffered.has_changed and not unreadable(received.codings):
        return PreparedResponse(received, target, b"".join(buffered.raw))
    if (whole := buffered.whole) is not None:
        return PreparedResponse(received, target, whole, is_rewritten=True)
    body = rewritten(page, buffered, chunks)
    if buffered.is_whole:
        return PreparedResponse(received, target, b"".join([piece async for piece in body]), is_rewritten=True)
    return PreparedResponse(received, target, body, is_rewritten=True)


def _is_kept_page(received: UpstreamResponse) -> TypeGuard[PageResponse]:
    return received.is_kept_page


async def _kept_page(received: PageResponse, page: PageRequest, target: Target) -> PreparedResponse:
    """A page of the cache, rewritten the first time that it is asked for here."""
    kept = received.page
    if (ready := kept.rewritten.get(page.local_path)) is None:
        chunks = _each([kept.row.body])
        buffered = await buffer(page, chunks)
        if buffered.is_whole and not buffered.has_changed:
            ready = kept.row.body
        else:
            ready = b"".join([piece async for piece in rewritten(page, buffered, chunks)])
        kept.keep_rewritten(page.local_path, ready)
    return PreparedResponse(received, target, ready, is_rewritten=True)


async def _checked(preparation: Preparation) -> PreparedResponse:
    """A body that is neither a file nor a page, such as the API's; `UpstreamError` where it shows a token."""
    received, target = preparation.received, preparation.target
    chunks, start = checked_chunks(received, preparation.chunks()), b""
    async for chunk in chunks:
        start += chunk
        if len(start) > CHECKED_AT_ONCE:
            return PreparedResponse(received, target, _joined(start, chunks), is_rewritten=bool(received.codings))
    return PreparedResponse(received, target, start, is_rewritten=bool(received.codings))


async def _joined(start: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield start
    async for chunk in rest:
        yield chunk


async def _short(preparation: Preparation) -> PreparedResponse:
    """The upstream's own 404 and its like, and its response to an upload; without a body that may not be passed on.

    The reason phrase of an upload's has the body's words, too: twine and Hatch show nothing else.
    """
    received, target = preparation.received, preparation.target
    body: list[bytes] = []
    await read_start(preparation.chunks(), body)
    reason = None
    if target.kind is ResourceKind.UPLOAD and received.status < HTTPStatus.MULTIPLE_CHOICES:
        _check_no_web_page(b"".join(body), received, target)
    if target.kind is ResourceKind.UPLOAD and received.status >= HTTPStatus.BAD_REQUEST:
        words = rejection_of(received, body).words
        reason = header_text(f"{received.reason}: {words}" if words else received.reason)
    error = _page_error(received, target, body)
    if may_be_passed_on(received, body):
        if received.status < HTTPStatus.BAD_REQUEST and _is_page(received, target):
            return await _page(preparation, _each(body))
        return PreparedResponse(received, target, b"".join(body), reason=reason, page_error=error)
    return PreparedResponse(received, target, b"", is_rewritten=True, reason=reason, page_error=error)


def _page_error(received: UpstreamResponse, target: Target, body: list[bytes]) -> UpstreamError | None:
    """A 4xx for an index page, in words; None for one that says that there is no such page."""
    is_own = HTTPStatus.BAD_REQUEST <= received.status < HTTPStatus.INTERNAL_SERVER_ERROR
    if target.kind is not ResourceKind.INDEX_PAGE or not is_own or received.status in _NO_PAGE:
        return None
    what = f"{target.upstream.url} answered {received.status} {received.reason}".rstrip()
    words = rejection_of(received, body).words
    return UpstreamUnexpectedError(f"{what}: {words}" if words else what, "ask its administrator")


async def _each(chunks: list[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def _is_page(received: UpstreamResponse, target: Target) -> bool:
    return target.kind is ResourceKind.INDEX_PAGE and page_format(received.header("Content-Type")) is not None


def _is_json_root(found: PageFormat, target: Target) -> bool:
    """The list of all projects in JSON has no links (PEP 691), however long it is."""
    return found is PageFormat.JSON and is_project_list(target.url)
