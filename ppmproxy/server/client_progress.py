"""Progress of a client that receives a response: one that reads nothing is cut, one that reads slowly is not.

A suspended laptop, or a stopped program, would hold a connection to the upstream for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKS = 4  # within the time in which a client has to take something
_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_SIOCOUTQ = 0x5411  # linux/sockios.h: bytes that the other end has not acknowledged


class ClientProgress:
    """Watches what a client takes of a response, and aborts its connection when that is nothing for too long."""

    def __init__(self, transport: asyncio.BaseTransport | None, stall: float, handed_over: Callable[[], int]) -> None:
        """`stall` are the seconds without progress; `handed_over` counts the bytes written for the client."""
        self.has_stalled = False
        self._transport = transport if isinstance(transport, asyncio.WriteTransport) else None
        self._interval = stall / CHECKS
        self._handed_over = handed_over
        self._taken = -1
        self._checks_left = CHECKS
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._check)

    def close(self) -> None:
        """The response is over."""
        self._timer.cancel()

    def _check(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        unread = self._transport.get_write_buffer_size() + unread_in_system(self._transport)
        taken = self._handed_over() - unread
        if unread == 0 or taken != self._taken:
            self._taken, self._checks_left = taken, CHECKS
        else:
            self._checks_left -= 1
        if self._checks_left == 0:
            self.has_stalled = True
            self._transport.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._check)


def unread_in_system(transport: asyncio.WriteTransport) -> int:
    """Bytes that the client has not read from the system's buffers, as far as this system shows them.

    A slow reader shows only in the queue of its own socket: TCP announces room there in large steps.
    """
    unread = 0
    if sys.platform == "linux":
        import fcntl  # noqa: PLC0415 - there is none on Windows

        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError, AttributeError):
            (unread,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), _SIOCOUTQ, b"\0" * 4))
            if sock.family in _TABLES:
                ours, theirs = _as_listed(sock.family, sock.getsockname()), _as_listed(sock.family, sock.getpeername())
                unread += _receive_queue(_TABLES[sock.family], theirs, ours)
    return unread


def _receive_queue(table: Path, local: str, remote: str) -> int:
    """The unread bytes of a socket of this machine (proc(5)); 0 for one that is not listed."""
    try:
        lines = table.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    for line in lines:
        fields = line.split()
        if fields[1:3] == [local, remote]:
            return int(fields[4].partition(":")[2], 16)
    return 0


def _as_listed(family: int, address: tuple[Any, ...]) -> str:
    """An address as the table has it: words of four bytes in the machine's order, in hexadecimal digits."""
    packed = socket.inet_pton(family, str(address[0]).partition("%")[0])
    words = struct.unpack(f">{len(packed) // 4}I", packed)
    return f"{struct.pack(f'={len(words)}I', *words).hex().upper()}:{address[1]:04X}"
