"""Free ports that no other test and no outgoing connection gets: lower ones than the system chooses itself."""

from __future__ import annotations

import errno
import itertools
import os
import socket

FIRST, BLOCK = 10_000, 1_000  # of the first worker, and the size of each one's block

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_offsets = itertools.count(os.getpid())  # a run that follows begins elsewhere


def free_port() -> int:
    """A port on which nobody listens, on either loopback address."""
    for offset in itertools.islice(_offsets, BLOCK):
        port = FIRST + _WORKER * BLOCK + offset % BLOCK
        if all(_is_free(*address) for address in ((socket.AF_INET, "127.0.0.1", port), (socket.AF_INET6, "::1", port))):
            return port
    raise OSError("no port is free")


def _is_free(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # a machine may have no IPv6
    return True
