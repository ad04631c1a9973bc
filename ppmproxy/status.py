"""What the daemon has done, and how to show it.

To change what is counted or what `/-/status` says, open this file. Nothing here ever holds a secret: credentials are
shown by source, expiry and scopes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone

from ppmproxy.credentials import Credential
from ppmproxy.settings import Upstream


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


@dataclass(slots=True)
class Tally:
    """Counts since the start."""

    started_at: float  # seconds since the epoch
    listening: bool = False
    draining: bool = False
    in_flight: int = 0
    requests: int = 0
    sent: int = 0
    by_status: Counter[int] = field(default_factory=Counter)
    by_code: Counter[str] = field(default_factory=Counter)
    credentials: dict[str, Credential] = field(default_factory=dict)  # the last one used, by upstream
    answered_at: dict[str, float] = field(default_factory=dict)  # when an upstream last answered

    def add(self, account: Account) -> None:
        """Count a finished request."""
        self.requests += 1
        self.sent += account.sent
        self.by_status[account.status] += 1
        if account.code:
            self.by_code[account.code] += 1


def readiness(tally: Tally) -> str:
    """Why the daemon is not ready to take requests; "" when it is."""
    if tally.draining:
        return "stopping: open requests are being finished"
    return "" if tally.listening else "starting: not listening yet"


def report(tally: Tally, upstreams: tuple[Upstream, ...], version: str) -> Mapping[str, object]:
    """The document behind ``/-/status``."""
    return {
        "version": version,
        "started_at": _moment(tally.started_at),
        "ready": not readiness(tally),
        "upstreams": [_upstream(upstream, tally) for upstream in upstreams],
        "requests": {
            "total": tally.requests,
            "in_flight": tally.in_flight,
            "bytes_sent": tally.sent,
            "by_status": {str(status): count for status, count in sorted(tally.by_status.items())},
            "errors": dict(sorted(tally.by_code.items())),
        },
    }


def _upstream(upstream: Upstream, tally: Tally) -> dict[str, object]:
    answered = tally.answered_at.get(upstream.name)
    return {
        "name": upstream.name,
        "url": upstream.url,
        "mount": upstream.mount,
        "credential": _credential(tally.credentials.get(upstream.name)),
        "last_answer_at": None if answered is None else _moment(answered),
    }


def _credential(credential: Credential | None) -> dict[str, object] | None:
    if credential is None:
        return None
    expires = credential.claims.expires_at
    return {
        "source": credential.source,
        "expires_at": None if expires is None else _moment(expires),
        "scopes": list(credential.claims.scopes),
    }


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "unknown"  # a JWT may claim any number
