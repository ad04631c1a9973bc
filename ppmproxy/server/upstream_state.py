"""The state of an upstream: what was found out about its answers, the credentials for it, sign-ins and downloads.

Credentials are reported by source, expiry and scopes, never by value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.config.model import DEFAULT_REPO
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.credentials.refresh import MAX_DELAY
from ppmproxy.server.activity import Latency, LatencySpan

MAX_PURPOSES = 20  # for which the last lookup is kept


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

    def credentials(self) -> dict[Credential, list[str]]:
        """The credentials in use, and what each is for: reading and uploading, or two repositories, may need two."""
        purposes: dict[Credential, list[str]] = {}
        for token_request, lookup in self.lookups.items():
            if lookup.credential is not None:
                purposes.setdefault(lookup.credential, []).append(str(token_request))
        return {credential: sorted(given) for credential, given in purposes.items()}

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
            f"the token from {rejected.source} was refused for {token_request}"
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
