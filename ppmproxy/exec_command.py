"""`ppmproxy exec`: a proxy for the length of one command.

To change which daemon a command is given, what it finds in its environment, or how signals and exit codes pass, open
this file.

The user's running daemon is used when it serves the same upstreams and can prove to be this user's. Otherwise one is
started in this process, on the fixed port, or on a free one when that is taken. The command gets the variables of
`ppmproxy env`, and none that holds a token: it has no use for one.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppmproxy.chosen_index import DEFAULT_REPO, add_index_flags, chosen_index
from ppmproxy.client_variables import client_variables
from ppmproxy.command import Around, effective
from ppmproxy.errors import CannotListenError, PpmProxyError, UsageError
from ppmproxy.running_daemon import Found, daemon_for, look_at
from ppmproxy.runtime_folder import runtime_folders
from ppmproxy.settings import LogLevel, Settings, TcpAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppmproxy.config import Effective

TOKEN_VARIABLES = ("PPMPROXY_TOKEN", "PACKAGEMANAGER_TOKEN")
LOOK_EVERY = 2.0  # seconds between two looks whether a running daemon waits for a sign-in
SIGNALLED = 128  # added to a signal's number, as shells do
NOT_FOUND, NOT_EXECUTABLE = 127, 126


class CommandNotFoundError(PpmProxyError):
    """There is no such program."""

    exit_code = NOT_FOUND


class CommandNotExecutableError(PpmProxyError):
    """There is such a file, and it cannot be run."""

    exit_code = NOT_EXECUTABLE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command, and which index it is pointed at."""
    add_index_flags(parser)
    parser.add_argument("--keep-token", action="store_true", help="leave PPMPROXY_TOKEN in the command's environment")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND ...", help="what to run")


def run(arguments: argparse.Namespace, around: Around) -> int:
    """Run the command; its exit code, or 128 + n when signal n ended it."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise UsageError("exec: no command was given", "for instance: ppmproxy exec -- pip install six")
    in_force = effective(arguments, around)
    folders = runtime_folders(around.environ, around.home)
    found = daemon_for(in_force.settings, folders)
    serving: AbstractContextManager[Settings] = (
        _used(found, in_force.settings, around) if found else _started(in_force, around)
    )
    with serving as settings:
        return _run_command(command, _environment(settings, arguments, around), around)


def _environment(settings: Settings, arguments: argparse.Namespace, around: Around) -> dict[str, str]:
    index = chosen_index(settings, arguments.repo or DEFAULT_REPO, arguments.snapshot)
    kept = {
        name: value for name, value in around.environ.items() if arguments.keep_token or name not in TOKEN_VARIABLES
    }
    return kept | client_variables(index, None, around.environ)


# --- the daemon ---


@contextmanager
def _used(found: Found, settings: Settings, around: Around) -> Iterator[Settings]:
    """A running daemon, watched for sign-ins that wait for somebody."""
    ended = threading.Event()
    threading.Thread(target=_tell_sign_ins, args=(found.url, around, ended), daemon=True).start()
    host, _, port = found.url.removeprefix("http://").rpartition(":")
    try:
        yield replace(settings, listen=(TcpAddress(host.strip("[]"), int(port)),))
    finally:
        ended.set()


def _tell_sign_ins(url: str, around: Around, ended: threading.Event) -> None:
    folders = runtime_folders(around.environ, around.home)
    told: set[str] = set()
    while not ended.wait(LOOK_EVERY):
        for page, code in look_at(url, folders).sign_ins():
            if code not in told:
                told.add(code)
                _prompt(around, page, code)


def _prompt(around: Around, page: str, code: str) -> None:
    around.note(f"ppmproxy: sign in to go on: open {page}\n  and confirm the code {code}")


@contextmanager
def _started(in_force: Effective, around: Around) -> Iterator[Settings]:
    """A daemon in a thread of this process; it ends with the command."""
    from ppmproxy.daemon_thread import DaemonThread  # noqa: PLC0415 - a whole server, when none is running

    settings = in_force.settings
    if not any(entry.key == "log_level" and entry.came_from != "default" for entry in in_force.entries):
        settings = replace(settings, log_level=LogLevel.ERROR)
    try:
        thread = DaemonThread.start(settings, around, lambda page, code: _prompt(around, page, code))
    except CannotListenError as error:
        around.note(f"ppmproxy: {error}; using a free port, which lock files should not name")
        thread = DaemonThread.start(_on_free_port(settings), around, lambda page, code: _prompt(around, page, code))
    try:
        yield replace(settings, listen=thread.addresses)
    finally:
        thread.stop()


def _on_free_port(settings: Settings) -> Settings:
    tcp = [address for address in settings.listen if isinstance(address, TcpAddress)]
    return replace(settings, listen=tuple(TcpAddress(address.host, 0) for address in tcp))


# --- the command ---


def _run_command(command: list[str], environment: Mapping[str, str], around: Around) -> int:
    """Run it in the foreground; signals sent to this process are passed on."""
    try:
        process = subprocess.Popen(command, env=environment)  # noqa: S603 - the person's own command
    except FileNotFoundError:
        raise CommandNotFoundError(f"exec: {command[0]}: no such command", "check the name, and PATH") from None
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise CommandNotExecutableError(f"exec: {command[0]}: {reason}", "name a program that can be run") from None
    with _signals_passed_on(process, around):
        code = process.wait()
    return code if code >= 0 else SIGNALLED - code


@contextmanager
def _signals_passed_on(process: subprocess.Popen[bytes], _around: Around) -> Iterator[None]:
    def pass_on(number: int, _frame: Any) -> None:
        # At a terminal Ctrl-C reaches the command by itself, because both are in the foreground.
        if not (number == signal.SIGINT and _is_in_foreground()):
            process.send_signal(number)

    passed = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32":
        passed += [signal.SIGHUP, signal.SIGQUIT]
    before = {number: signal.signal(number, pass_on) for number in passed}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_in_foreground() -> bool:
    in_foreground = True
    if sys.platform != "win32":
        try:
            in_foreground = os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
        except (OSError, ValueError):
            in_foreground = False
    return in_foreground
