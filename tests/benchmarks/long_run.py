"""What the cache costs a daemon: at its start with many files, over many requests, and for those that it is not for."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median

from ppmproxy.cache.catalog import CacheCatalog
from ppmproxy.cache.folder import CacheFolder
from tests.benchmarks.claims import Figure
from tests.benchmarks.content import SMALL_FILE, page_path
from tests.benchmarks.ground import CannotMeasureError, Ground, Running
from tests.benchmarks.rates import SECONDS, rate

BLOBS = 50_000
STARTS = 5
REQUESTS = 100_000
WARM_UP = 10.0  # seconds
FORWARDED = 4.0  # seconds
ROUNDS = 5
BEFORE_THE_CACHE = "fe188c2f9b24f93b05af4cafd141a826d458cd2b"  # the commit before the first one of the cache
_ROOT = Path(__file__).resolve().parents[2]


def start_with_many_files(ground: Ground) -> Figure:
    """Measures the seconds from the start until it listens with a cache of 50 000 blobs; the first page is shown."""
    folder = Path(tempfile.mkdtemp(prefix="many-", dir=ground.folder))
    _fill(CacheFolder(folder))
    starts, empty, firsts = [], [], []
    for _ in range(STARTS):
        with ground.proxy_with({"PPMPROXY_CACHE": "true"}) as (seconds, _proxy):
            empty.append(seconds)
        with ground.proxy_with({"PPMPROXY_CACHE": "true", "PPMPROXY_CACHE_DIR": str(folder)}) as (seconds, proxy):
            starts.append(seconds)
            asked_at = time.perf_counter()
            rate(proxy.port, page_path("small", "json"), connections=1, seconds=0.001)
            firsts.append(time.perf_counter() - asked_at)
    seen = f"with an empty one {median(empty):.2f} s; the first page after {median(firsts) * 1000:.0f} ms more"
    return Figure(median(starts), seen)


def _fill(folder: CacheFolder) -> None:
    folder.prepare()
    one = folder.path / "one"
    one.write_bytes(b"a blob")
    sizes = {}
    for number in range(BLOBS):
        digest = hashlib.sha256(str(number).encode()).hexdigest()
        place = folder.blobs / digest[:1] / digest[1:]
        place.parent.mkdir(exist_ok=True)
        os.link(one, place)
        sizes[digest] = len(b"a blob")
    catalog = CacheCatalog(folder.database)
    catalog.set_blobs(sizes)
    catalog.close()


def growth_over_many_requests(ground: Ground) -> Figure:
    """Measures the MB by which memory grows in 100 000 requests, after a warm-up."""
    paths = [page_path("small", "json"), page_path("small", "html"), SMALL_FILE]
    with ground.cached_proxy() as proxy:
        for path in paths:
            rate(proxy.port, path, seconds=WARM_UP / len(paths))
        before, done, asked_at = proxy.process.memory, 0.0, time.perf_counter()
        while done < REQUESTS:
            for path in paths:
                done += rate(proxy.port, path) * SECONDS
        passed = time.perf_counter() - asked_at
        return Figure(proxy.process.memory - before, f"from {before:.1f} MB; {done:.0f} requests in {passed:.0f} s")


def cpu_of_forwarded_request(ground: Ground) -> Figure:
    """Measures the CPU of a request that is forwarded and not cached, as a multiple of the commit before the cache."""
    old = _checked_out(ground.folder / "before-the-cache")
    with (
        ground.proxy_with({"PPMPROXY_CACHE": "false"}) as (_, now),
        ground.proxy_with({"PYTHONPATH": str(old)}) as (_, before),
    ):
        pairs = [[_cpu(now), _cpu(before)] for _ in range(ROUNDS)]
    ours, theirs = (median(times) for times in zip(*pairs, strict=True))
    return Figure(median(one / other for one, other in pairs), f"{ours:.3f} ms, before {theirs:.3f} ms")


def _cpu(proxy: Running) -> float:
    """Milliseconds of CPU of one request for a small file."""
    before = proxy.process.cpu
    answered = rate(proxy.port, SMALL_FILE, connections=4, seconds=FORWARDED) * FORWARDED
    return (proxy.process.cpu - before) / answered * 1000


def _checked_out(folder: Path) -> Path:
    command = ["git", "-C", str(_ROOT), "archive", BEFORE_THE_CACHE, "ppmproxy"]
    archived = subprocess.run(command, capture_output=True, check=False)
    if archived.returncode:
        raise CannotMeasureError(f"the commit {BEFORE_THE_CACHE} is not in this clone: {archived.stderr.decode()}")
    with tarfile.open(fileobj=io.BytesIO(archived.stdout)) as archive:
        if sys.version_info >= (3, 12):
            archive.extractall(folder, filter="data")
        else:
            archive.extractall(folder)
    return folder
