"""A source whose token is kept, and fetched again when `refresh` says so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import NothingFound, SourceBroken, SourceResult, TokenFetcher, TokenRequest
from ppmproxy.credentials.refresh import CachedToken, retry_delay

NEVER = float("-inf")


class RefreshingSource:
    """A source whose token is cached and refreshed ahead of its expiry; all requests share one fetch."""

    def __init__(
        self,
        source: TokenFetcher,
        *,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._source = source
        self._now = now
        self._jitter = jitter
        self._cached: CachedToken | None = None
        self._fetching: asyncio.Task[SourceResult] | None = None
        self._failure: NothingFound | SourceBroken | None = None
        self._failures = 0
        self._failed_at = NEVER

    def __repr__(self) -> str:
        return f"RefreshingSource({self._source.name}, cached={self._cached is not None}, failures={self._failures})"

    @property
    def name(self) -> str:
        return self._source.name

    @property
    def warning(self) -> str:
        """The failure of the last refresh while an older token is still in use; "" without one."""
        if self._cached is None or self._failure is None:
            return ""
        return f"{self._failure.source} could not be renewed: {self._failure.why}"

    def find_now(self, token_request: TokenRequest, /) -> SourceResult | None:
        now = self._now()
        cached = self._cached
        if cached is not None and not cached.credential.has_expired(now):
            if cached.is_due(now) and not self._is_backing_off(now):
                self._start_fetch(token_request)  # in the background: the old token is still valid
            return cached.credential
        if self._failure is not None and self._is_backing_off(now):
            return self._failure
        return None

    async def find(self, token_request: TokenRequest, /) -> SourceResult:
        known = self.find_now(token_request)
        return await asyncio.shield(self._start_fetch(token_request)) if known is None else known

    def forget(self, secret: Secret) -> None:
        """Fetch again, because the upstream rejected this token; nothing when another one is cached by now."""
        if self._cached is not None and self._cached.credential.secret == secret:
            self._cached = None
            self._failed_at = NEVER

    def _is_backing_off(self, now: float) -> bool:
        """Whether the last failure is too recent for another fetch. A failure in the future means a clock set back."""
        return self._failed_at <= now < self._failed_at + retry_delay(self._failures)

    def _start_fetch(self, token_request: TokenRequest) -> asyncio.Task[SourceResult]:
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(token_request))
        return self._fetching

    async def _fetch(self, token_request: TokenRequest) -> SourceResult:
        try:
            return self._record(await self._source.find(token_request))
        finally:
            self._fetching = None  # not in a callback: the next request may just have rejected the token

    def _record(self, result: SourceResult) -> SourceResult:
        now = self._now()
        if isinstance(result, Credential):
            self._cached = CachedToken.received(result, now, self._jitter())
            self._failure, self._failures = None, 0
            return self._cached.credential
        self._failure = result
        self._failures += 1
        self._failed_at = now
        return result
