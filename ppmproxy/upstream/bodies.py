"""Response bodies that are read into memory: never more than a limit, as they arrive and without their codings."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ppmproxy.index.codings import BrokenCodingError, Decoder


async def read_at_most(limit: int, chunks: AsyncIterator[bytes], codings: tuple[str, ...] = ()) -> bytes:
    """The first `limit` bytes of a body, without its content codings; the rest is neither read nor decoded.

    A body in an unknown or broken coding is returned as far as it can be decoded.
    """
    body = bytearray()
    received = 0
    decoder = Decoder(codings)
    try:
        async for chunk in chunks:
            received += len(chunk)
            for piece in decoder.feed(chunk):
                body += piece[: limit - len(body)]
                if len(body) >= limit:
                    return bytes(body)
            if received > limit:  # a compressed body without output has no end either
                break
    except BrokenCodingError:
        pass
    return bytes(body)
