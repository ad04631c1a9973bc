"""Bodies that are neither files nor pages, as those of the API: searched for tokens on their way to the client."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ppmproxy.auth.origin import Origin
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.codings import BrokenCodingError, Decoder, unreadable
from ppmproxy.upstream.messages import UpstreamResponse


async def checked_chunks(response: UpstreamResponse, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks of a body without its coding, as far as no known token begins in it; then `UpstreamUnexpectedError`.

    As much of it is held back as a token is long, so that not even the first part of one goes out.
    """
    if coding := unreadable(response.codings):
        raise _unexpected(response, f"answers in a coding that was not asked for ({coding})")
    decoder, held = Decoder(response.codings), b""
    longest = max(map(len, response.redactor.forms), default=0)
    try:
        async for chunk in chunks:
            for piece in decoder.feed(chunk):
                held += piece
                _check(response, held)
                if len(held) > longest:
                    yield held[: len(held) - longest]
                    held = held[len(held) - longest :]
        decoder.close()
    except BrokenCodingError as error:
        raise _unexpected(response, "sent a body whose compression is broken") from error
    yield held


def _check(response: UpstreamResponse, piece: bytes) -> None:
    text = piece.decode("latin-1")
    if response.redactor.text(text) != text:
        raise _unexpected(response, "sent a body that contains the token")


def _unexpected(response: UpstreamResponse, what: str) -> UpstreamUnexpectedError:
    return UpstreamUnexpectedError(f"{Origin.of(response.url)} {what}", "tell the administrator of the Package Manager")
