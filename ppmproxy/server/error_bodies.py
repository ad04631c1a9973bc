"""The bodies of the upstream's errors: what they say, and whether the client gets to see them.

A body is passed on only when it is short, text of a known type, and has nothing of a known token in it (`auth.leaks`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

from ppmproxy.errors import UpstreamError
from ppmproxy.index.codings import READABLE, BrokenCodingError, Decoder
from ppmproxy.server.rejections import Rejection, words_of
from ppmproxy.upstream.messages import UpstreamResponse

MAX_ERROR_BODY = 1 << 16  # bytes, as they come and without their coding
_TYPES = frozenset(
    {
        *("text/plain", "text/html", "text/xml", "text/css", "text/csv", "text/markdown"),
        *("application/xhtml+xml", "application/xml", "application/json", "application/problem+json"),
        *("", "application/octet-stream"),  # servers that do not say; it is read as text all the same
        *("application/problem+xml", "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"),
    }
)
_CHARSETS = {"": "utf-8", "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "ascii", "iso-8859-1": "latin-1"}


async def read_rejection(response: UpstreamResponse) -> Rejection:
    """The upstream's rejection, with as much of its body as explains it."""
    start: list[bytes] = []
    with suppress(UpstreamError):  # what came so far says enough
        await read_start(response.chunks(), start)
    return rejection_of(response, start)


async def read_start(chunks: AsyncIterator[bytes], start: list[bytes]) -> None:
    """Read the start of a body, enough to tell whether it is short; the rest is still to be read. `UpstreamError`."""
    async for chunk in chunks:
        start.append(chunk)
        if sum(map(len, start)) > MAX_ERROR_BODY:
            return


def rejection_of(response: UpstreamResponse, start: list[bytes]) -> Rejection:
    """The upstream's rejection, by its head and the start of its body; without words that give a token away."""
    text = _decoded(response, start).decode("utf-8", "replace")
    if len(text) > MAX_ERROR_BODY:
        text = text[: max(text.rfind(" "), 0)]  # the last word may be part of a token
    words = "" if response.redactor.is_in_body(text) else words_of(text, response.header("Content-Type") or "")
    return Rejection(response.status, response.reason, response.redactor.server_text(words))


def may_be_passed_on(response: UpstreamResponse, start: list[bytes]) -> bool:
    """Whether the client gets a body, of which this is the start."""
    charset = _charset_of(response.header("Content-Type") or "")
    if charset is None or not READABLE.issuperset(response.codings):
        return not any(start)
    try:
        body = _decoded(response, start, is_strict=True)
        text = body.decode(charset)
    except (BrokenCodingError, UnicodeDecodeError):
        return False
    is_short = max(sum(map(len, start)), len(body)) <= MAX_ERROR_BODY
    is_text = all(char.isprintable() or char.isspace() for char in text)
    return is_short and is_text and not response.redactor.is_in_body(text)


def _charset_of(content_type: str) -> str | None:
    """The charset of a known type of text; None for anything else."""
    kind, *parameters = (part.strip().lower() for part in content_type.split(";"))
    named = [part.partition("=")[2].strip(' "') for part in parameters if part.startswith("charset")]
    return _CHARSETS.get(named[0] if named else "") if kind in _TYPES and len(named) <= 1 else None


def _decoded(response: UpstreamResponse, start: list[bytes], *, is_strict: bool = False) -> bytes:
    """A body without its coding, a byte more than `MAX_ERROR_BODY` at most.

    If it is broken, or something follows its end: what there is, or an error.
    """
    body, decoder = bytearray(), Decoder(response.codings)
    try:
        for piece in (piece for chunk in start for piece in decoder.feed(chunk)):
            body += piece[: MAX_ERROR_BODY + 1 - len(body)]
            if len(body) > MAX_ERROR_BODY:
                break  # the rest may inflate to a thousand times as much
    except BrokenCodingError:
        if is_strict:
            raise
    if is_strict and decoder.has_ignored:
        raise BrokenCodingError("something follows the compressed body")
    return bytes(body)
