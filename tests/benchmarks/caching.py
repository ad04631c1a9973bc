"""What the cache is worth beside nginx: warm pages, and large files, cold and warm."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from statistics import median

from tests.benchmarks.claims import Figure
from tests.benchmarks.clients import seconds_to_stream
from tests.benchmarks.content import LARGE_PAGE, MEDIUM_FILE, MEDIUM_PAGE, MEDIUM_SIZE, page_path
from tests.benchmarks.ground import Ground, Running, free_port, nginx
from tests.benchmarks.rates import SECONDS, rate

ROUNDS = 5
CLIENTS = 20

_KEPT = "proxy_cache_path {folder}/kept keys_zone=kept:10m max_size=2g; {upstreams}"
_CACHING = "proxy_cache kept; proxy_cache_valid 200 1h; proxy_max_temp_file_size 0;"


@contextlib.contextmanager
def caching_nginx(ground: Ground) -> Iterator[Running]:
    """An nginx that caches what it passes on; its cache is empty."""
    port = free_port()
    folder = ground.folder / f"caching-{port}"
    upstreams = _KEPT.format(folder=folder, upstreams=ground.upstreams)
    with nginx(folder, port, ground.passed_on(_CACHING), upstreams=upstreams) as running:
        yield running


def warm_small_page(ground: Ground) -> Figure:
    """Measures the requests/s of a warm small page, as a share of nginx's that passes them on."""
    path = page_path("small", "json")
    with ground.cached_proxy() as proxy:
        pairs = [(rate(proxy.port, path), rate(ground.opponent.port, path)) for _ in range(ROUNDS)]
    ours, theirs = (median(rates) for rates in zip(*pairs, strict=True))
    return Figure(median(one / other for one, other in pairs), f"{ours:.0f}/s, nginx {theirs:.0f}/s")


def warm_large_page(ground: Ground) -> Figure:
    """Measures the milliseconds of a warm page of 3 000 files, over one connection."""
    with ground.cached_proxy() as proxy:
        path = page_path("large", "json")
        rate(proxy.port, path, connections=1, seconds=0.5)
        rates = [rate(proxy.port, path, connections=1, seconds=1.0) for _ in range(ROUNDS)]
    return Figure(1000 / median(rates))


def warm_large_page_beside_nginx(ground: Ground) -> Figure:
    """Measures the time of a warm page of 3 000 files as a multiple of nginx's that caches."""
    path = page_path("large", "json")
    with ground.cached_proxy() as proxy, caching_nginx(ground) as opponent:
        pairs = [
            [1000 / rate(server.port, path, connections=1, seconds=1.0) for server in (proxy, opponent)]
            for _ in range(ROUNDS)
        ]
    ours, theirs = (median(times) for times in zip(*pairs, strict=True))
    return Figure(median(one / other for one, other in pairs), f"{ours:.2f} ms, nginx {theirs:.2f} ms")


def cpu_of_warm_page(ground: Ground) -> Figure:
    """Measures the proxy's CPU time in ms for one warm small page."""
    with ground.cached_proxy() as proxy:
        rate(proxy.port, page_path("small", "json"), seconds=0.5)
        before = proxy.process.cpu
        answered = rate(proxy.port, page_path("small", "json")) * SECONDS
        return Figure((proxy.process.cpu - before) / answered * 1000, f"{answered / SECONDS:.0f}/s")


def warm_file(ground: Ground) -> Figure:
    """Measures the seconds of nginx over ours for the file of 500 MB, which both have in their caches."""
    with ground.cached_proxy() as proxy, caching_nginx(ground) as opponent:
        rate(proxy.port, LARGE_PAGE, connections=1, seconds=0.1)
        for _ in range(2):  # fetched, and read once more, which verifies it
            for server in (proxy, opponent):
                seconds_to_stream(server.port)
        pairs = [(seconds_to_stream(proxy.port), seconds_to_stream(opponent.port)) for _ in range(ROUNDS)]
    return _ratio(pairs, "warm")


def cold_file(ground: Ground) -> Figure:
    """Measures the seconds of nginx, which passes the file of 500 MB on, over ours with an empty cache."""
    return _ratio([(seconds_to_stream(ground.opponent.port), _cold(ground))[::-1] for _ in range(ROUNDS)], "cold")


def cold_file_beside_a_cache(ground: Ground) -> Figure:
    """Measures the same beside an nginx that caches: both write the file, and ours hashes it, too."""
    pairs = []
    for _ in range(ROUNDS):
        with caching_nginx(ground) as opponent:
            theirs = seconds_to_stream(opponent.port)
        pairs.append((_cold(ground), theirs))
    return _ratio(pairs, "cold")


def _cold(ground: Ground) -> float:
    with ground.cached_proxy() as proxy:
        rate(proxy.port, LARGE_PAGE, connections=1, seconds=0.1)
        return seconds_to_stream(proxy.port)


def _ratio(pairs: list[tuple[float, float]], what: str) -> Figure:
    ours, theirs = (median(times) for times in zip(*pairs, strict=True))
    return Figure(median(other / one for one, other in pairs), f"{what} {ours:.2f} s, nginx {theirs:.2f} s")


def many_cold_clients(ground: Ground) -> Figure:
    """Measures how long 20 clients take for a file of 50 MB that is not here, as a multiple of one client's time."""
    pairs = []
    for _ in range(ROUNDS):
        alone = max(_seconds_of_clients(ground, 1))
        pairs.append((max(_seconds_of_clients(ground, CLIENTS)), alone))
    together, alone = (median(times) for times in zip(*pairs, strict=True))
    ratio = median(one / other for one, other in pairs)
    return Figure(ratio, f"{CLIENTS} clients {together:.2f} s, one {alone:.2f} s; one request to the upstream")


def _seconds_of_clients(ground: Ground, clients: int) -> list[float]:
    """Seconds of each client; checks that the upstream was asked once."""
    seconds: list[float] = []
    with ground.cached_proxy() as proxy:
        rate(proxy.port, MEDIUM_PAGE, connections=1, seconds=0.1)
        asked_before = ground.requests_for(MEDIUM_FILE)

        def fetch() -> None:
            seconds.append(seconds_to_stream(proxy.port, path=MEDIUM_FILE, size=MEDIUM_SIZE))

        _together(clients, fetch)
        asked = ground.requests_for(MEDIUM_FILE) - asked_before
    assert asked == 1, f"{clients} clients caused {asked} requests"
    return seconds


def _together(clients: int, work: Callable[[], object]) -> None:
    threads = [threading.Thread(target=work) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def memory_after_use(ground: Ground) -> Figure:
    """Measures the memory in MB after a cold and a warm large file, and 20 000 pages."""
    with ground.cached_proxy() as proxy:
        rate(proxy.port, LARGE_PAGE, connections=1, seconds=0.1)
        _together(4, lambda: seconds_to_stream(proxy.port))
        for project in ("small", "large"):
            for form in ("html", "json"):
                rate(proxy.port, page_path(project, form), seconds=1.0)
        before = proxy.process.memory
        pages = 5 * rate(proxy.port, page_path("small", "json"), seconds=5.0)
        return Figure(proxy.process.memory, f"{before:.0f} MB before {pages:.0f} pages more")
