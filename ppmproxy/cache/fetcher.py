"""The `Fetcher` that stands in front of the one that asks the upstream, and answers from the cache where it may."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus

from ppmproxy.cache.file_fetcher import FileFetcher
from ppmproxy.cache.page_fetcher import PageFetcher
from ppmproxy.cache.pages import settings_salt
from ppmproxy.cache.shared_tier import SharedTier
from ppmproxy.cache.store import Store
from ppmproxy.cache.upstream_cache import FetcherUntil, UpstreamCache, passed_on
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse


@dataclass(slots=True)
class Cache:
    """The cache in front of one upstream."""

    state: UpstreamCache
    pages: PageFetcher
    files: FileFetcher

    @classmethod
    def of(
        cls,
        upstream: Upstream,
        others: tuple[Upstream, ...],
        store: Store,
        record_silence: Callable[[str], None],
        shared: SharedTier | None = None,
    ) -> Cache:
        """A cache for an upstream beside others; `record_silence` is called when something older is sent instead."""
        state = UpstreamCache(upstream, store, record_silence, shared)
        mounts = tuple((other.name, other.mount, other.url) for other in others)
        salt = settings_salt(upstream.name, upstream.url, upstream.mount, upstream.file_hosts, mounts)
        pages = PageFetcher(state, salt)
        state.forget_page = pages.memory.forget
        return cls(state, pages, FileFetcher(state))

    def in_front_of(self, upstream: FetcherUntil) -> Fetcher:
        """What answers from the cache, and asks the upstream where it has to."""
        return CachingFetcher(self, upstream)

    async def close(self) -> None:
        """End the downloads and requests under way."""
        await self.state.late.close()
        await self.files.downloads.close()


@dataclass(frozen=True, slots=True)
class CachingFetcher:
    """Answers requests from the cache, or by what `upstream` gets."""

    cache: Cache
    upstream: FetcherUntil = field(repr=False)

    def fetch(
        self, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """As `Fetcher` says; the word of the cache is in `UpstreamResponse.cache`."""
        return _Answering(self, target, request, lookup)

    async def answer(
        self, stack: AsyncExitStack, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> UpstreamResponse:
        cache = self.cache
        is_page, is_file = (
            target.kind is ResourceKind.INDEX_PAGE,
            target.kind is ResourceKind.FILE or is_r_index(target),
        )
        if (is_page or is_file) and request.is_repeatable and await cache.state.store.open():
            asked = cache.state.asked(target, request, lookup)
            answers = cache.files.answer if is_file else cache.pages.answer
            return await answers(stack, self.upstream, asked)
        if cache.state.upstream.offline:
            raise cache.state.offline_error(cache.state.asked(target, request, lookup))
        response = await stack.enter_async_context(self.upstream(None).fetch(target, request, lookup))
        if target.kind is ResourceKind.UPLOAD and response.status < HTTPStatus.MULTIPLE_CHOICES:
            cache.pages.forget_freshness()
        return passed_on(response, "fwd=bypass")


class _Answering(AsyncExitStack):
    """The response, for as long as the context lasts; a generator in its place would slow every request."""

    def __init__(self, fetcher: CachingFetcher, target: Target, request: UpstreamRequest, lookup: LookupResult) -> None:
        super().__init__()
        self._fetcher = fetcher
        self._asked = target, request, lookup

    async def __aenter__(self) -> UpstreamResponse:  # type: ignore[override]
        try:
            return await self._fetcher.answer(self, *self._asked)
        except BaseException:
            await self.__aexit__(*sys.exc_info())
            raise


def is_r_index(target: Target) -> bool:
    """Whether it is the plain list of an R repository, whose compressed forms are files by their names."""
    return target.kind is ResourceKind.OTHER and target.url.partition("?")[0].endswith("/PACKAGES")
