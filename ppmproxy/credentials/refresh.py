"""When a token that somebody has to be asked for is asked for again.

To change how early a token is renewed, or how long a failure is left alone, open this file.

Everything is judged by the wall clock at each request, never by a timer: a laptop that slept for an hour wakes up with
an old token and the right time. A renewal starts ahead of the expiry while the old token goes on being used; if it
fails, the old token is kept until it truly expires, and the next attempt waits longer each time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppmproxy.auth.credential import Claims, Credential

AHEAD_SHARE = 0.2  # of what was left of the token's life when it came
AHEAD_MOST = 300.0  # seconds
FIRST_PAUSE = 2.0  # seconds after a failure
FIRST_REST = 5.0  # seconds for which a refused token is not offered again
ONE_BURST = 1.0  # seconds within which refusals of the same token, by requests under way at once, count as one
LONGEST_PAUSE = 60.0
MOST_DOUBLINGS = 10  # a thousand would be more than a float can hold, and a thousand failures are one night's


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token that was asked for, and when it is to be asked for again."""

    credential: Credential
    renew_at: float | None  # seconds since the epoch; None: only when the upstream refuses it

    def is_due(self, now: float) -> bool:
        """Whether a renewal should start."""
        return self.renew_at is not None and now >= self.renew_at

    @classmethod
    def since(cls, credential: Credential, now: float, jitter: float) -> CachedToken:
        """`jitter` from 0 to 1 spreads the renewals of many daemons that were started together."""
        credential = by_our_clock(credential, now)
        expires = credential.claims.expires_at
        if expires is None:
            return cls(credential, None)
        ahead = min((expires - now) * AHEAD_SHARE, AHEAD_MOST) * (1 + jitter / 2)
        return cls(credential, expires - max(ahead, 0.0))


def by_our_clock(credential: Credential, now: float) -> Credential:
    """A credential that was issued just now, with its expiry by this machine's clock, which may be wrong.

    The server's ``exp`` minus its ``iat`` is how long the token lives, whatever either clock says.
    """
    issued, expires = credential.claims.issued_at, credential.claims.expires_at
    if issued is None or expires is None or expires <= issued:
        return credential
    claims: Claims = replace(credential.claims, expires_at=now + (expires - issued), issued_at=now)
    return replace(credential, claims=claims)


@dataclass(frozen=True, slots=True)
class BackOff:
    """A token that the upstream refused: servers lock the accounts of those who go on offering it."""

    at: float  # seconds since the epoch, the last time
    times: int = 1

    def again(self, now: float) -> BackOff:
        """The same, refused once more."""
        return replace(self, times=self.times if now - self.at < ONE_BURST else self.times + 1, at=now)

    @property
    def until(self) -> float:
        """When it may be offered again; later each time, because one refusal may be a server's slip."""
        return self.at + _doubled(FIRST_REST, self.times)

    def is_backing_off(self, now: float) -> bool:
        """Whether the token is to be left alone."""
        return self.at <= now < self.until


def pause_after(failures: int) -> float:
    """Seconds to leave a source alone after so many failures in a row."""
    return _doubled(FIRST_PAUSE, failures)


def _doubled(first: float, times: int) -> float:
    return min(first * 2.0 ** min(times - 1, MOST_DOUBLINGS), LONGEST_PAUSE)
