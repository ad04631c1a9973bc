"""The state of a running daemon in one line, as `systemctl status` shows it.

To change what that line says, open this file. Like everything that is shown, it names tokens by source and expiry.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppmproxy.auth.credential import Credential
from ppmproxy.config.model import Upstream
from ppmproxy.errors import shortened
from ppmproxy.server.state import Metrics, UpstreamState

LONGEST = 800  # characters


def state_line(metrics: Metrics, upstreams: Sequence[Upstream], trouble: str, now: float) -> str:
    """Where the upstreams are and which token each of them gets; `trouble` is what is wrong with all of it."""
    if metrics.draining:
        return f"stopping: {metrics.in_flight} requests are being finished"
    states = [f"{one.url}: {_state(one, metrics.upstreams.get(one.name, UpstreamState()), now)}" for one in upstreams]
    return shortened("; ".join([*filter(None, [trouble]), *states]), LONGEST)


def _state(upstream: Upstream, upstream_state: UpstreamState, now: float) -> str:
    if not upstream.configured:
        return "public, no token"
    if upstream_state.sign_in is not None:
        return f"sign in at {upstream_state.sign_in.page} with the code {upstream_state.sign_in.code}"
    if unready_reason := upstream_state.unready_reason(now):
        return unready_reason
    if upstream_state.lookup is None:
        return "no token looked for yet"
    if upstream_state.lookup.credential is None:
        return "no token found"
    return ", ".join([_token(upstream_state.lookup.credential, now), *upstream_state.refresh_failures])


def _token(credential: Credential, now: float) -> str:
    expiry = credential.claims.expiry
    if expiry is None:
        return f"token from {credential.source}"
    return f"token from {credential.source}, {'expired' if credential.has_expired(now) else 'until'} {expiry}"
