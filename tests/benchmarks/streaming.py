"""Large files on their way through: how fast, and in how much memory."""

from __future__ import annotations

import time
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import asked, read_slowly, seconds_to_stream
from tests.benchmarks.content import LARGE_FILE, LARGE_SIZE
from tests.benchmarks.ground import Ground, Running

ROUNDS = 9
READERS = 20
SLOW_RATE = 1e6  # bytes a second that each slow reader takes
SLOW_SECONDS = 4.0


def throughput(ground: Ground) -> Figure:
    """The proxy's throughput as a share of nginx's: the median over rounds in which each streams the file once."""
    for server in (ground.opponent, ground.proxy):
        seconds_to_stream(server.port)
    theirs, ours = [], []
    for _ in range(ROUNDS):
        theirs.append(_streamed(ground.opponent))
        ours.append(_streamed(ground.proxy))
    ratio = median(their_time / our_time for (their_time, _), (our_time, _) in zip(theirs, ours, strict=True))
    return Figure(ratio, f"nginx {_summary(theirs)}; ppmproxy {_summary(ours)}")


def _streamed(server: Running) -> tuple[float, float]:
    """Seconds by the clock, and of the server's CPU."""
    before = server.process.cpu
    seconds = seconds_to_stream(server.port)
    return seconds, server.process.cpu - before


def _summary(rounds: list[tuple[float, float]]) -> str:
    speed = LARGE_SIZE / 1e6 / median(seconds for seconds, _ in rounds)
    cpu = median(cpu for _, cpu in rounds) / LARGE_SIZE * 1e9
    return f"{speed:.0f} MB/s, {cpu:.2f} s CPU/GB"


def growth_in_one_stream(ground: Ground) -> Figure:
    """MB by which a fresh proxy's memory grows at most while it streams the file once."""
    with ground.fresh_proxy() as (_, proxy):
        before = _settled_memory(proxy)
        seconds_to_stream(proxy.port)
        return Figure(proxy.process.peak_memory - before, f"from {before:.0f} MB")


def growth_in_many_streams(ground: Ground) -> Figure:
    """MB by which a fresh proxy's memory grows at most with many slow readers at once, until all have hung up."""
    with ground.fresh_proxy() as (_, proxy):
        before = _settled_memory(proxy)
        connections = [asked(proxy.port, LARGE_FILE) for _ in range(READERS)]
        try:
            received = read_slowly(connections, SLOW_RATE, SLOW_SECONDS)
        finally:
            for connection in connections:
                connection.close()
        seen = f"from {before:.0f} MB; each took {received / READERS / 1e6 / SLOW_SECONDS:.1f} MB/s"
        return Figure(proxy.process.peak_memory - before, seen)


def _settled_memory(proxy: Running) -> float:
    """Memory once the first request has loaded what every request needs."""
    with asked(proxy.port, "/pypi/latest/simple/small-html/") as connection:
        while connection.recv(1 << 16):
            pass
    time.sleep(0.2)
    proxy.process.forget_peak()
    return proxy.process.memory
