"""Measure the claims, print the table; exit code 1 when one is clearly missed."""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks import (
    admission,
    cached_installs,
    caching,
    commands,
    interception,
    long_run,
    pages,
    peers,
    person_page,
    shared_installs,
    start_up,
    streaming,
    tunnelling,
)
from tests.benchmarks.claims import Claim, Verdict, result_of, table
from tests.benchmarks.ground import CannotMeasureError, prepared

CLAIMS = (
    Claim("throughput", "500 MB over TLS: throughput, nginx = 1", 0.9, "", streaming.throughput, at_least=True),
    Claim("memory", "one 500 MB stream: growth of memory", 20, "MB", streaming.growth_in_one_stream),
    Claim("slow-readers", "20 streams, slow readers: growth", 20, "MB", streaming.growth_in_many_streams),
    Claim("large-html", "page of 3000 files, HTML: CPU", 10, "ms", pages.cpu_for_large_page("html")),
    Claim("large-json", "page of 3000 files, JSON: CPU", 10, "ms", pages.cpu_for_large_page("json")),
    Claim("small-html", "page of 60 files, HTML: added time", 1, "ms", pages.added_to_small_page("html")),
    Claim("small-json", "page of 60 files, JSON: added time", 1, "ms", pages.added_to_small_page("json")),
    Claim("start", "start until it takes connections", 0.6, "s", start_up.seconds_to_listen),
    Claim("env-cpu", "ppmproxy env: CPU, python -c pass = 1", 10, "", commands.ratio_of_env),
    Claim("env", "ppmproxy env", 0.25, "s", commands.seconds_of_env),
    Claim("exec", "added by exec that starts its proxy", 0.8, "s", commands.added_by_exec_alone),
    Claim("exec-beside", "added by exec beside a running proxy", 0.4, "s", commands.added_by_exec_beside_a_daemon),
    Claim(
        "cache-page",
        "warm small page, 16 connections: rate, nginx proxy_pass = 1",
        0.3,
        "",
        caching.warm_small_page,
        at_least=True,
    ),
    Claim("cache-cpu", "warm small page: CPU", 0.35, "ms", caching.cpu_of_warm_page),
    Claim("cache-large-page", "warm page of 3000 files", 3, "ms", caching.warm_large_page),
    Claim(
        "cache-peers",
        "warm small page, 16 connections: rate, best Python peer = 1",
        3,
        "",
        peers.warm_small_page,
        at_least=True,
    ),
    Claim(
        "cache-large-ratio",
        "warm page of 3000 files: time, nginx proxy_cache = 1",
        4,
        "",
        caching.warm_large_page_beside_nginx,
    ),
    Claim("cache-cold", "500 MB, cold: throughput, nginx proxy_pass = 1", 0.9, "", caching.cold_file, at_least=True),
    Claim(
        "cache-cold-kept",
        "500 MB, cold: throughput, nginx proxy_cache = 1",
        0.9,
        "",
        caching.cold_file_beside_a_cache,
        at_least=True,
    ),
    Claim("cache-warm", "500 MB, warm: throughput, nginx proxy_cache = 1", 0.8, "", caching.warm_file, at_least=True),
    Claim("cache-many", "50 MB, cold, 20 clients: time, one client = 1", 1.15, "", caching.many_cold_clients),
    Claim("cache-memory", "memory after large files and many pages", 90, "MB", caching.memory_after_use),
    Claim("cache-slope", "growth of memory in 100 000 requests", 2, "MB", long_run.growth_over_many_requests),
    Claim("cache-start", "start with a cache of 50 000 files", 0.4, "s", long_run.start_with_many_files),
    Claim("forwarded", "forwarded, not cached: CPU, before the cache = 1", 0.7, "", long_run.cpu_of_forwarded_request),
    Claim("uv-warm", "uv install of 35, 40 ms: warm cache, direct = 1", 0.45, "", cached_installs.ratio("uv", "warm")),
    Claim("uv-cold", "uv install of 35, 40 ms: cold cache, direct = 1", 0.75, "", cached_installs.ratio("uv", "cold")),
    Claim(
        "pip-warm", "pip install of 10, 40 ms: warm cache, direct = 1", 0.38, "", cached_installs.ratio("pip", "warm")
    ),
    Claim(
        "pip-cold", "pip install of 10, 40 ms: cold cache, direct = 1", 1.0, "", cached_installs.ratio("pip", "cold")
    ),
    Claim(
        "shared-job",
        "uv install of 30, 40 ms: fresh disk, warm bucket, direct = 1",
        0.6,
        "",
        shared_installs.second_job,
    ),
    Claim("shared-dead", "uv install of 30, 40 ms: dead bucket, none = 1", 1.05, "", shared_installs.dead_bucket),
    Claim("shared-memory", "200 MB to a bucket and from it: most memory", 90, "MB", shared_installs.memory),
    Claim(
        "shared-replicas",
        "two replicas with a core each, one = 1",
        1.8,
        "",
        shared_installs.two_replicas,
        at_least=True,
    ),
    Claim("intercept", "uv sync of 30, 40 ms: exec --intercept, direct = 1", 0.85, "", interception.ratio_to_direct),
    Claim("intercept-added", "the same: added to exec by --intercept", 0.1, "s", interception.seconds_beyond_exec),
    Claim("tunnel", "500 MB in a blind tunnel, nginx's stream = 1", 0.7, "", tunnelling.throughput, at_least=True),
    Claim("peer", "whose a new connection is", 50, "µs", admission.microseconds_of_a_look_up),
    Claim(
        "page-open",
        "requests with the page open, nobody looks = 1",
        0.97,
        "",
        person_page.rate_with_the_page_open,
        at_least=True,
    ),
    Claim("rest", "memory after the start", 60, "MB", start_up.memory_at_rest),
)


def main() -> int:
    names = [claim.name for claim in CLAIMS]
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help=f"only these: {', '.join(names)}")
    chosen = parser.parse_args().claims or names
    if unknown := set(chosen) - set(names):
        parser.error(f"there is no claim {', '.join(sorted(unknown))}")
    try:
        with prepared() as ground:
            results = [result_of(claim, ground) for claim in CLAIMS if claim.name in chosen]
    except CannotMeasureError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    print(table(results))
    return 1 if any(result.verdict is Verdict.MISSED for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
