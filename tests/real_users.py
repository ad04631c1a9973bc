"""Real users of this machine, created for a test, and processes of theirs that connect to what it tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from downloads import exclusive_lock, skip_or_fail

RACER = Path(__file__).with_name("racing_user.py")
AGENT = Path(__file__).with_name("acting_user.py")
DEADLINE = 60.0  # seconds for one program


@dataclass(frozen=True)
class User:
    """A user of this machine with a process that carries out the calls of a test."""

    name: str
    uid: int
    process: subprocess.Popen[str]

    def asked(self, act, *arguments):
        """The result of a function of acting_user.py in that process; its errors are raised here by name."""
        self.process.stdin.write(json.dumps([act, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise ConnectionError(answer["error"])
        return answer["value"]

    def told(self, request, address, family="AF_INET"):
        """The whole response to a request that ends its connection."""
        self.asked("connect", "told", family, address)
        self.asked("send", "told", request)
        answer = self.asked("receive", "told")
        self.asked("close", "told")
        return answer


@pytest.fixture(scope="module")
def two_users():
    """Two real users, neither of them the user of the test."""
    if sys.platform != "linux" or os.geteuid() != 0:
        skip_or_fail("other users cannot be made here", "run the tests as root on Linux")
    if shutil.which("useradd") is None:
        skip_or_fail("useradd is missing", "install the passwd package")
    with contextlib.ExitStack() as stack:
        yield tuple(stack.enter_context(_user(f"ppm-{which}-{os.getpid()}")) for which in ("a", "b"))


@contextlib.contextmanager
def _user(name: str) -> Iterator[User]:
    _administer("useradd", "--no-create-home", "--shell", "/bin/false", name)
    try:
        uid = int(subprocess.run(["id", "-u", name], check=True, capture_output=True, text=True).stdout)
        with process_of(uid) as process:
            yield User(name, uid, process)
    finally:
        _administer("userdel", name)


@contextlib.contextmanager
def process_of(uid: int, *through: str) -> Iterator[subprocess.Popen[str]]:
    """A process of a user, started through another command if need be."""
    process = subprocess.Popen(
        [*through, sys.executable, "-I", AGENT, str(uid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:  # its input ends with this, and so does it
        yield process


def _administer(*command: str) -> None:
    with exclusive_lock(
        Path(tempfile.gettempdir()) / "ppmproxy-test-users.lock"
    ):  # two at a time fail at /etc/passwd.lock
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=DEADLINE)


@pytest.fixture
def open_folder():
    """A folder that every user can get to."""
    with tempfile.TemporaryDirectory(prefix="ppm-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextlib.contextmanager
def racer(uid, *arguments):
    """A process of another user that gives names in a folder another meaning, see racing_user.py."""
    process = subprocess.Popen([sys.executable, "-I", RACER, str(uid), *map(str, arguments)], stdout=subprocess.PIPE)
    with process:
        process.stdout.readline()  # it has begun
        try:
            yield
        finally:
            process.kill()
