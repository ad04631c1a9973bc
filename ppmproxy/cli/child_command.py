"""A command as a child process: it gets the signals that are sent to this process, and its exit code is ours."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppmproxy.errors import PpmProxyError

if TYPE_CHECKING:
    from typing_extensions import Self

FROM_TERMINAL = tuple(getattr(signal, name) for name in ("SIGINT", "SIGQUIT") if hasattr(signal, name))
SIGNALLED = 128  # added to a signal's number, as shells do
NOT_FOUND, NOT_EXECUTABLE = 127, 126


class CommandNotFoundError(PpmProxyError):
    """The program does not exist."""

    exit_code = NOT_FOUND


class CommandNotExecutableError(PpmProxyError):
    """The file exists and cannot be run."""

    exit_code = NOT_EXECUTABLE


def run_child(command: list[str], environment: Mapping[str, str], signals: SignalForwarder) -> int:
    """Run a command to its end; its exit code, or 128 + n when signal n ended it."""
    # In the foreground of a terminal the command shares our session: Ctrl-C reaches both, and it may read the terminal.
    # Elsewhere it gets its own session; a signal to our process group would reach it twice, once through us.
    signals.is_starting = True
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=not _has_terminal())  # noqa: S603 - the person's own command
    except FileNotFoundError:
        raise CommandNotFoundError(
            f"exec: the command {command[0]} does not exist", "correct its name or PATH"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in an argument
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise CommandNotExecutableError(f"exec: {command[0]}: {reason}", "name an executable program") from None
    gc.enable()  # which `exec` has turned off until here
    signals.forward_to(process)
    code = signals.exit_code_of(process)
    return code if code >= 0 else SIGNALLED - code


class SignalForwarder:
    """Forwards the signals that end a command: queued until it has started, then sent to it.

    Those of its terminal it gets from there, from the moment on at which it exists.
    Signals that are ignored from the start, as with `nohup`, stay ignored, for the command too.

    A Python signal handler does not run while the main thread waits for a process. So another thread waits for the
    command, and this one reads a byte: from that thread, or from Python, which writes one for each signal
    (`signal.set_wakeup_fd`).
    """

    def __init__(self) -> None:
        self.is_starting = False  # whether a child may be the command
        self._read_end, self._write_end = socket.socketpair()
        self._write_end.setblocking(False)  # noqa: FBT003 - positional only
        self._previous_wakeup_fd = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._pending: list[int] = []
        self._previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._previous_wakeup_fd = signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT")  # Windows has but two of them
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._previous_handlers[number] = signal.signal(number, self._received)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous_handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._previous_wakeup_fd)
        self._read_end.close()
        self._write_end.close()

    def forward_to(self, process: subprocess.Popen[bytes]) -> None:
        """Forward signals to this process from now on, those received before included."""
        self._process = process
        for number in self._pending:
            process.send_signal(number)

    def exit_code_of(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the command; returns its exit code. Signals are forwarded meanwhile."""

        def wait() -> None:
            process.wait()
            with contextlib.suppress(OSError):  # closed already
                self._write_end.send(b"\0")

        threading.Thread(target=wait, name="ppmproxy-command", daemon=True).start()
        while process.returncode is None:
            self._read_end.recv(1)
        return process.returncode

    def _received(self, number: int, _frame: object) -> None:
        is_known = number in FROM_TERMINAL and _has_terminal()  # to whatever is in the foreground
        if self._process is not None:
            if not is_known:
                self._process.send_signal(number)
        elif not (is_known and self.is_starting and _has_child()):
            self._pending.append(number)


def _has_child() -> bool:
    """Whether this process has a child; True where the system does not say."""
    if sys.platform == "linux":
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return False
    return True


def _has_terminal() -> bool:
    """Whether this process is in the foreground of a terminal; its input may be a pipe."""
    is_in_foreground = True
    if sys.platform != "win32":
        try:
            terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
        except OSError:
            return False
        try:
            is_in_foreground = os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            is_in_foreground = False
        finally:
            os.close(terminal)
    return is_in_foreground
