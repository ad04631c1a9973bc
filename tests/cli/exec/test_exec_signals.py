"""Claims about `ppmproxy exec`: signals, and a terminal."""

import asyncio
import contextlib
import os
import signal
import socket
import sys

import pytest
from exec_person import python, ready, tuple_of
from processes import run_program
from proxy_client import DEADLINE

pty = pytest.importorskip("pty", reason="signals and terminals as POSIX systems have them")


COUNT_SIGNALS = (
    "import os, select, signal, sys\n"
    "seen = []\n"
    "for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):\n"
    "    signal.signal(number, lambda number, _: (seen.append(number), os.write(1, b'got %d\\n' % number)))\n"
    "print('ready', flush=True)\n"
    "while not select.select([0], [], [], 0.05)[0]: pass\n"  # Python has no eye for a signal just before it blocks
    "sys.stdin.read()\n"
    "print('seen', *map(int, seen), flush=True)\n"
)


WAIT = "print('ready', flush=True); import sys; sys.stdin.read()"


@pytest.mark.parametrize("to_group", [False, True], ids=["to exec alone", "to its process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_command_and_then_exec(person, number, to_group):
    async with person.running(
        *python(f"import signal; signal.signal({int(number)}, signal.SIG_DFL); {WAIT}")
    ) as process:
        await ready(process)
        (os.killpg if to_group else os.kill)(process.pid, number)

        assert await asyncio.wait_for(process.wait(), DEADLINE) == 128 + number

        with socket.create_server(tuple_of(person.environ["PPMPROXY_LISTEN"])):
            pass  # the proxy has ended with it


@pytest.mark.parametrize("to_group", [False, True], ids=["to exec alone", "to its process group"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_command_gets_a_signal_once_and_may_go_on(person, number, to_group):
    async with person.running(*python(COUNT_SIGNALS)) as process:
        await ready(process)
        (os.killpg if to_group else os.kill)(process.pid, number)
        assert await asyncio.wait_for(process.stdout.readline(), DEADLINE) == f"got {int(number)}\n".encode()
        process.stdin.close()

        out, err = await asyncio.wait_for(process.communicate(), DEADLINE)

    assert process.returncode == 0
    assert out.decode() == f"seen {int(number)}\n"
    assert err == b""


# The command has started and has a signal of the terminal before this process knows its number.
INTERRUPTED_START = (
    "import subprocess, sys\n"
    "from ppmproxy.cli.child_command import SignalForwarder\n"
    "with SignalForwarder() as signals:\n"
    "    signals.is_starting = True\n"
    f"    process = subprocess.Popen([sys.executable, '-c', {COUNT_SIGNALS!r}], stdin=-1, stdout=-1, text=True)\n"
    "    for _ in ('ready', 'got 2'):\n"
    "        print(process.stdout.readline(), flush=True)\n"
    "    signals.forward_to(process)\n"
    "    print(process.communicate()[0], flush=True)\n"
)


@contextlib.contextmanager
def at_a_terminal(person, command):
    """The command in the foreground of a terminal of its own, and then a line with its exit code: the other end of it.

    A shell has the terminal, as a person's has: where its owner ends, what nobody has read yet of it is lost.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(person.folder)
        shell = ["/bin/sh", "-c", 'trap : INT; "$@"; echo "exit code $?"; read -r _', "sh"]
        os.execve(shell[0], [*shell, *command], {**person.environ, "PYTHONWARNINGS": "ignore"})
    try:
        yield terminal
    finally:
        with contextlib.suppress(ChildProcessError):  # it has ended, as it should have
            if not os.waitpid(pid, os.WNOHANG)[0]:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        os.close(terminal)


async def test_ctrl_c_at_a_terminal_ends_the_command_and_the_proxy_with_130(person):
    with at_a_terminal(person, person.command(*python(WAIT))) as terminal:
        await until_said(terminal, b"", b"ready")
        os.write(terminal, b"\x03")
        said = await until_said(terminal, b"", b"exit code 130\r\n")

    assert b"KeyboardInterrupt" in said  # the command's own words: Python got the signal, and not we alone
    assert b"ppmproxy" not in said
    with socket.create_server(tuple_of(person.environ["PPMPROXY_LISTEN"])):
        pass


async def test_ctrl_c_at_a_terminal_reaches_the_command_once(person):
    """The key itself: the kernel sends the signal to the whole foreground."""
    with at_a_terminal(person, person.command(*python(COUNT_SIGNALS))) as terminal:
        said = await until_said(terminal, b"", b"ready")
        os.write(terminal, b"\x03")
        said = await until_said(terminal, said, b"got 2")
        os.write(terminal, b"\x04")
        said = await until_said(terminal, said, b"exit code 0\r\n")

    assert b"seen 2\r\n" in said
    assert said.count(b"got 2") == 1


async def test_a_command_that_has_just_started_gets_ctrl_c_once(person):
    with at_a_terminal(person, [sys.executable, "-c", INTERRUPTED_START]) as terminal:
        await until_said(terminal, b"", b"ready")
        os.write(terminal, b"\x03")
        said = await until_said(terminal, b"", b"exit code 0\r\n")

    assert b"seen 2\r\n" in said


async def until_said(terminal, said, words):
    while words not in said:
        said += await asyncio.wait_for(asyncio.to_thread(os.read, terminal, 4096), DEADLINE)
    return said


async def test_a_signal_that_is_ignored_stays_so_for_the_command(person):
    program = "import signal; print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
    command = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *person.command(*python(program))]

    end = await run_program(command, person.environ, person.folder)

    assert end.output.strip() == "True"
