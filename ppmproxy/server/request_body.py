"""The body of a client's request: streamed for uploads, read whole for queries, limited in size."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus

from aiohttp import HttpVersion11, web

from ppmproxy.errors import PpmProxyError
from ppmproxy.index.routing import ResourceKind

LARGEST_QUERY = 1 << 20  # bytes of a POST to the read-only API; uploads are streamed instead


class QueryTooLargeError(PpmProxyError):
    """The body of a query is larger than any client has reason to send."""

    code = "not-forwarded"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "request too large"


async def body_of(request: web.BaseRequest, kind: ResourceKind) -> bytes | AsyncIterator[bytes] | None:
    """The body to send upstream; None for methods that have none. Raises `QueryTooLargeError`."""
    if request.method != "POST":
        return None
    await _ask_for_body(request)
    if kind is ResourceKind.UPLOAD:
        return request.content.iter_any()
    # Read whole, so that it can be sent again in another scheme.
    body = await request.content.read(LARGEST_QUERY + 1)
    while len(body) <= LARGEST_QUERY and (more := await request.content.read(LARGEST_QUERY)):
        body += more
    if len(body) > LARGEST_QUERY:
        raise QueryTooLargeError("the query's body is larger than 1 MiB", "query fewer packages at once")
    return body


async def _ask_for_body(request: web.BaseRequest) -> None:
    """Tell a client that waits with its body to send it (RFC 9110 section 10.1.1)."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # of the response itself
