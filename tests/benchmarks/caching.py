"""What the cache is worth: warm pages and files, and many clients for one cold file."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import TIMEOUT, seconds_to_stream
from tests.benchmarks.content import LARGE_PAGE, page_path
from tests.benchmarks.ground import HOST, Ground, Running

CONNECTIONS = 16
SECONDS = 2.0
ROUNDS = 5


def warm_small_page(ground: Ground) -> Figure:
    """Measures the requests/s of a warm small page, as a share of nginx's that passes them on."""
    path = page_path("small", "json")
    with ground.cached_proxy() as proxy:
        pairs = [(_rate(proxy, path), _rate(ground.opponent, path)) for _ in range(ROUNDS)]
    ours, theirs = (median(rates) for rates in zip(*pairs, strict=True))
    return Figure(median(one / other for one, other in pairs), f"{ours:.0f}/s, nginx {theirs:.0f}/s")


def warm_large_page(ground: Ground) -> Figure:
    """Measures the milliseconds of a warm page of 3 000 files, over one connection."""
    with ground.cached_proxy() as proxy:
        path = page_path("large", "json")
        _rate(proxy, path, connections=1, seconds=0.5)
        rates = [_rate(proxy, path, connections=1, seconds=1.0) for _ in range(ROUNDS)]
    return Figure(1000 / median(rates))


def cpu_of_warm_page(ground: Ground) -> Figure:
    """Measures the proxy's CPU time in ms for one warm small page."""
    with ground.cached_proxy() as proxy:
        _rate(proxy, page_path("small", "json"), seconds=0.5)
        before, started = proxy.process.cpu, time.perf_counter()
        rate = _rate(proxy, page_path("small", "json"))
        spent = proxy.process.cpu - before
        return Figure(spent / (rate * (time.perf_counter() - started)) * 1000, f"{rate:.0f}/s")


def warm_file(ground: Ground) -> Figure:
    """Measures the seconds of nginx, which passes the file of 500 MB on, over ours from the cache."""
    with ground.cached_proxy() as proxy:
        _rate(proxy, LARGE_PAGE, connections=1, seconds=0.1)
        cold = seconds_to_stream(proxy.port)
        seconds_to_stream(proxy.port)
        pairs = [(seconds_to_stream(proxy.port), seconds_to_stream(ground.opponent.port)) for _ in range(3)]
    ours, theirs = (median(times) for times in zip(*pairs, strict=True))
    return Figure(theirs / ours, f"warm {ours:.2f} s, nginx {theirs:.2f} s, cold {cold:.2f} s")


def cold_file(ground: Ground) -> Figure:
    """Measures the seconds of nginx, which passes the file of 500 MB on, over ours with an empty cache."""
    pairs = []
    for _ in range(3):
        with ground.cached_proxy() as proxy:
            _rate(proxy, LARGE_PAGE, connections=1, seconds=0.1)
            pairs.append((seconds_to_stream(proxy.port), seconds_to_stream(ground.opponent.port)))
    ours, theirs = (median(times) for times in zip(*pairs, strict=True))
    return Figure(theirs / ours, f"cold {ours:.2f} s, nginx {theirs:.2f} s")


def memory_after_use(ground: Ground) -> Figure:
    """Measures the memory in MB after a cold and a warm large file, and 20 000 pages."""
    with ground.cached_proxy() as proxy:
        _rate(proxy, LARGE_PAGE, connections=1, seconds=0.1)
        threads = [threading.Thread(target=seconds_to_stream, args=(proxy.port,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for project in ("small", "large"):
            for form in ("html", "json"):
                _rate(proxy, page_path(project, form), seconds=1.0)
        before = proxy.process.memory
        rate = _rate(proxy, page_path("small", "json"), seconds=5.0)
        return Figure(proxy.process.memory, f"{before:.0f} MB before {5 * rate:.0f} pages more")


def _rate(server: Running, path: str, *, connections: int = CONNECTIONS, seconds: float = SECONDS) -> float:
    """Requests a second over kept connections, each asking again as soon as it has its page."""
    request = f"GET {path} HTTP/1.1\r\nHost: localhost:{server.port}\r\nUser-Agent: uv/0.13.9\r\n\r\n".encode()
    selector = selectors.DefaultSelector()
    for _ in range(connections):
        connection = socket.create_connection((HOST, server.port), timeout=TIMEOUT)
        connection.sendall(request)
        selector.register(connection, selectors.EVENT_READ, _Awaited())
    answered, started = 0, time.perf_counter()
    while (passed := time.perf_counter() - started) < seconds:
        for key, _ in selector.select(1.0):
            connection, awaited = key.fileobj, key.data
            assert isinstance(connection, socket.socket)
            if awaited.receive(connection.recv(1 << 20)):
                answered += 1
                connection.sendall(request)
    for key in list(selector.get_map().values()):
        key.fileobj.close()  # type: ignore[union-attr]
    selector.close()
    return answered / passed


class _Awaited:
    """What is still to come of one response."""

    def __init__(self) -> None:
        self._head, self._left = b"", -1

    def receive(self, data: bytes) -> bool:
        """Take some of it; whether that was the end."""
        assert data, "the server closed the connection"
        if self._left < 0:
            self._head += data
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return False
            assert b" 200 " in head[:15], head
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            self._left, data = int(length), rest
        self._left -= len(data)
        if self._left > 0:
            return False
        self._head, self._left = b"", -1
        return True
