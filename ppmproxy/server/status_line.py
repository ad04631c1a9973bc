"""The status of a running daemon in one line, as `systemctl status` shows it; tokens by source and expiry."""

from __future__ import annotations

from collections.abc import Sequence

from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Upstream
from ppmproxy.errors import shortened
from ppmproxy.server.state import Snapshot
from ppmproxy.server.upstream_state import UpstreamSnapshot

LONGEST = 800  # characters


def status_line(state: Snapshot, upstreams: Sequence[Upstream], trouble: str, now: float) -> str:
    """Each upstream with its token; `trouble` is what is wrong with the daemon as a whole."""
    if state.is_draining:
        return f"stopping: {state.in_flight} requests are being finished"
    lines = [f"{one.url}: {_upstream_status(one, state.upstream(one.name), now)}" for one in upstreams]
    return shortened("; ".join([*filter(None, [trouble]), *lines]), LONGEST)


def _upstream_status(upstream: Upstream, state: UpstreamSnapshot, now: float) -> str:
    if not upstream.configured:
        return "public, no token"
    if state.sign_in is not None:
        return f"sign in at {state.sign_in.page} with the code {state.sign_in.code}"
    if unready_reason := state.unready_reason(now):
        return unready_reason
    if state.lookup is None:
        return "no token looked for yet"
    if state.lookup.credential is None and state.lookup.rejected is None:
        return "no token found"
    token = [_token(state.lookup.credential, now)] if state.lookup.credential else []
    return ", ".join([*token, *state.warnings(now)]) or "a token was refused"


def _token(credential: Credential, now: float) -> str:
    expiry = credential.claims.expiry
    if expiry is None:
        return f"token from {credential.source}"
    return f"token from {credential.source}, {'expired' if credential.has_expired(now) else 'until'} {expiry}"
