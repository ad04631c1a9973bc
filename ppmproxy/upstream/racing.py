"""A race between a connection that may be dead and a fresh one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Protocol, TypeVar

from ppmproxy.upstream.connector import Attempt

HEAD_WITHIN = 3.0  # seconds without a head after which an attempt on a doubtful connection gets a rival


class _Closable(Protocol):
    def close(self) -> None: ...


Response = TypeVar("Response", bound=_Closable)
Send = Callable[[Attempt], Coroutine[None, None, Response]]


async def race(send: Send[Response], first: Attempt, rival: Attempt, head_within: float = HEAD_WITHIN) -> Response:
    """The first response; the rival starts when the first attempt's connection is doubtful and brings no head in time.

    Raises the first attempt's error when neither brings a response. The loser's connection is closed.
    """
    attempts = [asyncio.create_task(send(first))]
    try:
        await asyncio.wait(attempts, timeout=head_within)
        if first.is_doubtful and not attempts[0].done():
            attempts.append(asyncio.create_task(send(rival)))
        winner = await _first_success(attempts)
        attempts.remove(winner)
        return winner.result()
    finally:
        await _abandon(attempts)


async def _first_success(attempts: list[asyncio.Task[Response]]) -> asyncio.Task[Response]:
    """The first attempt that succeeds, or when all fail the very first."""
    running = set(attempts)
    while running:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            if attempt.exception() is None:
                return attempt
    return attempts[0]


async def _abandon(attempts: list[asyncio.Task[Response]]) -> None:
    for attempt in attempts:
        attempt.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            outcome.close()
