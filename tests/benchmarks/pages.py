"""Index pages on their way through: what their links cost, and what a client waits."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import TIMEOUT, page_fetcher
from tests.benchmarks.content import page_path
from tests.benchmarks.ground import HOST, Ground

WARM_UP = 10
LARGE_PAGES = 100
SMALL_PAGES = 400


def cpu_for_large_page(form: str) -> Callable[[Ground], Figure]:
    """Measures the proxy's CPU time in ms for one large page, all of the request counted."""

    def measure(ground: Ground) -> Figure:
        connection = http.client.HTTPConnection(HOST, ground.proxy.port, timeout=TIMEOUT)
        fetch = page_fetcher(connection, page_path("large", form))
        page = _repeated(fetch, WARM_UP)
        assert ground.upstream_url.encode() not in page, "links lead to the upstream"
        before = ground.proxy.process.cpu
        _repeated(fetch, LARGE_PAGES)
        spent = ground.proxy.process.cpu - before
        connection.close()
        return Figure(spent / LARGE_PAGES * 1000, f"{len(page) / 1e6:.1f} MB of {form.upper()}")

    return measure


def added_to_small_page(form: str) -> Callable[[Ground], Figure]:
    """Measures how many ms a small page takes longer through the proxy than from the upstream, at the median."""

    def measure(ground: Ground) -> Figure:
        path = page_path("small", form)
        direct = http.client.HTTPSConnection(HOST, ground.upstream_port, context=ground.trusting(), timeout=TIMEOUT)
        proxied = http.client.HTTPConnection(HOST, ground.proxy.port, timeout=TIMEOUT)
        fetches = page_fetcher(direct, path), page_fetcher(proxied, path)
        for fetch in fetches:
            _repeated(fetch, WARM_UP)
        pairs = [[_milliseconds(fetch) for fetch in fetches] for _ in range(SMALL_PAGES)]
        direct.close()
        proxied.close()
        own, through = (median(times) for times in zip(*pairs, strict=True))
        return Figure(through - own, f"{own:.2f} ms from the upstream, {through:.2f} ms through the proxy")

    return measure


def _repeated(fetch: Callable[[], bytes], times: int) -> bytes:
    page = b""
    for _ in range(times):
        page = fetch()
    return page


def _milliseconds(fetch: Callable[[], bytes]) -> float:
    started = time.perf_counter()
    fetch()
    return (time.perf_counter() - started) * 1000
