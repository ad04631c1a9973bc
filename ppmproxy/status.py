"""What the daemon has done, and how to show it.

To change what is counted or what `/-/status` says, open this file. Nothing here ever holds a secret: credentials are
shown by source, expiry and scopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ppmproxy.credentials import Credential, Search, Secret, Wanted, moment
from ppmproxy.renewal import LONGEST_PAUSE
from ppmproxy.settings import Upstream

CLIENT_LEFT = "client-left"  # the code of a request whose client did not wait for the answer's end
DRAIN_TIMEOUT = "drain-timeout"  # the code of one that the end of the daemon did not wait for
_COME_BACK = 307  # to itself, while a sign-in is waited for
_TOO_MANY = 429  # the upstream's own, which passes without a code


@dataclass(slots=True)
class Account:
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
class Standing:
    """How things are with one upstream's credentials."""

    search: Search | None = None  # the last one
    wanted: Wanted | None = None  # what it was for
    searches: Mapping[Wanted, Search] = field(default_factory=dict)  # the last one for each purpose
    troubles: tuple[str, ...] = ()  # renewals that failed while an older token is in use
    sign_in: SignInPage | None = None  # while somebody is awaited

    def known_bad(self, now: float) -> str:
        """Why no request can succeed as things stand; "" when that is not known, as after a refused token's rest."""
        search = self.search
        if search is None or search.credential is not None or search.rejected is None:
            return ""
        if not 0 < search.rests_until - now <= LONGEST_PAUSE:  # more than that: the clock was set back
            return ""
        return f"the token from {search.rejected.source} was refused"


@dataclass(frozen=True, slots=True)
class Silence:
    """An upstream that was asked, and has not answered since."""

    since: float  # seconds since the epoch: the first time that no answer came
    until: float  # the last time; nobody has asked since
    why: str  # none came that time


@dataclass(slots=True)
class Tally:
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
    standings: dict[str, Standing] = field(default_factory=dict)  # by upstream
    answered_at: dict[str, float] = field(default_factory=dict)  # when an upstream last answered
    silences: dict[str, Silence] = field(default_factory=dict)  # of upstreams that do not
    changed: Callable[[], None] = field(default=lambda: None, repr=False)  # told after each request

    def standing(self, upstream: str) -> Standing:
        """How things are with an upstream; to be kept up to date."""
        return self.standings.setdefault(upstream, Standing())

    def heard(self, upstream: str, now: float) -> None:
        """An upstream has answered, whatever it said."""
        self.answered_at[upstream] = now
        self.silences.pop(upstream, None)

    def missed(self, upstream: str, now: float, why: str) -> None:
        """An upstream was asked, and did not answer."""
        before = self.silences.get(upstream)
        since = min(before.since, now) if before else now  # the clock may be set back
        self.silences[upstream] = Silence(since, now, why)

    def idle_for(self, now: float) -> float:
        """Seconds for which nobody has asked an upstream for anything; the own pages do not count."""
        return 0.0 if self.forwarding else now - self.used_at

    def add(self, account: Account) -> None:
        """Count a finished request."""
        self.requests += 1
        self.sent += account.sent
        self.by_status[account.status] += 1
        if account.code and account.has_failed:
            self.by_code[account.code] += 1
        self.changed()


PATIENCE = 60.0  # seconds for which an upstream may be silent; a daemon whom nobody asks anything hears no silence


def readiness(tally: Tally, now: float) -> str:
    """Why the daemon is not ready to take requests; "" when it is."""
    if tally.draining:
        return "stopping: open requests are being finished"
    if not tally.listening:
        return "starting: not listening yet"
    refused = [f"{name}: {why}" for name, standing in tally.standings.items() if (why := standing.known_bad(now))]
    silent = [_told(name, silence) for name, silence in tally.silences.items() if now - silence.since >= PATIENCE]
    return "; ".join([*refused, *silent])


def worries(tally: Tally) -> str:
    """What is wrong although requests may still succeed; "" when nothing is."""
    troubles = [f"{name}: {why}" for name, standing in tally.standings.items() for why in standing.troubles]
    return "; ".join([*troubles, *(_told(name, silence) for name, silence in tally.silences.items())])


def _told(name: str, silence: Silence) -> str:
    return f"{name}: no good answer since {moment(silence.since)}: {silence.why}"


def report(
    tally: Tally, upstreams: tuple[Upstream, ...], version: str, now: float, mark_of: Callable[[Secret], str]
) -> Mapping[str, object]:
    """The document behind ``/-/status``; `mark_of` gives what tells one token from another."""
    return {
        "version": version,
        "started_at": moment(tally.started_at),
        "ready": not readiness(tally, now),
        "upstreams": [_upstream(upstream, tally, now, mark_of) for upstream in upstreams],
        "requests": {
            "total": tally.requests,
            "in_flight": tally.in_flight,
            "bytes_sent": tally.sent,
            "by_status": {str(status): count for status, count in sorted(tally.by_status.items())},
            "errors": dict(sorted(tally.by_code.items())),
        },
    }


def _upstream(upstream: Upstream, tally: Tally, now: float, mark_of: Callable[[Secret], str]) -> dict[str, object]:
    answered, silence = tally.answered_at.get(upstream.name), tally.silences.get(upstream.name)
    standing = tally.standings.get(upstream.name, Standing())
    search, sign_in = standing.search, standing.sign_in
    credential = search.credential if search else None
    return {
        "name": upstream.name,
        "url": upstream.url,
        "mount": upstream.mount,
        "uploads": upstream.uploads,
        "credential": {**_credential(credential), "mark": mark_of(credential.secret)} if credential else None,
        "credentials": _credentials(standing.searches, now),
        "passed_over": {said.source: said.why for said in search.passed_over} if search else {},
        "troubles": list(standing.troubles),
        "sign_in": {"page": sign_in.page, "code": sign_in.code} if sign_in else None,
        "last_answer_at": None if answered is None else moment(answered),
        "silent_since": moment(silence.since) if silence else None,
        "silent_until": moment(silence.until) if silence else None,
        "silent_why": silence.why if silence else "",
    }


def _credentials(searches: Mapping[Wanted, Search], now: float) -> list[dict[str, object]]:
    """Each credential in use with what it is for: reading and uploading, or two repositories, may need two."""
    purposes: dict[Credential, list[str]] = {}
    for wanted, search in searches.items():
        if search.credential is not None and not search.credential.has_expired(now):
            purposes.setdefault(search.credential, []).append(f"{wanted.use.value} {wanted.repo}".strip())
    return [{**_credential(credential), "purposes": sorted(of)} for credential, of in purposes.items()]


def _credential(credential: Credential) -> dict[str, object]:
    return {
        "source": credential.source,
        "expires_at": credential.claims.expiry,
        "scopes": list(credential.claims.scopes),
        "remarks": list(credential.remarks),
    }
