"""Claims about `running_requests`: work outlives the client connection for which it began, for some seconds."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from proxy_client import wait_until

from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.credentials.running_requests import RunningRequests


class Work:
    """Work that ends when the test says so, and remembers its own end."""

    def __init__(self, error=None):
        self.may_end = asyncio.Event()
        self.ended = ""
        self.error = error

    @asynccontextmanager
    async def __call__(self, _running):
        try:
            await self.may_end.wait()
            if self.error:
                raise self.error
            yield "the response"
            self.ended = "closed"
        finally:
            self.ended = self.ended or "abandoned"


@pytest.fixture
async def requests():
    started = RunningRequests()
    yield started
    await started.close()


def ignored():
    """Called when a client does not return."""


async def test_a_result_lasts_until_the_client_has_it(requests):
    work = Work()
    running = requests.start(work)
    work.may_end.set()

    is_there = await running.wait(None)
    before = work.ended
    await running.close()
    await wait_until(lambda: work.ended)

    assert (is_there, running.result(), before, work.ended) == (True, "the response", "", "closed")


async def test_a_client_waits_no_longer_than_it_says(requests):
    running = requests.start(Work())

    is_there = await running.wait(0.01)
    await running.close()

    assert not is_there


async def test_a_parked_request_is_joined_once_by_its_key(requests):
    running = requests.start(Work())

    requests.park("key", running, ignored)
    joined = [requests.join("another key"), requests.join("key"), requests.join("key")]
    await running.close()

    assert joined == [None, running, None]
    assert running.redirects == 1


async def test_two_requests_with_one_key_return_in_their_order(requests):
    first, second = (requests.start(Work()) for _ in range(2))
    requests.park("key", first, ignored)
    requests.park("key", second, ignored)

    joined = [requests.join("key"), requests.join("key")]
    for running in joined:
        await running.close()

    assert joined == [first, second]


async def test_a_request_whose_client_does_not_return_is_abandoned(requests):
    work, abandoned = Work(), asyncio.Event()
    requests.return_window = 0.01

    requests.park("key", requests.start(work), abandoned.set)
    await asyncio.sleep(0)
    await asyncio.wait_for(abandoned.wait(), 5)
    await wait_until(lambda: work.ended)

    assert work.ended == "abandoned"
    assert requests.join("key") is None


async def test_an_error_waits_for_the_client_too(requests):
    work = Work(ValueError("no"))
    running = requests.start(work)
    requests.park("key", running, ignored)
    work.may_end.set()
    await running.wait(None)

    joined = requests.join("key")

    with pytest.raises(ValueError, match="no"):
        joined.result()
    assert joined.is_for(LookupResult(None))


async def test_work_knows_whether_a_client_attends(requests):
    running = requests.start(Work())

    requests.park("key", running, ignored)
    away = running.attended.is_set()
    requests.join("key")
    await running.close()

    assert (away, running.attended.is_set()) == (False, True)


async def test_closing_ends_what_is_parked():
    requests, work = RunningRequests(), Work()
    requests.park("key", requests.start(work), ignored)
    await asyncio.sleep(0)

    await requests.close()

    assert (work.ended, len(requests)) == ("abandoned", 0)


async def test_all_are_closed_though_one_expires_while_another_ends():
    requests, other = RunningRequests(), Work()

    @asynccontextmanager
    async def slow_to_end(_running):
        try:
            yield await asyncio.Event().wait()
        finally:
            await wait_until(lambda: other.ended)

    requests.park("slow", requests.start(slow_to_end), ignored)
    requests.return_window = 0.01
    requests.park("other", requests.start(other), ignored)
    await asyncio.sleep(0)

    await requests.close()

    assert (other.ended, len(requests)) == ("abandoned", 0)


@asynccontextmanager
async def work_that_loses_a_cancellation(_running):
    """As `asyncio.wait_for` does before Python 3.12 when what it waits for ends at the same time."""
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    yield "result"


@pytest.mark.parametrize("is_parked", [True, False])
async def test_work_that_is_abandoned_ends_though_it_loses_the_cancellation(requests, is_parked):
    requests.return_window = 0.01
    others = asyncio.all_tasks()
    running = requests.start(work_that_loses_a_cancellation)
    await asyncio.sleep(0)

    if is_parked:
        requests.park("key", running, ignored)
    else:
        running.cancel()

    await wait_until(lambda: not asyncio.all_tasks() - others)
