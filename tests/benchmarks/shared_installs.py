"""What a bucket is worth to a fleet: a second job on a fresh disk, a dead bucket, memory, and two replicas.

The bucket is the Ceph RADOS gateway where it is installed and this is root, else moto, which is much slower.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.cached_installs import Distant, index, seconds_of_install
from tests.benchmarks.claims import Figure
from tests.benchmarks.ground import HOST, Ground, Running, proxy_with

PACKAGES = 30
ROUNDS = 5
DEAD_ROUNDS = 7
CLIENTS = 2
LARGE = 200_000_000  # bytes
TIMEOUT = 2.0  # seconds, the default of cache_url_timeout
_SUITE = Path(__file__).resolve().parents[1]


def second_job(ground: Ground) -> Figure:
    """Measures uv's install through a proxy on a fresh disk with a warm bucket, as a multiple of a direct one."""
    with index(ground.folder, PACKAGES) as distant, _bucket(ground) as bucket:
        with _job(distant, bucket) as first:
            seconds_of_install(distant, "uv", _url(first), range(PACKAGES))
            _wait_for_uploads(first, 2 * PACKAGES)  # the metadata, too
        rounds, asked = [], 0
        for _ in range(ROUNDS):
            direct = seconds_of_install(distant, "uv", distant.url, range(PACKAGES))
            with _job(distant, bucket) as second:
                shared = seconds_of_install(distant, "uv", _url(second), range(PACKAGES))
                asked += _metric(second, 'ppmproxy_requests_total{kind="file"') - _metric(second, _SHARED)
            rounds.append((direct, shared))
    ours, theirs = median(shared for _, shared in rounds), median(direct for direct, _ in rounds)
    value = median(shared / direct for direct, shared in rounds)
    seen = f"direct {theirs:.2f} s, second job {ours:.2f} s, {asked:.0f} files from the Package Manager"
    return Figure(value, f"{seen}, {bucket['name']}")


def dead_bucket(ground: Ground) -> Figure:
    """Measures uv's install with a bucket that never answers, after the first request, as a multiple of none."""
    with index(ground.folder, PACKAGES + 1) as distant, _silence() as port:
        dead = {"AWS_ENDPOINT_URL": f"http://{HOST}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
        dead |= {"PPMPROXY_CACHE_URL": "s3://wheels/dead"}
        rounds = []
        for number in range(DEAD_ROUNDS):
            took = {}
            for name, environ in [("dead", dead), ("none", {})][:: 1 if number % 2 else -1]:
                with _job(distant, environ) as running:
                    first = seconds_of_install(distant, "uv", _url(running), [PACKAGES])
                    took[name] = (first, seconds_of_install(distant, "uv", _url(running), range(PACKAGES)))
            rounds.append(took)
    value = median(one["dead"][1] / one["none"][1] for one in rounds)
    delay = median(one["dead"][0] - one["none"][0] for one in rounds)
    ours, theirs = (median(one[name][1] for one in rounds) for name in ("dead", "none"))
    return Figure(value, f"dead {ours:.2f} s, none {theirs:.2f} s; the first install was {delay:.2f} s later")


def memory(ground: Ground) -> Figure:
    """Measures the most memory in MB of a proxy that uploads a wheel of 200 MB, and of one that reads it."""
    with index(ground.folder, 1, delay=0.0, size=LARGE) as distant, _bucket(ground) as bucket:
        peaks = []
        for place in ("up", "down"):
            with _job(distant, bucket) as running:
                seconds_of_install(distant, "uv", _url(running), [0])
                if place == "up":
                    _wait_for_uploads(running, 2)
                shared = _metric(running, _SHARED)
                peaks.append(running.process.peak_memory)
        assert shared == 2, "the second proxy did not read it from the bucket"
    return Figure(max(peaks), f"up {peaks[0]:.0f} MB, down {peaks[1]:.0f} MB, {bucket['name']}")


def two_replicas(ground: Ground) -> Figure:
    """Measures what two replicas serve of warm files per second of CPU of one core each, one replica = 1.

    This machine has too few cores for both and their clients, so it is CPU time that is compared.
    """
    with index(ground.folder, PACKAGES) as distant, _bucket(ground) as bucket:
        with _job(distant, bucket, core=0) as one:
            alone = _rate([one], distant)
        with _job(distant, bucket, core=0) as one, _job(distant, bucket, core=os.cpu_count() - 1) as other:
            both = _rate([one, other], distant)
    return Figure(2 * both / alone, f"{alone:.0f} and {both:.0f} files per second of CPU, {bucket['name']}")


_SHARED = 'ppmproxy_cache_requests_total{result="shared"}'


def _rate(replicas: list[Running], distant: Distant) -> float:
    """Files per second of CPU, of one or two replicas that two clients each ask at the same time."""
    for running in replicas:
        seconds_of_install(distant, "uv", _url(running), range(PACKAGES))
    paths = [_file_of(replicas[0], number) for number in range(PACKAGES)]
    before, until = sum(running.process.cpu for running in replicas), time.perf_counter() + 5.0

    def count(running: Running) -> int:
        done = 0
        while time.perf_counter() < until:
            with urllib.request.urlopen(f"{_url(running)}{paths[done % PACKAGES]}") as response:
                response.read()
            done += 1
        return done

    asked = replicas * CLIENTS
    with ThreadPoolExecutor(len(asked)) as clients:
        served = sum(clients.map(count, asked))
    return served / (sum(running.process.cpu for running in replicas) - before)


def _file_of(running: Running, number: int) -> str:
    with urllib.request.urlopen(f"{_url(running)}/pypi/latest/simple/package-{number:02}/") as response:
        text = response.read().decode()
    found: str = text.partition('href="')[2].partition("#")[0]
    return found


def _url(running: Running) -> str:
    return f"http://{HOST}:{running.port}"


@contextlib.contextmanager
def _job(distant: Distant, more: Mapping[str, str], core: int | None = None) -> Iterator[Running]:
    """A proxy with a fresh disk."""
    environ = {name: value for name, value in more.items() if name != "name"} | {
        "PPMPROXY_UPSTREAM": distant.url,
        "PPMPROXY_TOKEN": distant.token,
        "PPMPROXY_CA_FILE": distant.ca_file,
        "PPMPROXY_CACHE": "true",
        "PPMPROXY_CACHE_DIR": tempfile.mkdtemp(prefix="cache-", dir=distant.folder),
    }
    command = () if core is None else ("taskset", "--cpu-list", str(core))
    with proxy_with(distant.folder, environ, command) as (_, running):
        yield running


@contextlib.contextmanager
def _bucket(ground: Ground) -> Iterator[Mapping[str, str]]:
    """Variables that lead to a bucket, and its name."""
    storages = _storages()
    is_real = shutil.which("radosgw") is not None and os.geteuid() == 0
    folder = tempfile.mkdtemp(prefix="bucket-", dir=ground.folder)
    with (storages.ceph if is_real else storages.moto)(folder) as storage:
        yield {"name": storage.name, "PPMPROXY_CACHE_URL": storage.at(str(time.time_ns())), **storage.environ}


def _storages() -> Any:
    """The real storages of the suite that tests them."""
    sys.path[:0] = [str(_SUITE), str(_SUITE / "real" / "shared_cache")]
    import storages  # type: ignore[import-not-found]

    return storages


@contextlib.contextmanager
def _silence() -> Iterator[int]:
    """A port where connections are taken and nothing is answered."""
    with socket.create_server((HOST, 0), backlog=512) as listener:
        yield listener.getsockname()[1]


def _metric(running: Running, start: str) -> float:
    with urllib.request.urlopen(f"{_url(running)}/-/metrics") as response:
        lines = response.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))


def _wait_for_uploads(running: Running, count: int) -> None:
    deadline = time.monotonic() + 60
    while _metric(running, 'ppmproxy_shared_cache_uploads_total{result="uploaded"}') < count:
        assert time.monotonic() < deadline, "the uploads did not end"
        time.sleep(0.1)
