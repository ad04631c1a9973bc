"""Claims about the event loop of commands: a call that blocks in a thread delays nothing else."""

import asyncio
import signal
import subprocess
import sys
import threading
import time

import pytest

from ppmproxy.cli.event_loop import Threads, run

BLOCKED = """
import asyncio, threading
from ppmproxy.cli.event_loop import run

async def main():
    for _ in range(50):
        asyncio.get_running_loop().run_in_executor(None, threading.Event().wait)
    return await asyncio.to_thread(sum, [40, 2])

print(run(main()))
"""

BUSY = """
import asyncio, signal, sys
from ppmproxy.cli.event_loop import run

async def compute():
    print("busy", flush=True)
    while True:
        sum(range(1_000_000))
        await asyncio.sleep(0)

async def main():
    try:
        await asyncio.wait_for(asyncio.ensure_future(compute()), 60)
    finally:
        print("cleaned up")

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
try:
    run(main())
except (KeyboardInterrupt, SystemExit):
    print("ended by the signal's handler")
"""

SWALLOWING = """
import asyncio, contextlib
from ppmproxy.cli.event_loop import run

async def main():
    with contextlib.suppress(asyncio.CancelledError):
        print("busy", flush=True)
        await asyncio.sleep(60)
    await asyncio.sleep(60)

try:
    run(main())
except KeyboardInterrupt:
    print("ended by the signal's handler")
"""


WITH_SOMETHING_LEFT_OVER = """
import asyncio, contextlib, signal, socket
from ppmproxy.cli.event_loop import run

async def left_over():
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(600)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    signal.set_wakeup_fd(theirs.fileno())
    print("busy", flush=True)
    while await asyncio.get_running_loop().sock_recv(ours, 1):
        print("got a signal", flush=True)

async def main():
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, print, "never again")
    loop.task = asyncio.create_task(left_over())
    await asyncio.sleep(0)

try:
    run(main())
except KeyboardInterrupt:
    print("ended by the signal's handler")
"""

AS_THE_LOOP_ENDS = """
import asyncio, os, signal
from ppmproxy.cli.event_loop import run

async def main():
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, print, "reload")
    ending = getattr(loop, {step!r})

    def end_and_be_told():
        ending()
        os.kill(os.getpid(), {number})

    setattr(loop, {step!r}, end_and_be_told)
    return "done"

signal.signal(signal.SIGTERM, lambda number, frame: exit("by the handler of SIGTERM"))
try:
    print(run(main()))
except KeyboardInterrupt:
    print("by the handler of SIGINT")
"""


def test_it_returns_or_raises_what_the_coroutine_does():
    async def main():
        await asyncio.to_thread(time.sleep, 0)
        return await asyncio.to_thread(int, "42"), await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        run(main())


def test_neither_other_work_nor_the_end_waits_for_what_is_blocked():
    ended = subprocess.run([sys.executable, "-c", BLOCKED], capture_output=True, text=True, timeout=120, check=True)

    assert (ended.stdout, ended.stderr) == ("42\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_the_middle_of_a_task_ends_it_in_silence(number):
    command = [sys.executable, "-c", BUSY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as busy:
        assert busy.stdout.readline() == "busy\n"
        busy.send_signal(number)

        said = busy.communicate(timeout=120)

    assert said == ("cleaned up\nended by the signal's handler\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_task_that_swallows_its_cancellation_ends_all_the_same():
    command = [sys.executable, "-c", SWALLOWING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as busy:
        assert busy.stdout.readline() == "busy\n"
        busy.send_signal(signal.SIGINT)

        said = busy.communicate(timeout=120)

    assert said == ("ended by the signal's handler\n", "")


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("numbers", "code", "said"),
    [
        ([signal.SIGINT, signal.SIGINT], 0, "ended by the signal's handler\n"),
        ([signal.SIGTERM], -signal.SIGTERM, ""),
    ],
)
def test_a_signal_ends_what_is_left_over_when_the_command_is_done(numbers, code, said):
    command = [sys.executable, "-c", WITH_SOMETHING_LEFT_OVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as busy:
        assert busy.stdout.readline() == "busy\n"
        for number in numbers[:-1]:
            busy.send_signal(number)
            assert busy.stdout.readline() == "got a signal\n"  # of two that come together, one may be lost
        busy.send_signal(numbers[-1])

        out, _ = busy.communicate(timeout=120)

    assert (busy.returncode, out) == (code, said)


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("step", "number", "said"),
    [
        ("_close_self_pipe", "SIGINT", ("by the handler of SIGINT\n", "")),
        ("_close_self_pipe", "SIGTERM", ("", "by the handler of SIGTERM\n")),
        ("_close_self_pipe", "SIGHUP", ("done\n", "")),
        ("close", "SIGINT", ("by the handler of SIGINT\n", "")),
        ("close", "SIGTERM", ("", "by the handler of SIGTERM\n")),
    ],
)
def test_a_signal_as_the_loop_ends_is_handled_and_no_error(step, number, said):
    command = [sys.executable, "-c", AS_THE_LOOP_ENDS.format(step=step, number=f"signal.{number}")]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (ended.stdout, ended.stderr) == said


def test_a_piece_of_work_too_many_fails_at_once():
    threads, gate = Threads(most=1), threading.Event()
    first = threads.submit(gate.wait)

    with pytest.raises(OSError, match="too much is blocked"):
        threads.submit(gate.wait).result(60)
    gate.set()

    assert first.result(60) is True


def test_a_thread_that_cannot_be_started_is_an_error_of_the_system_and_takes_no_place(monkeypatch):
    def at_the_limit(thread):
        raise RuntimeError("can't start new thread")

    threads = Threads(most=1)
    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", at_the_limit)
        refused = threads.submit(int, "42")

    with pytest.raises(OSError, match="can't start new thread"):
        refused.result(60)
    assert threads.submit(int, "42").result(60) == 42
