"""The protocols of systemd: passed sockets and notifications (`sd_listen_fds(3)`, `sd_notify(3)`).

Their variables are for this process alone: `auth.child_env` keeps them from children. Outside systemd nothing here has
any effect.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TextIO

import structlog

from ppmproxy.access.daemon_record import SYSTEMD, USER_SYSTEMD
from ppmproxy.config.local_address import address_of_socket
from ppmproxy.config.model import AccessRule, Settings
from ppmproxy.errors import CannotListenError, ConfigError

FIRST_FD = 3  # SD_LISTEN_FDS_START
SEND_TIMEOUT = 1.0  # seconds; systemd reads its socket all the time, or is itself in trouble
_HINT = "let ppmproxy.socket have ListenStream= lines and nothing else that listens, and no Accept=yes"
_FAMILIES = frozenset(getattr(socket, name) for name in ("AF_INET", "AF_INET6", "AF_UNIX") if hasattr(socket, name))


@dataclass(slots=True)
class Systemd:
    """What systemd passed to this process: listening sockets, the notification socket, the watchdog interval."""

    sockets: tuple[socket.socket, ...] = ()
    notify_socket: str = ""
    watchdog: float = 0.0  # seconds between two watchdog notifications at most; 0 for none
    manager_name: str = SYSTEMD  # which systemd that would be
    _has_failed: bool = field(default=False, init=False, repr=False, compare=False)  # and that was logged

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int) -> Systemd:
        """Read from the environment of the process `pid`; `CannotListenError` for a wrong set of sockets.

        Empty for another process: a child that inherits the variables was not started by systemd.
        """
        manager = USER_SYSTEMD if environ.get("MANAGERPID") else SYSTEMD  # systemd.exec(5): of user managers alone
        sockets = passed_sockets(environ, pid)
        return cls(sockets, environ.get("NOTIFY_SOCKET", ""), _watchdog(environ, pid), manager)

    @property
    def manager(self) -> str:
        """The service manager that started this process, for `DaemonRecord`; "" for none."""
        return self.manager_name if self.notify_socket or self.sockets else ""

    def notify(self, *lines: str) -> None:
        """Send ``KEY=value`` lines to the service manager; of lines that it does not take the first is a warning."""
        address = self.notify_socket
        if not address:
            return
        try:
            _send(address, "\n".join(lines).encode())
        except OSError as error:
            if not self._has_failed:  # the unit stays "activating", and nothing else would say why
                hint = "see NotifyAccess= in the unit, and whether its sandbox lets the service reach that socket"
                why = (error.strerror or str(error)).lower()
                log = structlog.get_logger("ppmproxy")
                log.warning("notification_failed", socket=address, why=why, lost=lines[0], hint=hint)
                self._has_failed = True

    def ready(self) -> None:
        """Connections are accepted, or the new settings are in force."""
        self.notify("READY=1")

    def reloading(self) -> None:
        """The settings are being read again; `ready` follows in any case."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, timeout: float) -> None:
        """No more connections are accepted; requests under way may take `timeout` seconds."""
        self.notify("STOPPING=1", f"EXTEND_TIMEOUT_USEC={int(timeout * 1e6)}")

    def status(self, line: str) -> None:
        """What `systemctl status` shows."""
        self.notify(f"STATUS={line}")

    def alive(self) -> None:
        """The watchdog notification."""
        self.notify("WATCHDOG=1")


def _send(address: str, data: bytes) -> None:
    if sys.platform != "win32" and address.startswith(("/", "@")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SEND_TIMEOUT)
            sender.sendto(data, f"\0{address[1:]}" if address[0] == "@" else address)
    else:
        raise OSError(errno.EAFNOSUPPORT, "not the address of a unix socket")


def goes_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether what is written to a stream ends up in the journal (``$JOURNAL_STREAM``, systemd.exec(5))."""
    device, _, inode = environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # the latter of a stream that is no file
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def _watchdog(environ: Mapping[str, str], pid: int) -> float:
    """Seconds between two notifications at most; a malformed value counts as none (`sd_watchdog_enabled(3)`)."""
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not (text.isascii() and text.isdigit()):
        return 0.0
    return int(text) / 1e6


# --- sockets ----------------------------------------------------------------------------------------------------------


def passed_sockets(environ: Mapping[str, str], pid: int) -> tuple[socket.socket, ...]:
    """The sockets that systemd opened for this process; `CannotListenError` when one of them is of no use."""
    if environ.get("LISTEN_PID", "") != str(pid):
        return ()
    count = environ.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit()):
        what = f"LISTEN_FDS is {count[:20]!r} instead of a number of sockets"
        raise CannotListenError(what, "unset it and LISTEN_PID, or start ppmproxy through a socket unit of systemd")
    names = environ.get("LISTEN_FDNAMES", "").split(":")
    numbers = range(FIRST_FD, FIRST_FD + int(count))
    return tuple(_taken(fd, names[fd - FIRST_FD] if fd - FIRST_FD < len(names) else "") for fd in numbers)


def _taken(fd: int, name: str) -> socket.socket:
    shown = f"file descriptor {fd}" + (f" ({name})" if name.isprintable() and name else "")
    try:
        taken = socket.socket(fileno=fd)
    except OSError:
        raise CannotListenError(f"systemd passed {shown}, which is not a socket", _HINT) from None
    if taken.family not in _FAMILIES or taken.type != socket.SOCK_STREAM:
        raise CannotListenError(f"systemd passed {shown}, which is not a stream socket", _HINT)
    if not taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise CannotListenError(f"systemd passed {shown}, which does not listen", _HINT)
    taken.set_inheritable(False)
    taken.setblocking(False)  # noqa: FBT003
    return taken


def listening_on(settings: Settings, sockets: tuple[socket.socket, ...]) -> Settings:
    """The settings with the passed sockets in the place of `listen`; `ConfigError` for one that others can reach."""
    if not sockets:
        return settings
    addresses = tuple(address_of_socket(passed.getsockname()) for passed in sockets)
    for address in addresses:
        if not address.is_loopback and settings.access.rule is not AccessRule.ANY:
            what = f"systemd passed a socket on {address}, which can be reached from other machines"
            hint = 'let the socket unit listen on 127.0.0.1, or set access = "any": then everybody uses your token'
            raise ConfigError(what, hint)
    return replace(settings, listen=addresses)
