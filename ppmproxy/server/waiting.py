"""Waiting for the upstream on behalf of a client: one clock per client request.

Ten seconds after its head has arrived a request is answered, redirected to itself, or held, whatever it waits for. pip
and uv follow such a redirect silently; nine of them fit into what both allow (uv follows ten, pip twenty-nine).
"""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

MAX_HOLD = 10.0  # seconds; pip gives up a silent request after 15, uv after 30
MAX_REDIRECTS = 9  # per request, sign-in included; uv follows ten
SILENCE = 3.0  # seconds without a byte from the upstream after which it is at fault when the client leaves

# Clients that give up early and follow a redirect; pip-tools, pipenv and Hatch ask through pip and name it first.
_IMPATIENT = ("pip/", "uv/", "poetry/", "pdm/", "pipenv/", "hatch/", "unearth/")
_DISTINGUISHING = ("accept", "accept-encoding", "range", "if-range", "if-none-match", "if-modified-since")


class NextStep(enum.Enum):
    """What becomes of a request that has waited for `MAX_HOLD`."""

    REDIRECT = "redirect"  # to itself
    HOLD = "hold"  # its client is patient
    GIVE_UP = "give-up"  # it was redirected as often as clients allow


@dataclass(slots=True)
class WaitingLimits:
    """How long a client is held, and when a silent upstream is at fault for its leaving; seconds."""

    max_hold: float = MAX_HOLD
    silence: float = SILENCE


@dataclass(frozen=True, slots=True)
class Waiting:
    """A request that has waited for `MAX_HOLD`."""

    method: str
    raw_target: str
    user_agent: str
    redirects: int  # so far
    waits_for_sign_in: bool
    is_draining: bool  # the daemon stops: a redirected client would find no daemon

    def next_step(self) -> NextStep:
        """A sign-in may take minutes, so every client is redirected then; for the upstream a patient one waits."""
        if self.method not in {"GET", "HEAD"}:
            return NextStep.HOLD
        if self.redirects >= MAX_REDIRECTS:
            return NextStep.GIVE_UP
        is_impatient = self.user_agent.lower().startswith(_IMPATIENT)
        if self.is_draining or not self.raw_target.isascii() or not (is_impatient or self.waits_for_sign_in):
            return NextStep.HOLD
        return NextStep.REDIRECT


def request_key(method: str, url: str, headers: Iterable[tuple[str, str]]) -> Hashable:
    """What makes two requests the same, besides the credential: the response to one is good for the other."""
    named = sorted((name.lower(), value) for name, value in headers if name.lower() in _DISTINGUISHING)
    return method, url, tuple(named)
