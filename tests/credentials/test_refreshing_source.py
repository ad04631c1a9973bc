"""Claims about a token that is fetched: once for all requests, and before it expires."""

import asyncio

import pytest

from ppmproxy.auth.credential import Claims, Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import SourceBroken, TokenRequest
from ppmproxy.credentials.refreshing_source import RefreshingSource

REQUEST = TokenRequest("https://pm.example.com")


class Clock:
    def __init__(self):
        self.at = 1_000_000.0

    def __call__(self):
        return self.at


class Counting:
    """A source with a new token each time, or with the result that a test sets."""

    name = "counting"

    def __init__(self, clock, lifetime=1000.0):
        self.clock = clock
        self.lifetime = lifetime
        self.asked = 0
        self.failing = None
        self.gate = None

    async def find(self, _request, /):
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.failing is not None:
            return self.failing
        expires = self.clock() + self.lifetime
        return Credential(Secret(f"token-{self.asked}"), self.name, Claims(expires_at=expires))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def source(clock):
    return Counting(clock)


@pytest.fixture
def refreshing(source, clock):
    return RefreshingSource(source, now=clock, jitter=lambda: 0.0)


def value(found):
    return found.secret.reveal()


async def test_a_token_is_fetched_once_and_cached(refreshing, source):
    found = [value(await refreshing.find(REQUEST)) for _ in range(3)]

    assert found == ["token-1"] * 3
    assert source.asked == 1


async def test_concurrent_requests_share_one_fetch(refreshing, source):
    source.gate = asyncio.Event()
    waiting = [asyncio.create_task(refreshing.find(REQUEST)) for _ in range(20)]
    await asyncio.sleep(0)
    source.gate.set()

    assert {value(found) for found in await asyncio.gather(*waiting)} == {"token-1"}
    assert source.asked == 1


async def test_a_cancelled_request_does_not_cancel_the_shared_fetch(refreshing, source):
    source.gate = asyncio.Event()
    first, second = (asyncio.create_task(refreshing.find(REQUEST)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    source.gate.set()

    assert value(await second) == "token-1"


async def test_the_old_token_is_used_during_a_refresh(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 900  # of 1000: due
    source.gate = asyncio.Event()

    during = [value(await refreshing.find(REQUEST)) for _ in range(3)]
    source.gate.set()
    await until_refreshed(refreshing)

    assert during == ["token-1"] * 3
    assert value(await refreshing.find(REQUEST)) == "token-2"
    assert source.asked == 2


async def until_refreshed(refreshing):
    while refreshing._fetching is not None:
        await asyncio.sleep(0)


async def test_after_a_sleep_past_the_expiry_a_new_token_is_fetched_first(refreshing, clock):
    await refreshing.find(REQUEST)
    clock.at += 5000

    assert value(await refreshing.find(REQUEST)) == "token-2"


async def test_a_failed_refresh_keeps_the_old_token_backs_off_and_is_reported(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 900
    source.failing = SourceBroken("counting", "out of order")

    for _ in range(5):
        assert value(await refreshing.find(REQUEST)) == "token-1"
        await until_refreshed(refreshing)

    assert source.asked == 2
    assert refreshing.warning == "counting could not be renewed: out of order"


async def test_after_the_expiry_the_failure_is_returned_and_not_repeated_at_once(refreshing, source, clock):
    await refreshing.find(REQUEST)
    clock.at += 2000
    source.failing = SourceBroken("counting", "out of order")

    answers = [await refreshing.find(REQUEST) for _ in range(4)]

    assert answers == [source.failing] * 4
    assert source.asked == 2
    clock.at += 3
    source.failing = None
    assert value(await refreshing.find(REQUEST)) == "token-3"
    assert refreshing.warning == ""


async def test_a_clock_that_was_set_back_does_not_prolong_a_back_off(refreshing, source, clock):
    source.failing = SourceBroken("counting", "out of order")
    await refreshing.find(REQUEST)

    clock.at -= 36_000
    source.failing = None

    assert value(await refreshing.find(REQUEST)) == "token-2"


async def test_a_rejected_token_is_fetched_again_once(refreshing, source):
    old = await refreshing.find(REQUEST)
    refreshing.forget(old.secret)
    new = await refreshing.find(REQUEST)
    refreshing.forget(old.secret)  # another request that was rejected with the same old token

    assert value(await refreshing.find(REQUEST)) == value(new) == "token-2"
    assert source.asked == 2
