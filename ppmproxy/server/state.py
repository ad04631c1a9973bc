"""The state of the daemon: what it has done and how each upstream is, for everything that reports it.

Everybody records through the `record_*` methods; everybody reads an immutable `Snapshot`. Credentials are reported by
source, expiry and scopes, never by value.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ppmproxy.auth.credential import Credential, Use, moment
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.credentials.refresh import MAX_DELAY
from ppmproxy.server.activity import Activity, ActivitySnapshot, Latency, LatencySpan
from ppmproxy.server.counters import Counters, CounterValues
from ppmproxy.server.request_record import RequestRecord

MAX_PURPOSES = 20  # for which the last lookup is kept
MAX_SILENCE = 60.0  # seconds without an answer after which the daemon is not ready


@dataclass(frozen=True, slots=True)
class SignInPage:
    """Where a person can finish the sign-in under way."""

    page: str
    code: str
    expires_at: float = 0.0  # seconds since the epoch


@dataclass(frozen=True, slots=True)
class SignInEnd:
    """How the last sign-in ended."""

    at: float  # seconds since the epoch
    why: str = ""  # it failed; "" when it succeeded


@dataclass(frozen=True, slots=True)
class Downloads:
    """The downloads of an upstream."""

    under_way: int = 0
    waiting: int = 0  # for the end of another
    limit: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """An upstream that was asked and has not answered since."""

    since: float  # seconds since the epoch: the first time that no answer came
    until: float  # the last time; no request was sent since
    why: str  # no answer came the last time


@dataclass(frozen=True, slots=True)
class UpstreamSnapshot:
    """The state of one upstream and of its credentials."""

    lookup: LookupResult | None = None  # the last one
    lookups: Mapping[TokenRequest, LookupResult] = field(default_factory=dict)  # the last one for each purpose
    source_warnings: tuple[str, ...] = ()  # renewals that failed while an older token is in use
    sign_in: SignInPage | None = None  # while a person is awaited
    answered_at: float | None = None  # seconds since the epoch
    outage: Outage | None = None
    downloads: Downloads = Downloads()
    sign_in_end: SignInEnd | None = None  # of the last sign-in
    latency: tuple[LatencySpan, ...] = ()

    def rejected(self, now: float) -> Mapping[TokenRequest, Credential]:
        """Credentials that the upstream rejected and that are not offered at the moment, by purpose."""
        return {
            token_request: lookup.rejected
            for token_request, lookup in self.lookups.items()
            if lookup.credential is None and lookup.rejected and _is_backing_off(lookup, now)
        }

    def unready_reason(self, now: float) -> str:
        """Why no request can succeed at the moment; "" when that is not known, as after a rejected token's back-off.

        Only reading the default repository counts: anybody can ask for a repository that the token is not for.
        """
        for token_request, rejected in self.rejected(now).items():
            if _is_default(token_request):
                return f"the token from {rejected.source} was refused"
        return ""

    def warnings(self, now: float) -> list[str]:
        """What is wrong although requests may still succeed."""
        refused = [
            f"the token from {rejected.source} was refused for {token_request.use.value} {token_request.repo}".rstrip()
            for token_request, rejected in self.rejected(now).items()
            if not _is_default(token_request)
        ]
        return [*refused, *self.source_warnings]


def _is_default(token_request: TokenRequest) -> bool:
    return token_request.repo == DEFAULT_REPO and token_request.use is Use.READ


def _is_backing_off(lookup: LookupResult, now: float) -> bool:
    return 0 < lookup.retry_at - now <= MAX_DELAY  # more than that: the clock was set back


class UpstreamState:
    """Keeps the state of one upstream, for as long as its settings are in force."""

    def __init__(self) -> None:
        self._lookup: LookupResult | None = None
        self._lookups: dict[TokenRequest, LookupResult] = {}
        self._source_warnings: tuple[str, ...] = ()
        self._sign_in: SignInPage | None = None
        self._answered_at: float | None = None
        self._outage: Outage | None = None
        self._downloads = Downloads()
        self._sign_in_end: SignInEnd | None = None
        self._latency = Latency()

    def __repr__(self) -> str:
        return f"UpstreamState({self.snapshot()!r})"

    @property
    def answered_at(self) -> float | None:
        """When the upstream answered last, in seconds since the epoch."""
        return self._answered_at

    def snapshot(self) -> UpstreamSnapshot:
        """The state as it is now."""
        return UpstreamSnapshot(
            self._lookup,
            dict(self._lookups),
            self._source_warnings,
            self._sign_in,
            self._answered_at,
            self._outage,
            self._downloads,
            self._sign_in_end,
            self._latency.snapshot(),
        )

    def record_lookup(
        self, token_request: TokenRequest, lookup: LookupResult, source_warnings: tuple[str, ...]
    ) -> None:
        """A credential was looked up."""
        self._lookups.pop(token_request, None)  # the one used last at the end
        self._lookups[token_request] = lookup
        if len(self._lookups) > MAX_PURPOSES:
            del self._lookups[next(purpose for purpose in self._lookups if not _is_default(purpose))]
        self._lookup, self._source_warnings = lookup, source_warnings

    def record_sign_in(self, page: SignInPage | None) -> None:
        """A sign-in waits for a person, or (None) no longer does."""
        self._sign_in = page

    def record_sign_in_end(self, end: SignInEnd) -> None:
        """A sign-in has succeeded or failed."""
        self._sign_in_end = end

    def record_latency(self, seconds: float, now: float) -> None:
        """The upstream has answered after so many seconds."""
        self._latency.record(seconds, now)

    def record_success(self, now: float) -> None:
        """The upstream has answered, with any status."""
        self._answered_at, self._outage = now, None

    def record_failure(self, now: float, why: str, silent_for: float = 0.0) -> None:
        """The upstream was asked and did not answer, for so many seconds."""
        before, began = self._outage, now - silent_for
        since = min(before.since, began) if before else began  # the clock may be set back
        self._outage = Outage(since, now, why)

    def record_downloads(self, downloads: Downloads) -> None:
        """A download has begun, waits for its place, or has ended."""
        self._downloads = downloads

    def take_over_answers(self, before: UpstreamState) -> None:
        """Go on with what another state knows of the upstream's answers."""
        self._answered_at, self._outage, self._latency = before._answered_at, before._outage, before._latency


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the daemon at one moment."""

    started_at: float  # seconds since the epoch
    used_at: float = 0.0  # when a request for an upstream last ended, by a monotonic clock
    listening: bool = False
    draining: bool = False
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
    if state.draining:
        return "stopping: open requests are being finished"
    if not state.listening:
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
