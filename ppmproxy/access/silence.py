"""How long a client has sent nothing.

A connection may have waited in the queue of a listener for long before it is accepted; the kernel knows (tcp(7)).
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from typing import Protocol

_LAST_DATA_RECEIVED = struct.Struct("52xI")  # in struct tcp_info: tcpi_last_data_recv, in milliseconds


class TcpSocket(Protocol):
    """A connected socket."""

    def getsockopt(self, level: int, name: int, size: int, /) -> bytes: ...


def silent_for(connection: TcpSocket) -> float:
    """Seconds since the last byte arrived, or since the connection was made; 0 where that is not known."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, struct.error):  # a Unix socket
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
            return int(_LAST_DATA_RECEIVED.unpack(info)[0]) / 1000
    return 0.0
