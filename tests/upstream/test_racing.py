"""Claims about the race between a connection that may be dead and a fresh one."""

import asyncio

import pytest

from ppmproxy.upstream.connector import Attempt
from ppmproxy.upstream.racing import race

NEVER = 60.0  # seconds: longer than the test may take
SOON = 0.02


class Response:
    def __init__(self, name):
        self.name = name
        self.is_closed = False

    def close(self):
        self.is_closed = True


class Line:
    """Sends attempts: each is idle for so long, and brings a response, or an error, after a time."""

    def __init__(self, idle_for, pooled, fresh):
        self.idle_for, self.pooled, self.fresh = idle_for, pooled, fresh
        self.started, self.cancelled, self.responses = [], [], []

    async def send(self, attempt):
        name = "fresh" if attempt.only_fresh else "pooled"
        attempt.idle_for = None if attempt.only_fresh else self.idle_for
        self.started.append(name)
        seconds, error = self.fresh if attempt.only_fresh else self.pooled
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        if error is not None:
            raise error
        self.responses.append(Response(name))
        return self.responses[-1]

    async def race(self):
        return await race(self.send, Attempt(), Attempt(only_fresh=True), SOON)


@pytest.mark.parametrize(
    ("idle_for", "pooled", "fresh", "winner", "started"),
    [
        (10.0, (0, None), (0, None), "pooled", ["pooled"]),
        (10.0, (NEVER, None), (0, None), "fresh", ["pooled", "fresh"]),
        (10.0, (SOON * 5, None), (NEVER, None), "pooled", ["pooled", "fresh"]),
        (10.0, (SOON * 5, None), (0, OSError("fresh")), "pooled", ["pooled", "fresh"]),
        (10.0, (SOON * 5, OSError("pooled")), (SOON * 10, None), "fresh", ["pooled", "fresh"]),
        (1.0, (SOON * 5, None), (0, None), "pooled", ["pooled"]),
        (None, (SOON * 5, None), (0, None), "pooled", ["pooled"]),
    ],
)
async def test_the_first_response_wins(idle_for, pooled, fresh, winner, started):
    line = Line(idle_for, pooled, fresh)

    response = await line.race()

    assert (response.name, response.is_closed) == (winner, False)
    assert line.started == started
    assert all(other.is_closed for other in line.responses if other is not response)


@pytest.mark.parametrize("fresh", [(0, OSError("fresh")), (SOON * 10, OSError("fresh"))])
async def test_when_both_fail_the_first_attempts_error_counts(fresh):
    line = Line(10.0, (SOON * 5, OSError("pooled")), fresh)

    with pytest.raises(OSError, match="pooled"):
        await line.race()


async def test_a_race_that_is_cancelled_leaves_no_attempt_behind():
    line = Line(10.0, (NEVER, None), (NEVER, None))
    running = asyncio.create_task(line.race())
    while len(line.started) < 2:
        await asyncio.sleep(SOON)

    running.cancel()
    await asyncio.wait([running])

    assert sorted(line.cancelled) == ["fresh", "pooled"]
