"""Claims about `heartbeat`: systemd hears of every change, and of no loop that does not turn."""

import asyncio
import socket
import sys
import time

import pytest

from ppmproxy.server.sd_notify import Systemd
from ppmproxy.server.watchdog import Heartbeat

if sys.platform == "win32":
    pytest.skip("there is no systemd on Windows", allow_module_level=True)

EXPECTED = 0.4  # seconds within which a sign of life is expected


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def record_success(manager):
    """Everything that has been said since the last time."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(65536).decode())
        except BlockingIOError:
            return messages


def systemd(manager, **more):
    return Systemd(notify_socket=manager.getsockname(), **more)


async def test_the_state_is_told_when_it_changes_and_only_then(manager):
    states = ["one"]
    heartbeat = Heartbeat(systemd(manager), lambda: states[-1])

    async with heartbeat.beating():
        await asyncio.sleep(0)
        for state in ("one", "two", "two", "three"):
            states.append(state)
            heartbeat.look()
            await asyncio.sleep(0.01)

    assert record_success(manager) == ["STATUS=one", "STATUS=two", "STATUS=three"]


async def test_a_loop_that_turns_gives_signs_of_life(manager):
    async with Heartbeat(systemd(manager, watchdog=EXPECTED), lambda: "").beating():
        await asyncio.sleep(3 * EXPECTED)

    assert record_success(manager).count("WATCHDOG=1") >= 6


async def test_a_loop_that_is_blocked_gives_none_until_it_turns_again(manager, logs):
    async with Heartbeat(systemd(manager, watchdog=EXPECTED), lambda: "").beating():
        await asyncio.sleep(EXPECTED)
        record_success(manager)
        time.sleep(2 * EXPECTED)
        await asyncio.sleep(0)
        while_blocked = record_success(manager)
        await asyncio.sleep(EXPECTED)
        afterwards = record_success(manager)

    assert while_blocked == []
    assert "WATCHDOG=1" in afterwards
    [line] = logs.events("event_loop_late")
    assert line["seconds"] > EXPECTED


async def test_a_loop_that_is_late_every_time_is_as_good_as_blocked(manager, logs):
    async with Heartbeat(systemd(manager, watchdog=EXPECTED), lambda: "").beating():
        await asyncio.sleep(0)
        record_success(manager)
        for _ in range(4):
            time.sleep(EXPECTED * 0.6)
            for _ in range(4):  # rounds of the loop, so that whoever is due has had a turn
                await asyncio.sleep(0)

        assert "WATCHDOG=1" not in record_success(manager)
    assert len(logs.events("event_loop_late")) >= 2


async def test_without_systemd_no_task_is_started():
    before = asyncio.all_tasks()

    async with Heartbeat(Systemd(), lambda: "").beating():
        assert asyncio.all_tasks() == before
