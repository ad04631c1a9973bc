"""The document behind ``/-/status``; credentials by source, expiry and scopes, never by value."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ppmproxy.auth.credential import Credential, moment
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.server.state import Snapshot, unready_reason
from ppmproxy.server.upstream_state import UpstreamSnapshot


def report(
    state: Snapshot,
    upstreams: tuple[Upstream, ...],
    version: str,
    now: float,
    token_fingerprint: Callable[[Secret], str],
) -> Mapping[str, object]:
    """The document behind ``/-/status``; `token_fingerprint` tells one token from another without showing either."""
    return {
        "version": version,
        "started_at": moment(state.started_at),
        "ready": not unready_reason(state, now),
        "draining": state.is_draining,
        "upstreams": [_upstream(one, state.upstream(one.name), now, token_fingerprint) for one in upstreams],
        "requests": {
            "total": state.requests,
            "failed": state.failed,
            "in_flight": state.in_flight,
            "bytes_sent": state.sent,
            "by_status": {str(status): count for status, count in sorted(state.by_status.items())},
            "errors": dict(sorted(state.by_code.items())),
        },
    }


def _upstream(
    upstream: Upstream, state: UpstreamSnapshot, now: float, token_fingerprint: Callable[[Secret], str]
) -> dict[str, object]:
    lookup, sign_in, outage = state.lookup, state.sign_in, state.outage
    credential = lookup.credential if lookup else None
    return {
        "name": upstream.name,
        "url": upstream.url,
        "mount": upstream.mount,
        "uploads": upstream.uploads,
        "credential": {**_credential(credential), "mark": token_fingerprint(credential.secret)} if credential else None,
        "credentials": _credentials(state, now),
        "passed_over": {said.source: said.why for said in lookup.skipped} if lookup else {},
        "troubles": list(state.source_warnings),
        "sign_in": {"page": sign_in.page, "code": sign_in.code} if sign_in else None,
        "last_answer_at": None if state.answered_at is None else moment(state.answered_at),
        "silent_since": moment(outage.since) if outage else None,
        "silent_until": moment(outage.until) if outage else None,
        "silent_why": outage.why if outage else "",
        "downloads": {"under_way": state.downloads.under_way, "waiting": state.downloads.waiting},
    }


def _credentials(upstream: UpstreamSnapshot, now: float) -> list[dict[str, object]]:
    """Each credential that is valid, with what it is for."""
    used = upstream.credentials().items()
    return [{**_credential(one), "purposes": purposes} for one, purposes in used if not one.has_expired(now)]


def _credential(credential: Credential) -> dict[str, object]:
    return {
        "source": credential.source,
        "expires_at": credential.claims.expiry,
        "scopes": list(credential.claims.scopes),
        "remarks": list(credential.remarks),
    }
