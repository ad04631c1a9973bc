"""Changes of this machine's IP addresses, as Linux reports them (rtnetlink(7)).

After one, as when a VPN begins or ends, idle connections may be dead although nothing has been received on them. Other
systems report nothing here; there a dead connection is noticed when it brings no response (`racing`).
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

_GROUPS = 0x10 | 0x100  # linux/rtnetlink.h: RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR
_LARGEST_MESSAGE = 1 << 16


class AddressChanges:
    """Calls a function after each change; to be closed. Needs a running event loop."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._socket = _subscribed()
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._read)

    def close(self) -> None:
        """Report no more changes."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _read(self) -> None:
        with suppress(OSError):  # nothing more, or so many changes that some were dropped
            while self._socket is not None and self._socket.recv(_LARGEST_MESSAGE):
                pass
        self._changed()


def _subscribed() -> socket.socket | None:
    """A socket on which the kernel reports changes; None where it does not, or does not let us know."""
    if sys.platform != "linux":
        return None
    else:  # noqa: RET505 - mypy takes what follows a return for unreachable on the other platforms
        with suppress(OSError):
            subscribed = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
            try:
                subscribed.bind((0, _GROUPS))
            except OSError:
                subscribed.close()
                raise
            return subscribed
        return None
