"""Claims about `alarm`: a limit that is over calls once and in time, whatever limits came before it."""

import asyncio

import pytest

from ppmproxy.server.alarm import Alarm

LONG = 3600.0  # seconds
SHORT = 0.01
DEADLINE = 10.0


async def test_what_is_late_is_called_once():
    alarm, calls, called = Alarm(), [], asyncio.Event()

    alarm.set(SHORT, lambda: (calls.append("late"), called.set()))
    await asyncio.wait_for(called.wait(), DEADLINE)
    await asyncio.sleep(2 * SHORT)

    assert calls == ["late"]
    assert not alarm.is_set


@pytest.mark.parametrize(
    "earlier", [(), (LONG,), (SHORT / 2,), (LONG, SHORT / 2)], ids=["none", "longer", "shorter", "both"]
)
async def test_a_limit_counts_from_when_it_is_set_whichever_were_cancelled_before(earlier):
    alarm, called = Alarm(), asyncio.Event()
    for seconds in earlier:
        alarm.set(seconds, pytest.fail)
        alarm.cancel()
    clock = asyncio.get_running_loop().time

    began = clock()
    alarm.set(SHORT, called.set)
    await asyncio.wait_for(called.wait(), DEADLINE)

    assert clock() - began >= SHORT


async def test_a_limit_runs_on_when_another_is_set():
    alarm, called = Alarm(), asyncio.Event()

    alarm.set(SHORT, called.set)
    alarm.set(LONG, pytest.fail)

    await asyncio.wait_for(called.wait(), DEADLINE)


async def test_a_cancelled_limit_calls_nothing():
    alarm = Alarm()

    alarm.set(SHORT, pytest.fail)
    alarm.cancel()
    await asyncio.sleep(2 * SHORT)

    assert not alarm.is_set


async def test_a_closed_alarm_leaves_no_timer_behind():
    alarm = Alarm()
    alarm.set(LONG, pytest.fail)

    alarm.close()

    loop = asyncio.get_running_loop()
    running = [timer for timer in loop._scheduled if not timer.cancelled() and timer.when() > loop.time() + LONG / 2]
    assert running == []
