"""The cache of one upstream: what its requests share, for as long as its settings are in force."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import BinaryIO

from ppmproxy.auth.credential import Credential
from ppmproxy.cache.conditions import header_of
from ppmproxy.cache.known_file import KnownFile
from ppmproxy.cache.name_memory import NameMemory
from ppmproxy.cache.outage import LateAnswer, OutageMemory
from ppmproxy.cache.rights import Proofs, RightHolder, Token, token_of
from ppmproxy.cache.shared_tier import SharedTier
from ppmproxy.cache.store import Store
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import (
    SILENT,
    CredentialError,
    NotPermittedError,
    OfflineError,
    PpmProxyError,
    UpstreamError,
    UpstreamTimeoutError,
    UpstreamUnreachableError,
)
from ppmproxy.index.routing import Target
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

ENDING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE, HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS})
REFUSING = (CredentialError, NotPermittedError)
DOWN, OFFLINE = "hit; detail=upstream-down", "hit; detail=offline"
SHARED = "; detail=shared"
MOST_HOLDERS = 200  # remembered, each the digest of a few texts

End = Callable[[UpstreamResponse | None], None]  # deletes what was refused, by a response where there is one
FetcherUntil = Callable[[float | None], Fetcher]  # until when, on the monotonic clock, what may pass is tried again


class NoAnswerError(Exception):
    """The upstream gave no answer, or a 5xx; `error` is what explains it."""

    def __init__(self, error: PpmProxyError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of a client, and by what right it may be answered."""

    target: Target
    request: UpstreamRequest
    lookup: LookupResult
    holder: bytes = field(repr=False)
    token: Token = field(repr=False)
    refusals_before: int  # how many there were when it came

    def header(self, name: str) -> str | None:
        """A header of the request, by its name in lower case; what is not UTF-8 in it is written out in hexadecimal."""
        value = header_of(self.request.headers, name)
        return value and value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(slots=True)
class UpstreamCache:
    """What all requests for one upstream share."""

    upstream: Upstream
    store: Store
    record_silence: Callable[[str], None]  # no answer came, and something older was sent instead
    shared: SharedTier | None = None  # where blobs are that this disk has not
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    proofs: Proofs = field(init=False)
    outage: OutageMemory = field(init=False)
    late: LateAnswer = field(init=False, repr=False)
    names: NameMemory = field(default_factory=NameMemory, repr=False)
    forget_page: Callable[[bytes, str | None], None] = lambda _holder, _url: None  # in memory; None: every page
    _holders: dict[tuple[str, Credential | None], bytes] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.proofs = Proofs(self.upstream.cache_recheck, self.clock)
        self.outage = OutageMemory(self.clock)
        self.late = LateAnswer(self.outage, self.clock)

    # --- rights ---

    def asked(self, target: Target, request: UpstreamRequest, lookup: LookupResult) -> Asked:
        """A request with the right that its credential has."""
        credential = lookup.credential
        holder, token = self.holder(target, credential), token_of(credential)
        return Asked(target, request, lookup, holder, token, self.store.refusals.count)

    def holder(self, target: Target, credential: Credential | None) -> bytes:
        """The holder of stale rights to what a target's repository answered this credential."""
        key = target.repo, credential
        if key not in self._holders:
            if len(self._holders) >= MOST_HOLDERS:
                self._holders.clear()
            secret = self.store.catalog.key or b""
            self._holders[key] = RightHolder.of(secret, self.upstream, target.repo, credential).digest
        return self._holders[key]

    def may_be_stale(self, asked: Asked, proved_at: float, urls: Iterable[str]) -> bool:
        """Whether what was proved at a time may be sent while there is no answer; offline the clock does not matter.

        `urls` are what the right rests on: another request may have been refused one of them meanwhile.
        """
        if self.upstream.offline:
            return True
        stale_for = self.upstream.cache_stale_for
        is_recent = stale_for > 0 and abs(self.wall() - proved_at) <= stale_for
        return is_recent and not self.is_refused(asked, urls)

    def is_refused(self, asked: Asked, urls: Iterable[str], holder: bytes | None = None) -> bool:
        """Whether the holder, if not another one, was refused one of these since the request came."""
        return self.store.refusals.has_since(asked.refusals_before, holder or asked.holder, urls)

    def end_rights(self, asked: Asked, error: PpmProxyError) -> None:
        """Delete what a token was shown before, where the upstream refused the token as such."""
        if isinstance(error, CredentialError):
            self.proofs.end_token(asked.token)
            self._forget_holder(asked.holder)

    def record_accepted(self, asked: Asked, credential: Credential | None) -> None:
        """Record the credential that the upstream accepted; the one that was looked up, if another, was refused."""
        if token_of(credential) != asked.token:
            self.proofs.end_token(asked.token)
            if self.holder(asked.target, credential) != asked.holder:
                self._forget_holder(asked.holder)

    def _forget_holder(self, holder: bytes) -> None:
        self.store.refusals.record(holder)
        self.forget_page(holder, None)
        self.names.forget_holder(holder)
        self.store.catalog.end(lambda catalog: catalog.forget_holder(holder))

    # --- blobs ---

    async def shared_blob(self, asked: Asked, known: KnownFile, *, is_coming: bool) -> tuple[BinaryIO | None, str]:
        """A file from the tier that machines share, with that detail.

        From there only what a page names to this holder, not for a HEAD, and not where it `is_coming` already.
        """
        is_wanted = known.naming is not None and asked.request.method == "GET" and not self.upstream.offline
        if self.shared is None or is_coming or not is_wanted or not await self.shared.bring(known.digest):
            return None, ""
        return await self.store.open_blob(known.digest), SHARED

    # --- requests ---

    async def answer(
        self,
        stack: AsyncExitStack,
        fetcher: FetcherUntil,
        asked: Asked,
        request: UpstreamRequest,
        end: End | None = None,
    ) -> UpstreamResponse:
        """The upstream's answer, entered on the stack; `NoAnswerError` when there is none.

        `end`: something usable is here, so that one try of two seconds decides (more where the upstream is slow); it is
        called for a refusal that comes later.
        """
        patience, is_brief = self.outage.patience, end is not None
        sender = fetcher(self.clock() + patience if is_brief else None)
        sending = sender.fetch(asked.target, request, asked.lookup)
        try:
            if end is None:
                response = await stack.enter_async_context(sending)
            else:
                response = await self.late.soon(stack, sending, partial(self.judge_refusal, asked, end))
        except SILENT as error:
            raise self._no_answer(error) from error
        except asyncio.TimeoutError as error:
            what = f"{self.upstream.url} did not answer within {patience:g} s"
            raise self._no_answer(UpstreamTimeoutError(what, "try again later")) from error
        if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR and is_brief:
            what = f"{self.upstream.url} answered {response.status} {response.reason}".rstrip()
            raise self._no_answer(UpstreamUnreachableError(what, "try again later"))
        if response.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.outage.end()
        self.record_accepted(asked, response.credential)
        return response

    def judge_refusal(self, asked: Asked, end: End, answer: UpstreamResponse | PpmProxyError) -> None:
        """End the rights that an answer ends, if it is a refusal."""
        if isinstance(answer, REFUSING):
            end(None)
            self.end_rights(asked, answer)
        elif isinstance(answer, UpstreamResponse) and answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
            self.record_accepted(asked, answer.credential)
            if answer.status in ENDING:
                end(answer)

    def _no_answer(self, error: UpstreamError) -> NoAnswerError:
        self.outage.record(str(error))
        return NoAnswerError(error)

    def offline_error(self, asked: Asked) -> OfflineError:
        """The error for what is not here."""
        what = f"{asked.target.local.partition('?')[0]} is not in the cache, and offline = true"
        return OfflineError(what, "set offline = false, or fill the cache with `ppmproxy cache prefetch --for-offline`")


def passed_on(response: UpstreamResponse, cache: str) -> UpstreamResponse:
    """The upstream's own response, with the `Cache-Status`."""
    return replace(response, cache=cache)
