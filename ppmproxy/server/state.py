"""What the daemon has done, and how to show it.

To change what is counted or what `/-/status` says, open this file. Nothing here ever holds a secret: credentials are
shown by source, expiry and scopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ppmproxy.auth.credential import Credential, moment
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.credentials.refresh import MAX_DELAY

CLIENT_LEFT = "client-left"  # the code of a request whose client did not wait for the answer's end
DRAIN_TIMEOUT = "drain-timeout"  # the code of one that the end of the daemon did not wait for
_COME_BACK = 307  # to itself, while a sign-in is waited for
_TOO_MANY = 429  # the upstream's own, which passes without a code


@dataclass(slots=True)
class RequestRecord:
    """What one request came to; filled in as it goes, and written once at its end."""

    method: str
    path: str  # without the query, which may hold a signature
    upstream: str = ""
    kind: str = ""
    status: int = 0
    code: str = ""
    detail: str = ""
    source: str = ""  # of the credential
    sent: int = 0  # bytes of body to the client

    @property
    def is_own_page(self) -> bool:
        """Whether it was for a page of the proxy itself."""
        return self.path.startswith("/-/") and not self.upstream

    @property
    def has_failed(self) -> bool:
        """Whether it is news to who looks after the proxy: not when the client left, or is told to come back."""
        if not self.code:
            return self.status == _TOO_MANY
        return self.code != CLIENT_LEFT and self.status != _COME_BACK

    def fields(self, seconds: float) -> dict[str, object]:
        """The fields of the log line; empty ones are left out."""
        named = {name: getattr(self, name) for name in ("upstream", "kind", "code", "detail", "source")}
        return {
            "method": self.method,
            "path": self.path,
            "status": self.status,
            **{name: value for name, value in named.items() if value},
            "sent": self.sent,
            "ms": round(seconds * 1000, 1),
        }


@dataclass(frozen=True, slots=True)
class SignInPage:
    """A sign-in that waits for somebody."""

    page: str
    code: str


@dataclass(slots=True)
class UpstreamState:
    """How things are with one upstream's credentials."""

    lookup: LookupResult | None = None  # the last one
    token_request: TokenRequest | None = None  # what it was for
    lookups: Mapping[TokenRequest, LookupResult] = field(default_factory=dict)  # the last one for each purpose
    refresh_failures: tuple[str, ...] = ()  # renewals that failed while an older token is in use
    sign_in: SignInPage | None = None  # while somebody is awaited

    def unready_reason(self, now: float) -> str:
        """Why no request can succeed as things stand; "" when that is not known, as after a refused token's rest."""
        lookup = self.lookup
        if lookup is None or lookup.credential is not None or lookup.rejected is None:
            return ""
        if not 0 < lookup.retry_at - now <= MAX_DELAY:  # more than that: the clock was set back
            return ""
        return f"the token from {lookup.rejected.source} was refused"


@dataclass(frozen=True, slots=True)
class Outage:
    """An upstream that was asked, and has not answered since."""

    since: float  # seconds since the epoch: the first time that no answer came
    until: float  # the last time; nobody has asked since
    why: str  # none came that time


@dataclass(slots=True)
class Metrics:
    """Counts since the start."""

    started_at: float  # seconds since the epoch
    used_at: float = 0.0  # when a request for an upstream last ended, by a clock that is never set
    forwarding: int = 0  # requests for upstreams that are under way
    listening: bool = False
    draining: bool = False
    in_flight: int = 0
    requests: int = 0
    sent: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    upstreams: dict[str, UpstreamState] = field(default_factory=dict)  # by upstream
    answered_at: dict[str, float] = field(default_factory=dict)  # when an upstream last answered
    outages: dict[str, Outage] = field(default_factory=dict)  # of upstreams that do not
    changed: Callable[[], None] = field(default=lambda: None, repr=False)  # told after each request

    def upstream_state(self, upstream: str) -> UpstreamState:
        """How things are with an upstream; to be kept up to date."""
        return self.upstreams.setdefault(upstream, UpstreamState())

    def record_success(self, upstream: str, now: float) -> None:
        """An upstream has answered, whatever it said."""
        self.answered_at[upstream] = now
        self.outages.pop(upstream, None)

    def record_failure(self, upstream: str, now: float, why: str) -> None:
        """An upstream was asked, and did not answer."""
        before = self.outages.get(upstream)
        since = min(before.since, now) if before else now  # the clock may be set back
        self.outages[upstream] = Outage(since, now, why)

    def idle_for(self, now: float) -> float:
        """Seconds for which nobody has asked an upstream for anything; the own pages do not count."""
        return 0.0 if self.forwarding else now - self.used_at

    def add(self, record: RequestRecord) -> None:
        """Count a finished request."""
        self.requests += 1
        self.sent += record.sent
        self.by_status[record.status] += 1
        if record.code and record.has_failed:
            self.by_code[record.code] += 1
        self.changed()


PATIENCE = 60.0  # seconds for which an upstream may be silent; a daemon whom nobody asks anything hears no silence


def readiness(metrics: Metrics, now: float) -> str:
    """Why the daemon is not ready to take requests; "" when it is."""
    if metrics.draining:
        return "stopping: open requests are being finished"
    if not metrics.listening:
        return "starting: not listening yet"
    refused = [
        f"{name}: {why}"
        for name, upstream_state in metrics.upstreams.items()
        if (why := upstream_state.unready_reason(now))
    ]
    silent = [_told(name, outage) for name, outage in metrics.outages.items() if now - outage.since >= PATIENCE]
    return "; ".join([*refused, *silent])


def warnings(metrics: Metrics) -> str:
    """What is wrong although requests may still succeed; "" when nothing is."""
    failures = [
        f"{name}: {why}"
        for name, upstream_state in metrics.upstreams.items()
        for why in upstream_state.refresh_failures
    ]
    return "; ".join([*failures, *(_told(name, outage) for name, outage in metrics.outages.items())])


def _told(name: str, outage: Outage) -> str:
    return f"{name}: no good answer since {moment(outage.since)}: {outage.why}"


def report(
    metrics: Metrics,
    upstreams: tuple[Upstream, ...],
    version: str,
    now: float,
    token_fingerprint: Callable[[Secret], str],
) -> Mapping[str, object]:
    """The document behind ``/-/status``; `token_fingerprint` gives what tells one token from another."""
    return {
        "version": version,
        "started_at": moment(metrics.started_at),
        "ready": not readiness(metrics, now),
        "upstreams": [_upstream(upstream, metrics, now, token_fingerprint) for upstream in upstreams],
        "requests": {
            "total": metrics.requests,
            "in_flight": metrics.in_flight,
            "bytes_sent": metrics.sent,
            "by_status": {str(status): count for status, count in sorted(metrics.by_status.items())},
            "errors": dict(sorted(metrics.by_code.items())),
        },
    }


def _upstream(
    upstream: Upstream, metrics: Metrics, now: float, token_fingerprint: Callable[[Secret], str]
) -> dict[str, object]:
    answered, outage = metrics.answered_at.get(upstream.name), metrics.outages.get(upstream.name)
    upstream_state = metrics.upstreams.get(upstream.name, UpstreamState())
    lookup, sign_in = upstream_state.lookup, upstream_state.sign_in
    credential = lookup.credential if lookup else None
    return {
        "name": upstream.name,
        "url": upstream.url,
        "mount": upstream.mount,
        "uploads": upstream.uploads,
        "credential": {**_credential(credential), "mark": token_fingerprint(credential.secret)} if credential else None,
        "credentials": _credentials(upstream_state.lookups, now),
        "passed_over": {said.source: said.why for said in lookup.skipped} if lookup else {},
        "troubles": list(upstream_state.refresh_failures),
        "sign_in": {"page": sign_in.page, "code": sign_in.code} if sign_in else None,
        "last_answer_at": None if answered is None else moment(answered),
        "silent_since": moment(outage.since) if outage else None,
        "silent_until": moment(outage.until) if outage else None,
        "silent_why": outage.why if outage else "",
    }


def _credentials(lookups: Mapping[TokenRequest, LookupResult], now: float) -> list[dict[str, object]]:
    """Each credential in use with what it is for: reading and uploading, or two repositories, may need two."""
    purposes: dict[Credential, list[str]] = {}
    for token_request, lookup in lookups.items():
        if lookup.credential is not None and not lookup.credential.has_expired(now):
            purposes.setdefault(lookup.credential, []).append(f"{token_request.use.value} {token_request.repo}".strip())
    return [{**_credential(credential), "purposes": sorted(of)} for credential, of in purposes.items()]


def _credential(credential: Credential) -> dict[str, object]:
    return {
        "source": credential.source,
        "expires_at": credential.claims.expiry,
        "scopes": list(credential.claims.scopes),
        "remarks": list(credential.remarks),
    }
