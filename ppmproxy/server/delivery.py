"""Delivering the upstream's response to the client: checked, its links made local, no faster than the client reads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from ppmproxy.auth.redaction import Redactor
from ppmproxy.errors import UpstreamError, UpstreamTimeoutError, UpstreamUnexpectedError
from ppmproxy.index.codings import decoded_start
from ppmproxy.index.link_map import LinkMap, RealLinks
from ppmproxy.index.login_page import is_too_short_to_judge, is_web_page
from ppmproxy.index.page import PageRequest, buffer, rewritten
from ppmproxy.index.rewriter import PageFormat, page_format
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server import headers
from ppmproxy.server.error_bodies import may_be_passed_on, read_start, rejection_of
from ppmproxy.server.error_responses import header_text
from ppmproxy.server.state import RequestRecord
from ppmproxy.upstream.messages import Headers, UpstreamResponse

_COMPLETE = frozenset({HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION})  # the second: changed on its way
_NO_BODY = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_STREAMED = frozenset({HTTPStatus.OK, HTTPStatus.NON_AUTHORITATIVE_INFORMATION, HTTPStatus.PARTIAL_CONTENT})


async def deliver(delivery: Delivery) -> web.StreamResponse:
    """Send a response to the client; `UpstreamError` for what is no answer to the request."""
    received, target = delivery.received, delivery.target
    check_response(received, target)
    if received.status not in _STREAMED and received.status not in _NO_BODY and delivery.request.method != "HEAD":
        return await _deliver_short(delivery)
    if target.kind is ResourceKind.INDEX_PAGE:
        return await _deliver_page(delivery)
    if delivery.request.method != "HEAD":
        if target.kind is ResourceKind.UPLOAD:
            return await _deliver_short(delivery)
        if target.kind is ResourceKind.FILE:
            return await delivery.send(delivery.headers(), start=await _checked_start(received, target))
    return await delivery.send(delivery.headers())


@dataclass(frozen=True, slots=True)
class Delivery:
    """A response on its way to the client."""

    request: web.BaseRequest
    target: Target
    received: UpstreamResponse
    record: RequestRecord
    redactor: Redactor
    links: LinkMap

    def headers(self, *, rewritten: bool = False) -> Headers:
        is_page = self.target.kind is ResourceKind.INDEX_PAGE
        # A cache puts a 304's headers on the page that it has, and could not read that if we had unpacked it.
        rewritten = rewritten or (is_page and self.received.status == HTTPStatus.NOT_MODIFIED)
        return headers.to_client(self.received.headers, rewritten=rewritten, is_page=is_page)

    async def send(
        self, sent: Headers, chunks: AsyncIterator[bytes] | None = None, *, start: bytes = b""
    ) -> web.StreamResponse:
        """Send head and body, no faster than the client reads; a body that ends too early cuts the connection.

        Without `chunks` the body is the upstream's, as it comes, after what was read of it: `start`.
        """
        response = web.StreamResponse(
            status=self.received.status, reason=self._reason(), headers=self._all_headers(sent)
        )
        await response.prepare(self.request)
        self.record.status = self.received.status  # from here on an error can only cut the connection
        self.record.length = response.content_length
        if self.request.method == "HEAD" or self.received.status in _NO_BODY:
            return response
        try:
            if chunks is None and self.received.has_large_rest and not response.chunked:
                await self._relay(response, start)
            else:
                await self._write(response, start)
                async for chunk in chunks or self.received.chunks():
                    await self._write(response, chunk)
        except UpstreamError as error:
            self.record.code, self.record.detail = error.code, str(error)
            cut(self.request)
        return response

    async def _write(self, response: web.StreamResponse, chunk: bytes) -> None:
        self.record.sent += len(chunk)  # first: a client that has all of it may leave before this comes back
        await response.write(chunk)

    async def send_whole(self, sent: Headers, body: bytes, reason: str | None = None) -> web.StreamResponse:
        """Send head and body at once."""
        response = web.Response(
            status=self.received.status, reason=self._reason(reason), headers=self._all_headers(sent), body=body
        )
        await response.prepare(self.request)
        self.record.status = self.received.status
        self.record.sent = self.record.length = len(body)
        await response.write_eof()
        return response

    def _reason(self, reason: str | None = None) -> str:
        return header_text(self.redactor.text(self.received.reason if reason is None else reason))

    def _all_headers(self, sent: Headers) -> CIMultiDict[str]:
        return CIMultiDict([*sent, *headers.AGAINST_BROWSERS])

    async def _relay(self, response: web.StreamResponse, start: bytes) -> None:
        """Hand a large body on from connection to connection."""
        await response.write(start or await self.received.chunk())  # brings the head along
        client = self.request.transport
        if client is None:
            raise ConnectionResetError("the client has left")
        with self.received.relay_to(client) as relay:
            try:
                while relay.left:
                    await relay.relay_until_blocked()
                    if client.is_closing() and relay.left:
                        raise ConnectionResetError("the client has left")
                    await self.request.writer.drain()
            finally:
                self.record.sent = (response.content_length or 0) - relay.left


def cut(request: web.BaseRequest) -> None:
    """Close the client's connection without the end that it waits for, so that it knows the body is not whole."""
    if request.transport is not None:
        request.transport.close()


def check_response(received: UpstreamResponse, target: Target) -> None:
    """Refuse what is no answer to the request; `UpstreamError`."""
    url = target.upstream.url
    if received.status < HTTPStatus.OK:
        what = f"{url} answered {received.status}, which is no answer"
        raise UpstreamUnexpectedError(what, "check that the upstream's url is the Package Manager's")
    if received.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        what = f"{url} answered {received.status} {received.reason}".rstrip()
        is_timeout = received.status == HTTPStatus.GATEWAY_TIMEOUT
        error = UpstreamTimeoutError if is_timeout else UpstreamUnexpectedError
        raise error(what, "try again later, or tell its administrator")


async def _checked_start(received: UpstreamResponse, target: Target) -> bytes:
    """The first bytes of a file; `UpstreamUnexpectedError` if they are a web page's."""
    start = b""
    while (
        received.status != HTTPStatus.PARTIAL_CONTENT
        and is_too_short_to_judge(start)
        and (chunk := await received.chunk())
    ):
        start += chunk
    _check_no_web_page(start, received, target)
    return start


def _check_no_web_page(start: bytes, received: UpstreamResponse, target: Target) -> None:
    """`UpstreamUnexpectedError` for the start of a web page where a file or the response to an upload was expected.

    The content decides: some servers label every file as ``text/html``.
    """
    if is_web_page(decoded_start(start, received.codings)):
        url = target.upstream.url
        what = f"{url} answered with a web page, maybe a login page, where a file was expected"
        if target.kind is ResourceKind.UPLOAD:
            what = f"{url} answered the upload with a web page, so it was not taken"
        raise UpstreamUnexpectedError(what, "check the upstream's url and the token")


async def _deliver_page(delivery: Delivery) -> web.StreamResponse:
    received, target = delivery.received, delivery.target
    found = page_format(received.header("Content-Type"))
    if delivery.request.method == "HEAD":
        return await delivery.send(delivery.headers(rewritten=True), received.chunks())
    if received.status not in _COMPLETE or found is None or _is_json_root(found, target):
        return await delivery.send(delivery.headers())
    place, links = (target.url, RealLinks(target.upstream)) if target.keeps_links else (target.local, delivery.links)
    page = PageRequest(found, received.url, place, received.codings, links)
    chunks = received.chunks()
    buffered = await buffer(page, chunks)
    if buffered.is_whole and not buffered.changed:
        return await delivery.send_whole(delivery.headers(), b"".join(buffered.raw))
    body = rewritten(page, buffered, chunks)
    if buffered.is_whole:
        return await delivery.send_whole(delivery.headers(rewritten=True), b"".join([piece async for piece in body]))
    return await delivery.send(delivery.headers(rewritten=True), body)


async def _deliver_short(delivery: Delivery) -> web.StreamResponse:
    """The upstream's own 404 and its like, and what it says to an upload; without a body that may not be passed on.

    The reason phrase of an upload's has the body's words, too: twine and Hatch show nothing else.
    """
    received = delivery.received
    body: list[bytes] = []
    await read_start(received.chunks(), body)
    reason = None
    if delivery.target.kind is ResourceKind.UPLOAD and received.status < HTTPStatus.MULTIPLE_CHOICES:
        _check_no_web_page(b"".join(body), received, delivery.target)
    if delivery.target.kind is ResourceKind.UPLOAD and received.status >= HTTPStatus.BAD_REQUEST:
        words = rejection_of(received, body).words
        reason = header_text(f"{received.reason}: {words}" if words else received.reason)
    if may_be_passed_on(received, body):
        return await delivery.send_whole(delivery.headers(), b"".join(body), reason)
    return await delivery.send_whole(delivery.headers(rewritten=True), b"", reason)


def _is_json_root(found: PageFormat, target: Target) -> bool:
    """The list of all projects in JSON has no links (PEP 691), however long it is."""
    return found is PageFormat.JSON and target.url.partition("?")[0].rstrip("/").endswith("simple")
