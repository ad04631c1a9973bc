"""The life of one request, from the client's line to the upstream's last byte.

To change how an answer is delivered, open this file; each step's decision is in the module that it names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from aiohttp import HttpVersion11, web
from multidict import CIMultiDict

from ppmproxy.auth.policy import may_carry_token
from ppmproxy.auth.redaction import Redactor, without
from ppmproxy.config.model import Settings
from ppmproxy.credentials.interactive import NextStep
from ppmproxy.errors import (
    SILENT,
    CredentialError,
    PpmProxyError,
    SignInNeededError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnexpectedError,
)
from ppmproxy.index.page import PageRequest, buffer, rewritten
from ppmproxy.index.rewriter import PageFormat, page_format
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server import headers
from ppmproxy.server.authenticated_send import (
    LONGEST_ERROR_PAGE,
    UpstreamSession,
    fetch_authenticated,
    may_tell_token,
    read_start,
    refusal_of,
)
from ppmproxy.server.error_responses import header_text
from ppmproxy.server.reload import InFlight
from ppmproxy.server.state import Metrics, RequestRecord
from ppmproxy.upstream.messages import Headers, UpstreamRequest, UpstreamResponse

LARGEST_QUERY_BODY = 1 << 20  # bytes of a POST to the read-only API; uploads are streamed instead
OK, NO_CONTENT, NOT_MODIFIED, TEMPORARY_REDIRECT = 200, 204, 304, 307
BAD_REQUEST, SERVER_ERROR, GATEWAY_TIMEOUT = 400, 500, 504


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that lives as long as the daemon, or as its settings: a reload makes all but mask and tally anew."""

    settings: Settings
    sessions: Mapping[str, UpstreamSession]  # by the upstream's name
    allowed_hosts: frozenset[str]
    redactor: Redactor
    metrics: Metrics
    in_flight_requests: InFlight = field(default_factory=InFlight)

    async def close(self) -> None:
        """Close what leads to the upstreams."""
        for session in self.sessions.values():
            await session.close()


async def handle(
    services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
) -> web.StreamResponse:
    """Forward one request and deliver the answer; raises `PpmProxyError` as long as nothing has been sent.

    A request that lacks a token may be held, or sent round, until somebody has signed in.
    """
    session = services.sessions[target.upstream.name]
    try:
        return await _forward(services, request, target, record)
    except CredentialError as error:
        session.upstream_state.lookup = await session.credential_for(target)  # without the refused one
        if request.method != "GET" or not session.chain.finds_sign_in_token(session.token_request_for(target)):
            raise
        next_step = await session.sign_in.wait(error, _place(request, target))
    if next_step is NextStep.REDIRECT:
        record.status, record.code = TEMPORARY_REDIRECT, SignInNeededError.code
        return web.Response(status=TEMPORARY_REDIRECT, headers={"Location": target.local, "Cache-Control": "no-store"})
    return await _forward(services, request, target, record)


def _place(request: web.BaseRequest, target: Target) -> str:
    """What a request is about and who asks, as far as that shows when it comes back."""
    named = (request.headers.get(name, "") for name in ("User-Agent", "Range"))
    return " ".join((target.local, *named))


async def _forward(
    services: Services, request: web.BaseRequest, target: Target, record: RequestRecord
) -> web.StreamResponse:
    session = services.sessions[target.upstream.name]
    lookup = await session.credential_for(target)
    session.upstream_state.lookup, session.upstream_state.token_request = lookup, session.token_request_for(target)
    session.upstream_state.refresh_failures = session.chain.refresh_failures
    if lookup.credential is not None:
        record.source = lookup.credential.source
    upstream_request = UpstreamRequest(
        request.method,
        target.url,
        headers.to_upstream(request.headers.items(), target.kind, request.method),
        body=await _body_of(request, target.kind),
    )
    with _heeded(session, target, services.metrics):
        async with fetch_authenticated(session, target, upstream_request, lookup) as received:
            services.metrics.record_success(session.upstream.name, session.now())
            return await _delivered(_Delivery(request, target, received, record, services.redactor), session)


@contextmanager
def _heeded(session: UpstreamSession, target: Target, metrics: Metrics) -> Iterator[None]:
    """Whether the upstream answered is remembered, for readiness; a refusal is an answer."""
    name, before = session.upstream.name, metrics.answered_at.get(session.upstream.name)
    try:
        yield
    except PpmProxyError as error:
        if may_carry_token(target.url, session.upstream.url) and metrics.answered_at.get(name) == before:
            if isinstance(error, SILENT):
                metrics.record_failure(name, session.now(), str(error))
            else:
                metrics.record_success(name, session.now())
        raise


async def _delivered(delivery: _Delivery, session: UpstreamSession) -> web.StreamResponse:
    received, target = delivery.received, delivery.target
    _check_answer(received, target)
    is_read = received.credential is not None and delivery.request.method != "HEAD"
    if received.status >= BAD_REQUEST and (target.kind is ResourceKind.UPLOAD or is_read):
        return await _deliver_refusal(delivery)
    if target.kind is ResourceKind.INDEX_PAGE:
        return await _deliver_page(delivery, session)
    return await delivery.send(delivery.headers())


async def _body_of(request: web.BaseRequest, kind: ResourceKind) -> bytes | AsyncIterator[bytes] | None:
    if request.method != "POST":
        return None
    await _ask_for_body(request)
    if kind is ResourceKind.UPLOAD:
        return request.content.iter_any()
    # Read as a whole, so that it can be offered in another scheme.
    body = await request.content.read(LARGEST_QUERY_BODY + 1)
    while len(body) <= LARGEST_QUERY_BODY and (more := await request.content.read(LARGEST_QUERY_BODY)):
        body += more
    if len(body) > LARGEST_QUERY_BODY:
        raise _TooLargeError("the query's body is larger than 1 MiB", "ask for fewer packages at once")
    return body


async def _ask_for_body(request: web.BaseRequest) -> None:
    """Tell a client that waits with its body to send it (RFC 9110 section 10.1.1)."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the answer itself


class _TooLargeError(PpmProxyError):
    code = "not-forwarded"
    status = 413
    title = "request too large"


def _check_answer(received: UpstreamResponse, target: Target) -> None:
    """Refuse what is not an answer to what was asked for; `UpstreamError`."""
    if received.status < OK:
        what = f"{target.upstream.url} answered {received.status}, which is no answer"
        raise UpstreamUnexpectedError(what, "check that the upstream's url is the Package Manager's")
    if received.status >= SERVER_ERROR:
        what = f"{target.upstream.url} answered {received.status} {received.reason}".rstrip()
        error = UpstreamTimeoutError if received.status == GATEWAY_TIMEOUT else UpstreamUnexpectedError
        raise error(what, "try again later, or tell its administrator")
    is_html = (received.header("Content-Type") or "").lower().startswith("text/html")
    if is_html and received.status < 300 and target.kind in {ResourceKind.FILE, ResourceKind.UPLOAD}:  # noqa: PLR2004
        what = f"{target.upstream.url} answered with a web page, maybe a login page, where a file was expected"
        if target.kind is ResourceKind.UPLOAD:
            what = f"{target.upstream.url} answered the upload with a web page, so it was not taken"
        raise UpstreamUnexpectedError(what, "check the upstream's url and the token")


async def _deliver_page(delivery: _Delivery, session: UpstreamSession) -> web.StreamResponse:
    received, target = delivery.received, delivery.target
    found = page_format(received.header("Content-Type"))
    if delivery.request.method == "HEAD":
        return await delivery.send(delivery.headers(rewritten=True), received.chunks())
    if received.status != OK or found is None or _is_json_root(found, target):
        return await delivery.send(delivery.headers())
    coding = (received.header("Content-Encoding") or "").strip().lower()
    page = PageRequest(found, received.url, target.local, coding, session.links)
    chunks = received.chunks()
    held = await buffer(page, chunks)
    if held.is_whole and not held.changed:
        return await delivery.send_whole(delivery.headers(), b"".join(held.raw))
    body = rewritten(page, held, chunks)
    if held.is_whole:
        return await delivery.send_whole(delivery.headers(rewritten=True), b"".join([piece async for piece in body]))
    return await delivery.send(delivery.headers(rewritten=True), body)


async def _deliver_refusal(delivery: _Delivery) -> web.StreamResponse:
    """The upstream's own 404 and its like; without its body, where that might tell the token that we sent.

    Of an upload it is told in the reason phrase, too: twine and Hatch show nothing else of it.
    """
    received = delivery.received
    body: list[bytes] = []
    await read_start(received.chunks(), body, LONGEST_ERROR_PAGE)
    reason = None
    if delivery.target.kind is ResourceKind.UPLOAD:
        refusal = refusal_of(received, body)
        reason = header_text(f"{received.reason}: {refusal.words}" if refusal.words else received.reason)
    if may_tell_token(received, body):
        return await delivery.send_whole(delivery.headers(rewritten=True), b"", reason)
    return await delivery.send_whole(delivery.headers(), b"".join(body), reason)


def _is_json_root(found: PageFormat, target: Target) -> bool:
    """The list of all projects in JSON has no links (PEP 691), however long it is."""
    return found is PageFormat.JSON and target.url.partition("?")[0].rstrip("/").endswith("simple")


@dataclass(frozen=True, slots=True)
class _Delivery:
    """An answer on its way to the client."""

    request: web.BaseRequest
    target: Target
    received: UpstreamResponse
    record: RequestRecord
    redactor: Redactor

    def headers(self, *, rewritten: bool = False) -> Headers:
        is_page = self.target.kind is ResourceKind.INDEX_PAGE
        # A cache puts a 304's headers on the page that it has, and could not read that if we had unpacked it.
        rewritten = rewritten or (is_page and self.received.status == NOT_MODIFIED)
        kept = headers.to_client(self.received.headers, rewritten=rewritten, is_page=is_page)
        return without(kept, self.redactor.forms)

    async def send(
        self, sent: Headers, chunks: AsyncIterator[bytes] | None = None, reason: str | None = None
    ) -> web.StreamResponse:
        """Send head and body, no faster than the client reads; a body that ends too early cuts the connection.

        Without `chunks` the body is the upstream's, as it comes.
        """
        response = web.StreamResponse(
            status=self.received.status, reason=self._reason(reason), headers=self._all_headers(sent)
        )
        await response.prepare(self.request)
        self.record.status = self.received.status  # from here on an error can only cut the connection
        if self.request.method == "HEAD" or self.received.status in {NO_CONTENT, NOT_MODIFIED}:
            return response
        try:
            if chunks is None and self.received.has_large_rest and not response.chunked:
                await self._pass_straight(response)
            else:
                async for chunk in chunks or self.received.chunks():
                    await response.write(chunk)
                    self.record.sent += len(chunk)
        except UpstreamError as error:
            self.record.code, self.record.detail = error.code, str(error)
            cut(self.request)
        return response

    async def send_whole(self, sent: Headers, body: bytes, reason: str | None = None) -> web.StreamResponse:
        """Send head and body at once."""
        response = web.Response(
            status=self.received.status, reason=self._reason(reason), headers=self._all_headers(sent), body=body
        )
        await response.prepare(self.request)
        self.record.status = self.received.status
        await response.write_eof()
        self.record.sent = len(body)
        return response

    def _reason(self, reason: str | None = None) -> str:
        return header_text(self.redactor.text(self.received.reason if reason is None else reason))

    def _all_headers(self, sent: Headers) -> CIMultiDict[str]:
        return CIMultiDict([*sent, *headers.AGAINST_BROWSERS])

    async def _pass_straight(self, response: web.StreamResponse) -> None:
        """Hand a large body on from connection to connection."""
        await response.write(await self.received.chunk())  # brings the head along
        client = self.request.transport
        if client is None:
            raise ConnectionResetError("the client has left")
        with self.received.relay_to(client) as relay:
            try:
                while relay.left:
                    await relay.relay_until_blocked()
                    if client.is_closing():
                        raise ConnectionResetError("the client has left")
                    await self.request.writer.drain()
            finally:
                self.record.sent = (response.content_length or 0) - relay.left


def cut(request: web.BaseRequest) -> None:
    """Close the client's connection without the end that it waits for, so that it knows the body is not whole."""
    if request.transport is not None:
        request.transport.close()
