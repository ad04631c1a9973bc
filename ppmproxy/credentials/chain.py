"""The credential chain of an upstream: the look-up through its sources, in their order.

A source returns a credential, the reason why it has none, or the reason why it is broken. It never raises for what a
person, a file or a clock can cause, and never prints a value.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.auth.secret import Secret
from ppmproxy.credentials.lookup import (
    CredentialSource,
    LookupResult,
    NothingFound,
    SourceBroken,
    SourceResult,
    TokenRequest,
)
from ppmproxy.credentials.refresh import BackOff
from ppmproxy.credentials.refreshing_source import RefreshingSource
from ppmproxy.credentials.static_sources import TokensTomlSource

MAX_REMEMBERED = 20  # tokens that were logged


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One source of the chain, with the uses and repositories that it serves."""

    source: CredentialSource
    use: Use = Use.ANY
    repos: tuple[str, ...] = ()
    ends_search: bool = False

    def serves(self, token_request: TokenRequest) -> bool:
        """Whether the source is for this use and this repository."""
        fits_use = self.use is Use.ANY or self.use is token_request.use
        return fits_use and (not self.repos or token_request.repo in self.repos)


@dataclass(slots=True)
class _Search:
    """What a search has seen so far."""

    found: Credential | None = None
    expired: Credential | None = None
    rejected: Credential | None = None
    retry_at: float = 0.0
    skipped: list[NothingFound | SourceBroken] = field(default_factory=list)

    def result(self) -> LookupResult:
        return LookupResult(self.found or self.expired, tuple(self.skipped), self.rejected, self.retry_at)


class CredentialChain:
    """The look-up through an upstream's sources. Requests for the same purpose share one look-up."""

    def __init__(
        self,
        entries: Sequence[ChainEntry],
        register: Callable[[Credential], None],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`register` is called with every credential before any other use, to have it masked."""
        self._entries = tuple(entries)
        sources = (entry.source for entry in self._entries)
        self._with_warnings = [one for one in sources if isinstance(one, (RefreshingSource, TokensTomlSource))]
        self._register = register
        self._now = now
        self._running: dict[TokenRequest, asyncio.Task[LookupResult]] = {}
        self._back_offs: dict[tuple[Secret, TokenRequest], BackOff] = {}
        self._logged: set[tuple[str, ...]] = set()
        self._logged_secrets: dict[Secret, None] = {}  # a set in the order of insertion

    def finds_sign_in_token(self, token_request: TokenRequest) -> bool:
        """Whether the chain would find the token that a sign-in stores."""
        serving = list(self._serving(token_request))
        end = next((index for index, entry in enumerate(serving) if entry.ends_search), len(serving))
        return any(isinstance(entry.source, TokensTomlSource) for entry in serving[:end])

    @property
    def source_warnings(self) -> tuple[str, ...]:
        """Faults behind a token that is still in use: a failed refresh, a sign-in's token that cannot be written."""
        return tuple(dict.fromkeys(filter(None, [source.warning for source in self._with_warnings])))

    async def find(self, token_request: TokenRequest) -> LookupResult:
        """The first usable credential, and the results of the sources before it.

        A credential whose own expiry has passed is skipped while there is another. Without another it is offered all
        the same, because this machine's clock may be wrong.
        """
        task = self._running.get(token_request)
        if task is None:
            if (known := self._find_now(token_request)) is not None:
                return known
            task = self._running[token_request] = asyncio.create_task(self._run_search(token_request))
        return await asyncio.shield(task)

    def _find_now(self, token_request: TokenRequest) -> LookupResult | None:
        """The result where no source has to be awaited before it is clear: a task would slow every request."""
        search = _Search()
        for entry in self._serving(token_request):
            result = entry.source.find_now(token_request)
            if result is None:
                return None
            if self._ends(search, entry, result, token_request):
                break
        return search.result()

    async def _run_search(self, token_request: TokenRequest) -> LookupResult:
        try:
            return await self._search(token_request)
        finally:
            # Not in a callback, which runs later: a request in between may just have rejected the result.
            del self._running[token_request]

    def reject(self, credential: Credential, token_request: TokenRequest) -> None:
        """Record that the upstream rejected a credential: it is refreshed, and not offered again during its back-off.

        Only for this purpose: some servers answer 401, not 403, to a token that lacks a repository's scope.
        """
        now, key = self._now(), (credential.secret, token_request)
        back_off = self._back_offs.get(key)
        self._back_offs[key] = BackOff(now) if back_off is None else back_off.after_rejection(now)
        for entry in self._entries:
            if isinstance(entry.source, RefreshingSource):
                entry.source.forget(credential.secret)

    def _retry_at(self, credential: Credential, token_request: TokenRequest) -> float:
        """When a rejected credential may be offered again; 0 when it may be offered now."""
        if not self._back_offs:
            return 0.0
        back_off = self._back_offs.get((credential.secret, token_request))
        return back_off.retry_at if back_off is not None and back_off.is_backing_off(self._now()) else 0.0

    async def _search(self, token_request: TokenRequest) -> LookupResult:
        search = _Search()
        for entry in self._serving(token_request):
            if self._ends(search, entry, await entry.source.find(token_request), token_request):
                break
        return search.result()

    def _serving(self, token_request: TokenRequest) -> Iterator[ChainEntry]:
        return (entry for entry in self._entries if entry.serves(token_request))

    def _ends(self, search: _Search, entry: ChainEntry, result: SourceResult, token_request: TokenRequest) -> bool:
        """Take the result of one source; whether the search is over."""
        if not isinstance(result, Credential):
            search.skipped.append(result)
            self._log_if_broken(result)
            return entry.ends_search
        self._register(result)
        self._log_remarks(result)
        if until := self._retry_at(result, token_request):
            if search.rejected is None:
                search.rejected, search.retry_at = result, until
            search.skipped.append(SourceBroken(result.source, "refused by the Package Manager a moment ago"))
        elif result.has_expired(self._now()):
            search.expired = search.expired or result
            search.skipped.append(SourceBroken(result.source, "has expired"))
        else:
            self._log_found(result)
            search.found = result
        return search.found is not None or entry.ends_search

    def _log_found(self, credential: Credential) -> None:
        """Log each token once, without its value."""
        if credential.secret not in self._logged_secrets:
            self._logged_secrets[credential.secret] = None
            if len(self._logged_secrets) > MAX_REMEMBERED:
                del self._logged_secrets[next(iter(self._logged_secrets))]
            log = structlog.get_logger("ppmproxy")
            claims = credential.claims
            log.info("credential_found", source=credential.source, expires_at=claims.expiry, scopes=claims.scopes)

    def _log_if_broken(self, result: NothingFound | SourceBroken) -> None:
        if isinstance(result, SourceBroken):
            self._log_once("credential_source_broken", result.source, why=result.why)

    def _log_remarks(self, credential: Credential) -> None:
        for remark in credential.remarks:
            self._log_once("credential_warning", credential.source, why=remark)

    def _log_once(self, event: str, source: str, **fields: str) -> None:
        key = (source, *fields.values())
        if key not in self._logged:
            self._logged.add(key)
            structlog.get_logger("ppmproxy").warning(event, source=source, **fields)
