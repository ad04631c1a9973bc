"""What the page for people costs: requests while it is open, beside those while nobody looks."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import TIMEOUT, asked, page_fetcher
from tests.benchmarks.content import page_path
from tests.benchmarks.ground import HOST, Ground

TURNS = 6
SECONDS = 3.0  # of each turn: an open page has as many looks at the state


def rate_with_the_page_open(ground: Ground) -> Figure:
    """Requests a second with the page open in one window; without it, 1. The turns alternate, and the best count."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    connection = http.client.HTTPConnection(HOST, ground.proxy.port, timeout=TIMEOUT)
    fetch = page_fetcher(connection, page_path("small", "json"))
    fetch()
    for turn in range(2 * TURNS):
        is_open = bool(turn % 2)
        with _window(ground.proxy.port) if is_open else contextlib.nullcontext():
            rates[is_open].append(_rate(fetch))
    connection.close()
    without, with_page = max(rates[False]), max(rates[True])
    return Figure(with_page / without, f"{with_page:.0f} and {without:.0f} requests a second")


@contextlib.contextmanager
def _window(port: int) -> Iterator[None]:
    """A window that reads what it is sent."""
    connection = asked(port, "/-/page/events")
    reading = threading.Thread(target=_read_all, args=(connection,))
    reading.start()
    try:
        yield
    finally:
        connection.shutdown(socket.SHUT_RDWR)
        reading.join()
        connection.close()


def _read_all(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


def _rate(fetch: Callable[[], bytes]) -> float:
    count, began = 0, time.perf_counter()
    while (passed := time.perf_counter() - began) < SECONDS:
        fetch()
        count += 1
    return count / passed
