"""Claims about the turns of handshakes: few at a time, none held up for long."""

import asyncio

import pytest

from ppmproxy.server.intercept.handshake_turns import HandshakeTurns

DEADLINE = 5


async def test_no_more_handshakes_than_that_go_on_at_once():
    turns = HandshakeTurns(2)
    first, _ = await turns.next(), await turns.next()
    third = asyncio.ensure_future(turns.next())
    await asyncio.sleep(0)
    waited = not third.done()

    first.end()

    assert waited
    await asyncio.wait_for(third, DEADLINE)


async def test_a_client_that_does_not_go_on_holds_nobody_up():
    turns = HandshakeTurns(1)
    await turns.next()

    await asyncio.wait_for(turns.next(), DEADLINE)


async def test_a_turn_that_is_ended_twice_gives_one_turn():
    turns = HandshakeTurns(1)
    turn = await turns.next()
    turn.end()
    turn.end()
    await turns.next()
    other = asyncio.ensure_future(turns.next())

    await asyncio.sleep(0)

    assert not other.done()
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
