"""The proxy's start: how long, and how much memory it then has."""

from __future__ import annotations

from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import Ground

STARTS = 7


def seconds_to_listen(ground: Ground) -> Figure:
    """Seconds from the start of `ppmproxy run` to the first accepted connection, at the median."""
    times = []
    for _ in range(STARTS):
        with ground.fresh_proxy() as (seconds, proxy):
            times.append(seconds)
            cpu = proxy.process.cpu
    return Figure(median(times), f"{cpu:.2f} s CPU")


def memory_at_rest(ground: Ground) -> Figure:
    """MB of resident memory once it listens."""
    with ground.fresh_proxy() as (_, proxy):
        return Figure(proxy.process.memory)
