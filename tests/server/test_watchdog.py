"""Claims about `watchdog`: systemd is notified of every change, and not by a blocked event loop."""

import asyncio
import socket
import sys
import time

import pytest

from ppmproxy.server.sd_notify import Systemd
from ppmproxy.server.watchdog import Watchdog

if sys.platform == "win32":
    pytest.skip("there is no systemd on Windows", allow_module_level=True)

EXPECTED = 0.4  # seconds within which a sign of life is expected


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.setblocking(False)
        yield receiver


def received(manager):
    """Everything that has been said since the last time."""
    messages = []
    while True:
        try:
            messages.append(manager.recv(65536).decode())
        except BlockingIOError:
            return messages


async def until_it_hears(manager, words):
    for _ in range(100):
        if words in received(manager):
            return
        await asyncio.sleep(EXPECTED / 4)
    pytest.fail(f"{words} was not said")


def systemd(manager, **more):
    return Systemd(notify_socket=manager.getsockname(), **more)


async def test_the_status_is_sent_when_it_changes_and_only_then(manager):
    states = ["one"]
    watchdog = Watchdog(systemd(manager), lambda: states[-1])

    async with watchdog.running():
        await asyncio.sleep(0)
        for state in ("one", "two", "two", "three"):
            states.append(state)
            watchdog.poke()
            await asyncio.sleep(0.01)

    assert received(manager) == ["STATUS=one", "STATUS=two", "STATUS=three"]


async def test_a_loop_in_time_notifies_the_watchdog(manager):
    beats = 0
    async with Watchdog(systemd(manager, watchdog=EXPECTED), lambda: "").running():
        for _ in range(100):
            await asyncio.sleep(EXPECTED / 4)
            beats += received(manager).count("WATCHDOG=1")
            if beats >= 6:
                break

    assert beats >= 6


async def test_a_loop_that_is_blocked_gives_none_until_it_turns_again(manager, logs):
    async with Watchdog(systemd(manager, watchdog=EXPECTED), lambda: "").running():
        await asyncio.sleep(EXPECTED)
        received(manager)
        time.sleep(2 * EXPECTED)
        await asyncio.sleep(0)
        while_blocked = received(manager)
        await until_it_hears(manager, "WATCHDOG=1")

    assert while_blocked == []
    assert max(line["seconds"] for line in logs.events("event_loop_late")) > EXPECTED


async def test_a_loop_that_is_late_every_time_is_as_good_as_blocked(manager, logs):
    async with Watchdog(systemd(manager, watchdog=EXPECTED), lambda: "").running():
        await asyncio.sleep(0)
        received(manager)
        for _ in range(4):
            time.sleep(EXPECTED * 0.6)
            for _ in range(4):  # rounds of the loop, so that whoever is due has had a turn
                await asyncio.sleep(0)

        assert "WATCHDOG=1" not in received(manager)
    assert len(logs.events("event_loop_late")) >= 2


async def test_without_systemd_no_task_is_started():
    before = asyncio.all_tasks()

    async with Watchdog(Systemd(), lambda: "").running():
        assert asyncio.all_tasks() == before
