"""Two ends of a connection."""

import contextlib
import socket

FAMILIES = {"AF_INET": "127.0.0.1", "AF_INET6": "::1"}
MANY = 5000


@contextlib.contextmanager
def pair(listener):
    """A client's end and the accepted one."""
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            yield client, accepted
