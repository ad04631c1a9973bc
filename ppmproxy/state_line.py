"""The state of a running daemon in one line, as `systemctl status` shows it.

To change what that line says, open this file. Like everything that is shown, it names tokens by source and expiry.
"""

from __future__ import annotations

from collections.abc import Sequence

from ppmproxy.credentials import Credential
from ppmproxy.errors import shortened
from ppmproxy.settings import Upstream
from ppmproxy.status import Standing, Tally

LONGEST = 800  # characters


def state_line(tally: Tally, upstreams: Sequence[Upstream], trouble: str, now: float) -> str:
    """Where the upstreams are and which token each of them gets; `trouble` is what is wrong with all of it."""
    if tally.draining:
        return f"stopping: {tally.in_flight} requests are being finished"
    states = [f"{one.url}: {_state(one, tally.standings.get(one.name, Standing()), now)}" for one in upstreams]
    return shortened("; ".join([*filter(None, [trouble]), *states]), LONGEST)


def _state(upstream: Upstream, standing: Standing, now: float) -> str:
    if not upstream.configured:
        return "public, no token"
    if standing.sign_in is not None:
        return f"sign in at {standing.sign_in.page} with the code {standing.sign_in.code}"
    if known_bad := standing.known_bad(now):
        return known_bad
    if standing.search is None:
        return "no token looked for yet"
    if standing.search.credential is None:
        return "no token found"
    return ", ".join([_token(standing.search.credential, now), *standing.troubles])


def _token(credential: Credential, now: float) -> str:
    expiry = credential.claims.expiry
    if expiry is None:
        return f"token from {credential.source}"
    return f"token from {credential.source}, {'expired' if credential.has_expired(now) else 'until'} {expiry}"
