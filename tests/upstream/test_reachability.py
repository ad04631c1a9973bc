"""Claims about failures to connect: they are shared by all requests for an origin."""

import asyncio

import pytest

from ppmproxy.errors import NoConnectionError, ProxyRefusalError, UpstreamUnreachableError
from ppmproxy.upstream.reachability import IMPATIENT_FOR, REFUSED_FOR, Reachability
from ppmproxy.upstream.retries import NO_RETRIES


class Origin:
    """An origin that refuses connections for a time; its clock is moved by who sleeps."""

    def __init__(self, down_for):
        self.now = 0.0
        self.up_at = down_for
        self.refused, self.connecting, self.most_connecting = [], 0, 0
        self.reachability = Reachability(lambda: self.now, self.sleep)

    async def sleep(self, seconds):
        self.now += seconds
        await asyncio.sleep(0)

    async def attempt(self):
        self.connecting += 1
        self.most_connecting = max(self.connecting, self.most_connecting)
        await asyncio.sleep(0)
        self.connecting -= 1
        if self.now < self.up_at:
            self.refused.append(self.now)
            raise NoConnectionError("refused")
        self.reachability.record_connection()
        return "response"

    async def send(self, patience=10.0):
        return await self.reachability.send(self.attempt, self.now + patience)


async def test_a_connection_that_can_be_made_is_made_once():
    origin = Origin(down_for=0)

    assert await origin.send() == "response"
    assert origin.refused == []


async def test_connecting_is_tried_until_it_succeeds():
    origin = Origin(down_for=7)

    assert await origin.send() == "response"
    assert 7 <= origin.now < 8.5
    assert len(origin.refused) <= 10


async def test_one_request_probes_while_the_others_wait():
    origin = Origin(down_for=7)
    first = asyncio.create_task(origin.send())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    responses = await asyncio.gather(first, *(origin.send() for _ in range(49)))

    assert responses == ["response"] * 50
    assert len(origin.refused) <= 10


async def test_a_failure_at_the_deadline_is_raised_to_each_with_an_error_of_its_own():
    origin = Origin(down_for=60)

    errors = await asyncio.gather(*(origin.send() for _ in range(5)), return_exceptions=True)

    assert {type(error) for error in errors} == {NoConnectionError}
    assert len(set(map(id, errors))) == 5
    assert origin.now == pytest.approx(10, abs=1)


async def test_after_probing_in_vain_a_request_gets_one_attempt_for_thirty_seconds():
    origin = Origin(down_for=1000)
    with pytest.raises(NoConnectionError):
        await origin.send()
    before = len(origin.refused)

    for _ in range(3):
        with pytest.raises(NoConnectionError):
            await origin.send()
    began = origin.now
    origin.now += IMPATIENT_FOR
    with pytest.raises(NoConnectionError):
        await origin.send()

    assert began == pytest.approx(10)
    assert origin.refused[before : before + 3] == [began] * 3
    assert origin.now - began == pytest.approx(IMPATIENT_FOR + 10)


async def test_a_connection_makes_later_requests_patient_again():
    origin = Origin(down_for=15)
    with pytest.raises(NoConnectionError):
        await origin.send()
    origin.now = 16
    await origin.send()
    origin.up_at = 20

    assert await origin.send() == "response"
    assert origin.now >= 20


async def test_a_request_that_may_not_be_repeated_is_tried_once():
    origin = Origin(down_for=5)

    with pytest.raises(NoConnectionError):
        await origin.send(patience=NO_RETRIES)

    assert origin.refused == [0.0]
    assert origin.now == 0


async def test_one_failed_attempt_does_not_shorten_the_wait_of_other_requests():
    origin = Origin(down_for=5)
    with pytest.raises(NoConnectionError):
        await origin.send(patience=NO_RETRIES)

    assert await origin.send() == "response"


async def test_another_failure_is_raised_at_once():
    origin = Origin(down_for=0)

    async def cut():
        raise UpstreamUnreachableError("cut")

    with pytest.raises(UpstreamUnreachableError):
        await origin.reachability.send(cut, 10.0)

    assert origin.now == 0


async def test_when_the_one_that_probes_is_cancelled_another_one_goes_on():
    origin = Origin(down_for=7)
    prober = asyncio.create_task(origin.send())
    while not origin.refused:
        await asyncio.sleep(0)
    others = [asyncio.create_task(origin.send()) for _ in range(3)]
    await asyncio.sleep(0)

    prober.cancel()

    assert await asyncio.gather(*others) == ["response"] * 3


async def test_a_probe_that_waits_for_its_response_head_does_not_delay_other_requests():
    origin = Origin(down_for=3)
    head = asyncio.Event()

    async def slow():
        await origin.attempt()
        await head.wait()
        return "slow"

    prober = asyncio.create_task(origin.reachability.send(slow, 10.0))
    while not origin.refused:
        await asyncio.sleep(0)

    assert await origin.send() == "response"
    head.set()
    assert await prober == "slow"


# --- behind a forward proxy ---


class Gate(Origin):
    """A forward proxy that refuses to connect until a time."""

    async def attempt(self):
        try:
            return await super().attempt()
        except NoConnectionError:
            raise ProxyRefusalError("407") from None

    async def send(self, patience=10.0):
        return await self.reachability.send(self.attempt, self.now + patience, is_proxied=True)


async def test_a_refusal_is_asked_for_once_and_then_remembered():
    gate = Gate(down_for=1000)

    errors = await asyncio.gather(*(gate.send() for _ in range(40)), return_exceptions=True)
    with pytest.raises(ProxyRefusalError):
        await gate.send(patience=NO_RETRIES)

    assert {type(error) for error in errors} == {ProxyRefusalError}
    assert len(gate.refused) == 1


async def test_a_refusal_is_forgotten_after_some_seconds():
    gate = Gate(down_for=REFUSED_FOR)
    with pytest.raises(ProxyRefusalError):
        await gate.send()
    gate.now += REFUSED_FOR

    assert await asyncio.gather(*(gate.send() for _ in range(5))) == ["response"] * 5


async def test_connections_are_made_side_by_side_once_one_was_let_through():
    gate = Gate(down_for=0)

    await asyncio.gather(*(gate.send() for _ in range(10)))
    first = gate.most_connecting
    await asyncio.gather(*(gate.send() for _ in range(10)))

    assert (first, gate.most_connecting) == (9, 10)


async def test_a_refusal_after_connections_were_made_is_remembered_too():
    gate = Gate(down_for=0)
    await gate.send()
    gate.up_at = 1000
    with pytest.raises(ProxyRefusalError):
        await gate.send()

    with pytest.raises(ProxyRefusalError):
        await gate.send()

    assert len(gate.refused) == 1


async def test_a_forward_proxy_that_is_down_is_probed_like_any_origin():
    origin = Origin(down_for=7)

    responses = await asyncio.gather(
        *(origin.reachability.send(origin.attempt, 10.0, is_proxied=True) for _ in range(20))
    )

    assert responses == ["response"] * 20
    assert len(origin.refused) <= 10
