"""Claims about Ctrl-C at any moment of a command: exit code 130, no traceback, and where it is ignored, none of it."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

STOPS_AT = """
import sys

def stop():
    print("here", flush=True)
    sys.stdin.readline()

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            stop()

sys.meta_path.insert(0, Finder())
from ppmproxy.__main__ import main
sys.argv[1:] = ["--version"]
main()
"""

STOPS_AT_THE_END = """
import atexit, sys
from ppmproxy.__main__ import main

def stop():
    print("here", flush=True)
    sys.stdin.readline()

atexit.register(stop)
sys.argv[1:] = ["completion", "bash"]
main()
"""

RAISES_ONCE = """
import signal
from ppmproxy.cli import interrupts

interrupts.end_at_once()
interrupts.CLEAN_UP = 600.0  # which even a busy machine does not take
with interrupts.Raised():
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)  # the key is held
        print("cleaned up", flush=True)
    interrupts.CLEAN_UP = 0.0  # over by now
    signal.raise_signal(signal.SIGINT)
print("not reached", flush=True)
"""

EXITS_BESIDE_A_BLOCKED_THREAD = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
from ppmproxy.__main__ import main
from ppmproxy.cli import completion

ThreadPoolExecutor(1).submit(time.sleep, 600)
completion.run = lambda *_: sys.exit(143)  # as the handler of a signal does
sys.argv[1:] = ["completion", "bash"]
main()
"""


def interrupted(program, **options):
    """Exit code and what was said, of a program that gets SIGINT at the place where it stops."""
    command = [sys.executable, "-c", program]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, text=True, **options) as stopped:
        while stopped.stdout.readline() != "here\n":
            assert stopped.poll() is None
        stopped.send_signal(signal.SIGINT)
        out, err = stopped.communicate("go on\n", timeout=120)
    return stopped.returncode, out + err


@pytest.mark.parametrize("name", ["ppmproxy.access.hardening", "ppmproxy.cli.main", "ppmproxy.cli.context"])
def test_it_ends_a_command_that_is_being_imported_in_silence(name):
    assert interrupted(STOPS_AT.format(name=name)) == (130, "")


def test_it_ends_a_command_that_is_over_in_silence():
    assert interrupted(STOPS_AT_THE_END) == (130, "")


def test_where_it_is_ignored_it_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code, said = interrupted(STOPS_AT.format(name="ppmproxy.cli.main"))
    finally:
        signal.signal(signal.SIGINT, before)

    assert code == 0
    assert said.startswith("ppmproxy ")


def test_a_command_can_clean_up_at_the_first_one_and_ends_at_a_later_one():
    ended = subprocess.run(
        [sys.executable, "-c", RAISES_ONCE], capture_output=True, text=True, timeout=120, check=False
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "cleaned up\n", "")


def test_a_command_that_a_signal_ends_waits_for_no_thread():
    command = [sys.executable, "-c", EXITS_BESIDE_A_BLOCKED_THREAD]

    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
