"""What it costs to know whose a connection is."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from pathlib import Path
from statistics import median

from ppmproxy.access.peer_credentials import PeerUids
from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import HOST, Ground

CONNECTIONS = 400  # open at the same time; each takes two files of this process
TURNS = 5


def microseconds_of_a_look_up(_ground: Ground) -> Figure:
    """µs to find the user at the other end of one of many connections, at the median."""
    peers = PeerUids()
    with contextlib.ExitStack() as stack:
        stack.callback(peers.close)
        listener = stack.enter_context(socket.create_server((HOST, 0), backlog=CONNECTIONS))
        accepted = []
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(listener.getsockname()))
            accepted.append(stack.enter_context(listener.accept()[0]))
        taken = [_seconds(peers, connection) for _ in range(TURNS) for connection in accepted]
        table = _seconds_for_the_table()
    return Figure(median(taken) * 1e6, f"{CONNECTIONS} connections; reading /proc/net/tcp takes {table * 1e6:.0f} µs")


def _seconds(peers: PeerUids, connection: socket.socket) -> float:
    started = time.perf_counter()
    uid = peers.uid_of(connection)
    taken = time.perf_counter() - started
    assert uid == os.geteuid(), uid
    return taken


def _seconds_for_the_table() -> float:
    """The other way to know, which gets slower with every connection of the machine."""
    started = time.perf_counter()
    Path("/proc/net/tcp").read_bytes()
    return time.perf_counter() - started
