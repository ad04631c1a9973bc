"""Free ports that no other test and no outgoing connection gets: lower ones than the system chooses itself."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import socket
from collections.abc import Iterator

FIRST = 11_000  # of the first worker: higher than any port that browsers refuse (Fetch, "port blocking": up to 10080)
BLOCK = 1_000  # ports for each worker

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_offsets = itertools.count(os.getpid())  # a run that follows begins elsewhere


def free_port() -> int:
    """A port on which nobody listens, on either loopback address."""
    for offset in itertools.islice(_offsets, BLOCK):
        port = FIRST + _WORKER * BLOCK + offset % BLOCK
        if all(_is_free(*address) for address in ((socket.AF_INET, "127.0.0.1", port), (socket.AF_INET6, "::1", port))):
            return port
    raise OSError("no port is free")


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1 that refuses connections until a server of the test listens; nobody else gets it."""
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def _is_free(family: socket.AddressFamily, host: str, port: int) -> bool:
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno != errno.EADDRINUSE  # a machine may have no IPv6
    return True
