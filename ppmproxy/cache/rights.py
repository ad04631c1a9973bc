"""Rights to what is cached: fresh proofs by one exact token, and stale rights of a credential's owner.

A *fresh proof* is the Package Manager's own answer to exactly this token, in this process, a short while ago by the
monotonic clock. A *stale right* counts only while there is no answer at all; it belongs to a `RightHolder`, which
outlives restarts and renewals of a token, but not another source, subject or scope.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream

MOST_PROOFS = 50_000
MOST_REFUSALS = 2_000  # remembered, each with its URL
FORM = "\n"  # stands between a URL and the form of its page

Token = tuple[Secret, str] | None  # with the user name of Basic; None for a request without one


def token_of(credential: Credential | None) -> Token:
    """What identifies exactly this token, in memory only."""
    return (credential.secret, credential.user) if credential else None


@dataclass(frozen=True, slots=True)
class RightHolder:
    """The holder of rights to what one repository answered; a digest that shows nothing of the credential."""

    digest: bytes

    @classmethod
    def of(cls, key: bytes, upstream: Upstream, repo: str, credential: Credential | None) -> RightHolder:
        """The holder of a credential's rights; `key` is the cache folder's own.

        Fixed headers and a client certificate say who asks, too: behind a gateway they may choose what is answered.
        """
        parts = [upstream.url, repo]
        others = [f"{name.lower()}: {value}" for name, value in upstream.headers]
        others += [f"certificate {upstream.client_cert}"] if upstream.client_cert else []
        if credential is not None:
            parts += [credential.source, credential.user, credential.identity, *sorted(credential.claims.scopes)]
        if others:
            parts += ["", *sorted(others)]
        text = "\0".join(f"{len(part)}:{part}" for part in parts)
        return cls(hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).digest())


class Refusals:
    """What was refused last: an answer that was asked for before gives no right after it, however late it is kept."""

    def __init__(self) -> None:
        self.count = 0  # so far
        self._last: dict[tuple[bytes, str], int] = {}
        self._oldest_known = 0

    def record(self, holder: bytes, url: str = "") -> None:
        """A holder was refused what is at a URL; with an empty one, everything."""
        self.count += 1
        self._last.pop((holder, url), None)
        self._last[holder, url] = self.count
        if len(self._last) > MOST_REFUSALS:
            self._oldest_known = self._last.pop(next(iter(self._last)))

    def has_since(self, before: int, holder: bytes, urls: Iterable[str]) -> bool:
        """Whether a holder was refused one of these, or everything, since there were so many `before`."""
        if before == self.count:
            return False
        last = max(self._last.get((holder, url), self._oldest_known) for url in ("", *urls))
        return last > before


class Proofs:
    """The fresh proofs of one upstream: what was answered to which token, and when."""

    def __init__(self, lasts: float, clock: Callable[[], float]) -> None:
        """`lasts` seconds, by a monotonic `clock`."""
        self._lasts = lasts
        self._clock = clock
        self._seen: dict[tuple[str, Token], float] = {}

    def record(self, what: str, token: Token) -> None:
        """The upstream has just answered a request of this token for something."""
        key = what, token
        self._seen.pop(key, None)
        self._seen[key] = self._clock()
        if len(self._seen) > MOST_PROOFS:
            del self._seen[next(iter(self._seen))]

    def age(self, what: str, token: Token) -> float:
        """Seconds since the upstream answered this token; infinite where there is no fresh proof."""
        age = self._clock() - self._seen.get((what, token), float("-inf"))
        return age if age < self._lasts else float("inf")

    def has(self, what: str, token: Token) -> bool:
        """Whether there is a fresh proof."""
        return self.age(what, token) < self._lasts

    def end(self, what: str) -> None:
        """No token has a proof of this any more, in none of its forms."""
        for key in [key for key in self._seen if key[0].partition(FORM)[0] == what]:
            del self._seen[key]

    def end_all(self) -> None:
        """Everything has to be proved anew."""
        self._seen.clear()

    def end_token(self, token: Token) -> None:
        """A token was refused: it proves nothing any more."""
        for key in [key for key in self._seen if key[1] == token]:
            del self._seen[key]
