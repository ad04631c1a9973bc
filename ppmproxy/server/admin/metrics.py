"""The metrics of the daemon for Prometheus, behind ``/-/metrics``.

They are made of a snapshot of the state when they are asked for, in a registry of their own, in which nothing else is.
This module is imported at the first scrape: nobody pays for prometheus-client before. No label names a project, a
person or a token; `status` is "other" for what HTTP does not know and for transfers that were cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from ppmproxy.cache.shared_view import SharedView
from ppmproxy.server.counters import BOUNDS, OTHER, CounterValues
from ppmproxy.server.request_record import CACHE_RESULTS
from ppmproxy.server.state import Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # every Prometheus reads it
_OPEN_END = "+Inf"


def exposition(
    state: Snapshot, connections: int, cache_bytes: int | None = None, shared: SharedView | None = None
) -> bytes:
    """The metrics in Prometheus' text format; `cache_bytes` is None where there is no cache, or its size is unknown.

    `shared` is the cache's tier that machines share, where there is one.
    """
    registry = CollectorRegistry()
    registry.register(_StateCollector(state, connections, cache_bytes, shared))
    return generate_latest(registry)


@dataclass(frozen=True, slots=True, eq=False)  # a registry needs its hash
class _StateCollector(Collector):
    """Collects the metrics from one snapshot."""

    state: Snapshot
    connections: int  # of clients
    cache_bytes: int | None
    shared: SharedView | None

    def collect(self) -> Iterator[Metric]:
        counters = self.state.counters
        yield _requests(counters)
        yield _durations(counters)
        yield _upstream_errors(counters)
        yield _cache_requests(self.state)
        yield _cache_bytes(self.cache_bytes)
        if self.shared is not None:
            yield from _shared_cache(self.shared)
        yield _sign_ins(counters)
        yield _credential_expiries(self.state)
        yield GaugeMetricFamily("ppmproxy_connections", "Open connections of clients.", self.connections)
        build = GaugeMetricFamily("ppmproxy_build_info", "Always 1; the label is the version.", labels=["version"])
        build.add_metric([version("ppmproxy")], 1)
        yield build


def _requests(counters: CounterValues) -> Metric:
    text = "Forwarded requests and refusals by the status that the client got; other: unknown, or cut."
    family = CounterMetricFamily("ppmproxy_requests", text, labels=["upstream", "kind", "status"])
    for (upstream, kind, status), count in sorted(counters.requests.items()):
        family.add_metric([upstream, kind, "other" if status == OTHER else str(status)], count)
    return family


def _durations(counters: CounterValues) -> Metric:
    sums = list(accumulate(counters.durations))
    bounds = [*(str(bound) for bound in BOUNDS), _OPEN_END]
    text = "Time from a request's head to the end of its response."
    return HistogramMetricFamily(
        "ppmproxy_request_duration_seconds", text, list(zip(bounds, sums, strict=True)), counters.seconds
    )


def _upstream_errors(counters: CounterValues) -> Metric:
    text = "Requests that failed because of the Package Manager or the credential, by the error's code."
    family = CounterMetricFamily("ppmproxy_upstream_errors", text, labels=["reason"])
    for reason, count in counters.upstream_errors.items():
        family.add_metric([reason], count)
    return family


def _cache_requests(state: Snapshot) -> Metric:
    text = "Requests that the cache was asked for, by what it did."
    family = CounterMetricFamily("ppmproxy_cache_requests", text, labels=["result"])
    for result in CACHE_RESULTS:
        family.add_metric([result], state.by_cache.get(result, 0))
    return family


def _cache_bytes(size: int | None) -> Metric:
    """Without a value where it is unknown: 0 would say that the cache is empty."""
    family = GaugeMetricFamily("ppmproxy_cache_bytes", "Bytes of files and index pages in the cache.")
    if size is not None:
        family.add_metric([], size)
    return family


def _shared_cache(shared: SharedView) -> Iterator[Metric]:
    name = "ppmproxy_shared_cache"
    text = "1 while the tier of the cache that machines share is asked, 0 while it is not because it failed."
    yield GaugeMetricFamily(f"{name}_up", text, int(not shared.trouble))
    reads = CounterMetricFamily(f"{name}_reads", "Files looked for there, by what became of it.", labels=["result"])
    uploads = CounterMetricFamily(f"{name}_uploads", "Files offered to it, by what became of them.", labels=["result"])
    for family, counts in ((reads, shared.reads), (uploads, shared.uploads)):
        for result, count in counts.items():
            family.add_metric([result], count)
        yield family
    moved = CounterMetricFamily(f"{name}_bytes", "Bytes of files from there and to it.", labels=["direction"])
    moved.add_metric(["read"], shared.read_bytes)
    moved.add_metric(["uploaded"], shared.uploaded_bytes)
    yield moved


def _sign_ins(counters: CounterValues) -> Metric:
    text = "Sign-ins that this daemon started, by how they ended."
    family = CounterMetricFamily("ppmproxy_sign_ins", text, labels=["result"])
    for result, count in counters.sign_ins.items():
        family.add_metric([result.value], count)
    return family


def _credential_expiries(state: Snapshot) -> Metric:
    text = "When the credential that was looked up last expires, the earliest one of a source."
    family = GaugeMetricFamily("ppmproxy_credential_expiry_timestamp_seconds", text, labels=["upstream", "source"])
    earliest: dict[tuple[str, str], float] = {}
    for name, upstream in state.upstreams.items():
        for lookup in upstream.lookups.values():
            credential = lookup.credential or lookup.rejected
            if credential is None or (expires_at := credential.claims.expires_at) is None:
                continue
            key = name, credential.source
            earliest[key] = min(expires_at, earliest.get(key, expires_at))
    for key, expires_at in sorted(earliest.items()):
        family.add_metric(key, expires_at)
    return family
