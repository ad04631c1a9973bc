"""When a token is refreshed, and how long a failed source or a rejected token is left alone.

The wall clock at each request decides, never a timer: a laptop that slept for an hour wakes up with an old token and
the right time. A refresh starts ahead of the expiry while requests still use the old token. When it fails, the old
token is used until it expires, and the delay before the next attempt doubles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ppmproxy.auth.credential import Claims, Credential

LEAD_SHARE = 0.2  # of the token's remaining life when it was received
MAX_LEAD = 300.0  # seconds
FIRST_DELAY = 2.0  # seconds after a failure
FIRST_BACK_OFF = 5.0  # seconds for which a rejected token is not offered again
BURST = 1.0  # seconds in which rejections of one token, by requests that were under way together, count as one
MAX_DELAY = 60.0
MAX_DOUBLINGS = 10  # 2.0 ** 1024 overflows, and one night can bring a thousand failures


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token with the time of its refresh."""

    credential: Credential
    refresh_at: float | None  # seconds since the epoch; None: only when the upstream rejects it

    def is_due(self, now: float) -> bool:
        """Whether a refresh should start."""
        return self.refresh_at is not None and now >= self.refresh_at

    @classmethod
    def received(cls, credential: Credential, now: float, jitter: float) -> CachedToken:
        """A token that was received just now. `jitter`, from 0 to 1, spreads the refreshes of many daemons."""
        credential = with_local_expiry(credential, now)
        expires = credential.claims.expires_at
        if expires is None:
            return cls(credential, None)
        lead = min((expires - now) * LEAD_SHARE, MAX_LEAD) * (1 + jitter / 2)
        return cls(credential, expires - max(lead, 0.0))


def with_local_expiry(credential: Credential, now: float) -> Credential:
    """A credential that was issued just now, with its expiry by this machine's clock, which may be wrong.

    The server's ``exp`` minus its ``iat`` is the token's lifetime by any clock.
    """
    issued, expires = credential.claims.issued_at, credential.claims.expires_at
    if issued is None or expires is None or expires <= issued:
        return credential
    claims: Claims = replace(credential.claims, expires_at=now + (expires - issued), issued_at=now)
    return replace(credential, claims=claims)


@dataclass(frozen=True, slots=True)
class BackOff:
    """The back-off of a rejected token. Servers lock the accounts of clients that keep offering one."""

    rejected_at: float  # seconds since the epoch, the last time
    rejections: int = 1

    def after_rejection(self, now: float) -> BackOff:
        """The back-off after one more rejection."""
        is_same_burst = now - self.rejected_at < BURST
        return BackOff(now, self.rejections if is_same_burst else self.rejections + 1)

    @property
    def retry_at(self) -> float:
        """The time when the token is offered again: a single rejection may be a fault of the server."""
        return self.rejected_at + _doubled(FIRST_BACK_OFF, self.rejections)

    def is_backing_off(self, now: float) -> bool:
        """Whether the token must not be offered now."""
        return self.rejected_at <= now < self.retry_at


def retry_delay(failures: int) -> float:
    """Seconds before a source is asked again after this many failures in a row."""
    return _doubled(FIRST_DELAY, failures)


def _doubled(first: float, times: int) -> float:
    return min(first * 2.0 ** min(times - 1, MAX_DOUBLINGS), MAX_DELAY)
