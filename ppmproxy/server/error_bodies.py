"""The bodies of the upstream's error responses: what they say, and whether they may show the token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from ppmproxy.auth.leaks import contains_any
from ppmproxy.auth.secret import encoded_forms
from ppmproxy.errors import UpstreamError
from ppmproxy.index.codings import READABLE, BrokenCodingError, Decoder
from ppmproxy.server.rejections import Rejection, words_of
from ppmproxy.upstream.messages import UpstreamResponse

MOST_READ_OF_REJECTION = 1 << 14  # bytes
LONGEST_ERROR_PAGE = 1 << 18  # bytes, as they come and without their coding


async def read_rejection(response: UpstreamResponse) -> Rejection:
    """The upstream's rejection, with as much of its body as explains it."""
    start: list[bytes] = []
    with suppress(UpstreamError):  # what came so far says enough
        await read_start(response.chunks(), start)
    return rejection_of(response, start)


async def read_start(chunks: AsyncIterator[bytes], start: list[bytes], most: int = MOST_READ_OF_REJECTION) -> None:
    """Read the start of a body, `most` bytes and perhaps a few more; the rest is still to be read. `UpstreamError`."""
    async for chunk in chunks:
        start.append(chunk)
        if sum(map(len, start)) >= most:
            return


def rejection_of(response: UpstreamResponse, start: list[bytes]) -> Rejection:
    """The upstream's rejection, by its head and the start of its body."""
    body = _readable(response, start, MOST_READ_OF_REJECTION)
    if len(body) >= MOST_READ_OF_REJECTION:
        body = body[: max(body.rfind(b" "), 0)]  # the last word may be half a token, which no mask would know
    words = "" if _has_token(response, body) else words_of(body, response.header("Content-Type") or "")
    return Rejection(response.status, response.reason, words)


def may_tell_token(response: UpstreamResponse, body: list[bytes]) -> bool:
    """Whether a body may have the token of its request in it, as pages for debugging do.

    So may what is very long, and what cannot be read: in an unknown coding, or in UTF-16.
    """
    if not READABLE.issuperset(response.codings):
        return any(body)
    try:
        readable = _readable(response, body, LONGEST_ERROR_PAGE, is_strict=True)
    except BrokenCodingError:
        return True
    is_too_long = max(sum(map(len, body)), len(readable)) >= LONGEST_ERROR_PAGE
    return is_too_long or b"\0" in readable or _has_token(response, readable)


def _has_token(response: UpstreamResponse, body: bytes) -> bool:
    credential = response.credential
    return credential is not None and contains_any(body, encoded_forms(credential.secret.reveal(), credential.user))


def _readable(response: UpstreamResponse, start: list[bytes], most: int, *, is_strict: bool = False) -> bytes:
    """At most so many bytes of a body, without its coding; of one that is broken what there is, if not `is_strict`."""
    body = bytearray()
    try:
        decoder = Decoder(response.codings)
        for piece in (piece for chunk in start for piece in decoder.feed(chunk)):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break  # the rest may inflate to a thousand times as much
    except BrokenCodingError:
        if is_strict:
            raise
    return bytes(body)
