"""The process that holds a port, as far as this user may know.

Linux only: the kernel's table of listeners has owner and inode of each, and a process of the same user shows its
inodes.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.config.local_address import WILDCARDS

LISTENING = "0A"  # include/net/tcp_states.h

_INODE, _UID, _STATE, _LOCAL = 9, 7, 3, 1  # columns of /proc/net/tcp: proc(5)


@dataclass(frozen=True, slots=True)
class _Listening:
    host: str
    port: int
    uid: int
    inode: str


@dataclass(frozen=True, slots=True)
class PortHolder:
    """Who listens on an address: its user, and the process where this user may look into it."""

    uid: int
    pid: int | None = None
    name: str = ""

    @property
    def is_own(self) -> bool:
        """Whether it is a process of this user."""
        return self.uid == own_uid()

    @property
    def is_systemd(self) -> bool:
        """Whether a service manager listens, for a socket unit whose service need not be running."""
        return self.name == "systemd"

    def __str__(self) -> str:
        if self.pid is not None:
            return f"process {self.pid} ({self.name})"
        if self.is_own:
            return "another process of yours"
        return f"another user's process (uid {self.uid})"


def holder_of(host: str, port: int, proc: Path = Path("/proc")) -> PortHolder | None:
    """Who listens on an address; None when that is unknown."""
    meant = {*_addresses_of(host), *WILDCARDS}
    found = [one for one in _listening(proc) if one.port == port and one.host in meant]
    for one in found:
        process = _process_with(one.inode, proc)
        if process is not None:
            return PortHolder(one.uid, int(process.name), _name_of(process))
    return PortHolder(found[0].uid) if found else None


def is_taken(host: str, port: int) -> bool:
    """Whether somebody listens on an address, whom the system may not name."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def owner_of(host: str, port: int, proc: Path = Path("/proc")) -> str:
    """The program that listens on an address, in words; "another program" when no more is known."""
    return str(holder_of(host, port, proc) or "another program")


def _addresses_of(host: str) -> set[str]:
    try:
        return {str(found[4][0]) for found in socket.getaddrinfo(host, None)}
    except OSError:
        return {host}


def _listening(proc: Path) -> Iterator[_Listening]:
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            for line in (proc / "net" / table).read_text(encoding="utf-8").splitlines()[1:]:
                columns = line.split()
                if columns[_STATE] == LISTENING:
                    host, _, port = columns[_LOCAL].partition(":")
                    yield _Listening(_address(host), int(port, 16), int(columns[_UID]), columns[_INODE])


def _address(written: str) -> str:
    """An address from the table: 32-bit words, each in the machine's own byte order."""
    raw = bytes.fromhex(written)
    words = [raw[start : start + 4] for start in range(0, len(raw), 4)]
    packed = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(_unmapped(ipaddress.ip_address(packed)))


def _unmapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _process_with(inode: str, proc: Path) -> Path | None:
    """The process that has the socket open, among those that this user may inspect."""
    wanted_link = f"socket:[{inode}]"
    for process in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(_leads_to(wanted_link, file) for file in (process / "fd").iterdir()):
                return process
    return None


def _leads_to(wanted_link: str, file: Path) -> bool:
    try:
        return str(file.readlink()) == wanted_link
    except OSError:  # closed in the meantime
        return False


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return "which has just ended"
