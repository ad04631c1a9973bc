"""Content of responses, generated only while it is sent."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE = 65536
PERIOD = 65521  # a prime, so that a range that starts in the wrong place shows different bytes


class Content(Protocol):
    """Bytes in pieces, with a size (None: unknown until all are sent)."""

    @property
    def size(self) -> int | None: ...

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]: ...


@dataclass(frozen=True)
class Memory:
    """Bytes held in memory."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        end = len(self.data) if stop is None else stop
        for at in range(start, end, PIECE):
            yield self.data[at : min(at + PIECE, end)]


@dataclass(frozen=True)
class Pattern:
    """Any number of bytes that gzip cannot shrink, of which none is kept."""

    size: int

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        block = _pattern_block()
        end = self.size if stop is None else stop
        at = start
        while at < end:
            offset = at % PERIOD
            piece = block[offset : offset + end - at]
            yield piece
            at += len(piece)


@dataclass(frozen=True)
class Window:
    """The bytes from `start` to before `stop` of something else."""

    content: Content
    start: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.start

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        end = self.stop if stop is None else self.start + stop
        return self.content.pieces(self.start + start, end)


@dataclass(frozen=True)
class Stream:
    """Pieces of unknown total size; it can only be sent as a whole."""

    make: Callable[[], Iterator[bytes]]
    size: None = None

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        if start or stop is not None:
            message = "a stream has no parts"
            raise ValueError(message)
        return self.make()


def sha256_of(content: Content) -> str:
    """The digest, computed piece by piece."""
    digest = hashlib.sha256()
    for piece in content.pieces():
        digest.update(piece)
    return digest.hexdigest()


@lru_cache(maxsize=1)
def _pattern_block() -> bytes:
    rounds = (hashlib.sha512(b"%d" % n).digest() for n in range(PERIOD // 64 + 1))
    return b"".join(rounds)[:PERIOD]
