"""The state of the daemon: what it has done and how each upstream is, for everything that reports it.

What happens is recorded through the `record_*` methods; what is reported is read from an immutable `Snapshot`.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ppmproxy.auth.credential import moment
from ppmproxy.server.activity import Activity, ActivitySnapshot
from ppmproxy.server.counters import Counters, CounterValues
from ppmproxy.server.request_record import RequestRecord
from ppmproxy.server.upstream_state import Outage, UpstreamSnapshot, UpstreamState

MAX_SILENCE = 60.0  # seconds without an answer after which the daemon is not ready


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the daemon at one moment."""

    started_at: float  # seconds since the epoch
    used_at: float = 0.0  # when a request for an upstream last ended, by a monotonic clock
    is_listening: bool = False
    is_draining: bool = False
    in_flight: int = 0
    forwarding: int = 0  # requests for upstreams that are under way
    requests: int = 0
    failed: int = 0
    sent: int = 0
    by_status: Mapping[int, int] = field(default_factory=dict)
    by_code: Mapping[str, int] = field(default_factory=dict)
    by_cache: Mapping[str, int] = field(default_factory=dict)  # what the cache did: hit, stale, revalidated, miss …
    upstreams: Mapping[str, UpstreamSnapshot] = field(default_factory=dict)
    counters: CounterValues = field(default_factory=CounterValues)
    activity: ActivitySnapshot = field(default_factory=ActivitySnapshot)

    def upstream(self, name: str) -> UpstreamSnapshot:
        """The state of one upstream."""
        return self.upstreams.get(name) or UpstreamSnapshot()

    def idle_for(self, now: float) -> float:
        """Seconds for which nobody has asked an upstream for anything; the own pages do not count."""
        return 0.0 if self.forwarding else now - self.used_at


class State:
    """Counts since the start, and the state of each upstream."""

    def __init__(self, started_at: float, used_at: float = 0.0) -> None:
        self.on_change: Callable[[], None] = lambda: None  # called after each request
        self.now: Callable[[], float] = time.time
        self._started_at = started_at
        self._used_at = used_at
        self._is_listening = False
        self._is_draining = False
        self._in_flight = 0
        self._forwarding = 0
        self._requests = 0
        self._failed = 0
        self._sent = 0
        self._by_status: Counter[int] = Counter()
        self._by_code: Counter[str] = Counter()
        self._by_cache: Counter[str] = Counter()
        self._upstreams: dict[str, UpstreamState] = {}
        self.counters = Counters()
        self._activity = Activity()

    def __repr__(self) -> str:
        return repr(self.snapshot())

    def snapshot(self) -> Snapshot:
        """The state as it is now."""
        return Snapshot(
            self._started_at,
            self._used_at,
            self._is_listening,
            self._is_draining,
            self._in_flight,
            self._forwarding,
            self._requests,
            self._failed,
            self._sent,
            dict(self._by_status),
            dict(self._by_code),
            dict(self._by_cache),
            {name: upstream.snapshot() for name, upstream in self._upstreams.items()},
            self.counters.values(),
            self._activity.snapshot(),
        )

    def upstream(self, name: str) -> UpstreamState:
        """The state of one upstream, to record in."""
        return self._upstreams.setdefault(name, UpstreamState())

    def record_listening(self) -> None:
        """Connections are accepted."""
        self._is_listening = True

    def record_draining(self) -> None:
        """The daemon stops: requests under way are being finished."""
        self._is_draining = True

    @property
    def is_draining(self) -> bool:
        """Whether the daemon stops."""
        return self._is_draining

    def record_start(self) -> None:
        """A request has arrived."""
        self._in_flight += 1

    def record_end(self, record: RequestRecord) -> None:
        """A request that had arrived is over."""
        self._in_flight -= 1
        self.record_request(record)

    def record_forwarding(self) -> None:
        """A request for an upstream begins."""
        self._forwarding += 1

    def record_forwarded(self, now: float) -> None:
        """A request for an upstream is over, at this time by a monotonic clock."""
        self._forwarding -= 1
        self._used_at = now

    def record_request(self, record: RequestRecord) -> None:
        """Count a finished request; those for the proxy's own pages are not counted."""
        if record.is_counted:
            self._requests += 1
            self._failed += record.has_failed
            self._sent += record.sent
            self._by_status[record.final_status] += 1
            if result := record.cache_result:
                self._by_cache[result] += 1
            if record.code and record.has_failed:
                self._by_code[record.code] += 1
            self.counters.record_request(record)
            self._activity.record(record, self.now())
        self.on_change()

    def record_reload(self, fresh: State, unchanged: Collection[str]) -> None:
        """New settings are in force, with fresh upstreams; of those that they do not change the answers are kept."""
        for name, upstream in fresh._upstreams.items():
            if name in unchanged and name in self._upstreams:
                upstream.take_over_answers(self._upstreams[name])
        self._upstreams = fresh._upstreams


def unready_reason(state: Snapshot, now: float) -> str:
    """Why the daemon is not ready to take requests; "" when it is."""
    if state.is_draining:
        return "stopping: open requests are being finished"
    if not state.is_listening:
        return "starting: not listening yet"
    refused = [f"{name}: {why}" for name, upstream in state.upstreams.items() if (why := upstream.unready_reason(now))]
    silent = [
        _outage_line(name, outage) for name, outage in _outages(state).items() if now - outage.since >= MAX_SILENCE
    ]
    return "; ".join([*refused, *silent])


def warnings(state: Snapshot, now: float) -> str:
    """What is wrong although requests may still succeed; "" when nothing is."""
    failures = [f"{name}: {why}" for name, upstream in state.upstreams.items() for why in upstream.warnings(now)]
    return "; ".join([*failures, *(_outage_line(name, outage) for name, outage in _outages(state).items())])


def _outages(state: Snapshot) -> Mapping[str, Outage]:
    return {name: upstream.outage for name, upstream in state.upstreams.items() if upstream.outage}


def _outage_line(name: str, outage: Outage) -> str:
    return f"{name}: no good answer since {moment(outage.since)}: {outage.why}"
