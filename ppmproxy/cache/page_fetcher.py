"""Fetching index pages through the cache: fresh ones at once, others revalidated, old ones while there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from ppmproxy.cache.catalog_rows import PageRow
from ppmproxy.cache.freshness import form_of, fresh_seconds, may_be_stored, wants_upstream
from ppmproxy.cache.pages import (
    LARGEST_PAGE,
    KeptPage,
    PageMemory,
    PageResponse,
    as_it_came,
    decoded,
    head_of,
    names_if_index,
    project_of,
)
from ppmproxy.cache.responses import BegunResponse, without
from ppmproxy.cache.rights import FORM, token_of
from ppmproxy.cache.upstream_cache import (
    DOWN,
    ENDING,
    OFFLINE,
    REFUSING,
    Asked,
    FetcherUntil,
    NoAnswerError,
    UpstreamCache,
    passed_on,
)
from ppmproxy.errors import SILENT, PpmProxyError, UpstreamTimeoutError
from ppmproxy.index.codings import BrokenCodingError, Decoder, unreadable
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

READ_AT_ONCE = 1 << 17  # bytes of a page that are read without a thread
_REPLACED = ("if-none-match", "if-modified-since", "accept-encoding", "range", "if-range")
_CODINGS = "gzip, deflate"


@dataclass(slots=True)
class PageFetcher:
    """Answers requests for the index pages of one upstream."""

    cache: UpstreamCache
    salt: bytes  # stands for the settings that links depend on
    memory: PageMemory = field(default_factory=PageMemory)
    _asking: dict[Hashable, asyncio.Future[bool]] = field(default_factory=dict, repr=False)

    async def answer(self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked) -> UpstreamResponse:
        """The page for a client, or whatever the upstream says instead."""
        while True:
            page = await self._known(asked)
            if (ready := self._without_asking(asked, page)) is not None:
                return ready
            asking = self._asking.get(self._key(asked))
            if asking is None:
                return await self._asked_once(stack, fetcher, asked, page)
            await asyncio.wait([asking])
            if asking.cancelled():  # the client that asked has left
                continue
            is_shared = asking.result()  # or raises what the other client is told, too
            page = await self._known(asked)
            if (ready := self._without_asking(asked, page)) is not None:
                return ready
            if page is not None and is_shared:
                return self._hit(asked, page, "fwd=request; collapsed")
            return await self._from_upstream(stack, fetcher, asked, page)  # all who waited at once, as without a cache

    # --- what is here ---

    async def _known(self, asked: Asked) -> KeptPage | None:
        holder, url, form = asked.holder, asked.target.url, _form_of(asked)
        page = self.memory.get((holder, url, form))
        if page is None:
            row = await self.cache.store.catalog.ask(lambda catalog: catalog.page(holder, url, form))
            page = self.memory.get((holder, url, form))  # another request may have brought it meanwhile
            if page is None and row is not None:
                page = KeptPage.of(row, self.salt)
                if not self._is_refused(asked, row):
                    self.memory.put(page)
        return page

    def _without_asking(self, asked: Asked, page: KeptPage | None) -> UpstreamResponse | None:
        """The answer for which the upstream is not asked; raises where it must not be asked and nothing is here."""
        cache = self.cache
        if cache.upstream.offline:
            if page is None:
                raise cache.offline_error(asked)
            return self._hit(asked, page, OFFLINE)
        if page is None:
            return None
        if self._is_fresh(asked, page) and not wants_upstream(asked.request.headers):
            return self._hit(asked, page, "hit")
        if (why := cache.outage.why) and self._may_be_stale(asked, page):
            return self._stale(asked, page, why)
        return None

    def _may_be_stale(self, asked: Asked, page: KeptPage) -> bool:
        return self.cache.may_be_stale(asked, page.row.proved_at, [page.row.url])

    def _is_fresh(self, asked: Asked, page: KeptPage) -> bool:
        fresh_for = self.cache.upstream.cache_pages_for if page.fresh_for is None else page.fresh_for
        return self.cache.proofs.age(f"{page.row.url}{FORM}{page.row.form}", asked.token) < fresh_for

    def _hit(self, asked: Asked, page: KeptPage, cache: str, proof: UpstreamResponse | None = None) -> UpstreamResponse:
        if cache.startswith("hit"):
            self.cache.store.record_hit("", len(page.row.body))
        credential = proof.credential if proof else asked.lookup.credential
        return page.response(asked.request.headers, cache, credential)

    def _stale(self, asked: Asked, page: KeptPage, why: str) -> UpstreamResponse:
        self.cache.record_silence(why)
        return self._hit(asked, page, DOWN)

    # --- asking ---

    def _key(self, asked: Asked) -> Hashable:
        return asked.target.url, _form_of(asked), asked.holder, asked.token

    async def _asked_once(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, page: KeptPage | None
    ) -> UpstreamResponse:
        """Ask the upstream on behalf of all who wait for the same page."""
        key = self._key(asked)
        asking = self._asking[key] = asyncio.get_running_loop().create_future()
        try:
            response = await self._from_upstream(stack, fetcher, asked, page)
        except PpmProxyError as error:
            asking.set_exception(error)
            asking.exception()  # nobody may be waiting
            raise
        else:
            asking.set_result(isinstance(response, PageResponse) and token_of(response.credential) == asked.token)
            return response
        finally:
            del self._asking[key]
            asking.cancel()  # where it has no result

    async def _from_upstream(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, page: KeptPage | None
    ) -> UpstreamResponse:
        cache = self.cache
        is_usable = page is not None and self._may_be_stale(asked, page)
        try:
            end = partial(self._end, asked) if is_usable else None
            response = await cache.answer(stack, fetcher, asked, self._request(asked, page), end)
            return await self._judged(stack, asked, page, response, is_brief=is_usable)
        except NoAnswerError as failure:
            if page is None or not self._may_be_stale(asked, page):  # any more
                raise failure.error from failure
            await stack.aclose()
            return self._stale(asked, page, str(failure))
        except REFUSING as error:
            self._end(asked)
            cache.end_rights(asked, error)
            raise

    def _request(self, asked: Asked, page: KeptPage | None) -> UpstreamRequest:
        headers = [*without(asked.request.headers, *_REPLACED), ("Accept-Encoding", _CODINGS)]
        if page is not None and (etag := page.text_of("etag")):
            headers.append(("If-None-Match", etag))
        elif page is not None and (modified := page.text_of("modified")):
            headers.append(("If-Modified-Since", modified))
        return replace(asked.request, method="GET", headers=headers)

    async def _judged(
        self,
        stack: AsyncExitStack,
        asked: Asked,
        page: KeptPage | None,
        response: UpstreamResponse,
        *,
        is_brief: bool,
    ) -> UpstreamResponse:
        """What becomes of an answer: revalidated, kept, or passed on as it is."""
        forwarded = "fwd=uri-miss" if page is None else "fwd=stale"
        if response.status == HTTPStatus.NOT_MODIFIED and page is not None:
            await stack.aclose()
            return self._hit(asked, self._proved(asked, page, response), "fwd=stale; fwd-status=304", response)
        self.cache.store.record_miss()
        if response.status in ENDING:
            self._end(asked, response)
        if response.status != HTTPStatus.OK or not _may_be_kept(response):
            return passed_on(response, forwarded)
        begun: list[bytes] = []
        body = await self._body(response, begun, self.cache.outage.patience if is_brief else None)
        if body is None:
            return BegunResponse.of(response, begun, forwarded)
        names = await self._names(body, response)
        if names is None:
            return decoded(response, body, forwarded)
        await stack.aclose()
        kept, is_stored = self._kept(asked, response, body, names)
        status = "" if page is None else "; fwd-status=200"
        return self._hit(asked, kept, f"{forwarded}{status}{'; stored' if is_stored else ''}", response)

    async def _body(self, response: UpstreamResponse, begun: list[bytes], limit: float | None) -> bytes | None:
        """The whole page, decoded; None for one that is too large, of which `begun` was read."""
        decoder, body = Decoder(response.codings), bytearray()
        try:
            while chunk := await asyncio.wait_for(response.chunk(), limit):
                begun.append(chunk)
                for piece in decoder.feed(chunk):
                    body += piece
                    if len(body) > LARGEST_PAGE:
                        return None
            decoder.close()
        except asyncio.TimeoutError as error:
            self.cache.outage.record_slow(limit or 0.0)
            what = f"{response.url.partition('?')[0]} stopped in the middle of a page"
            raise NoAnswerError(UpstreamTimeoutError(what, "try again later")) from error
        except SILENT as error:
            raise NoAnswerError(error) from error
        except BrokenCodingError:
            return None  # explained where the page is prepared for the client
        return bytes(body)

    async def _names(self, body: bytes, response: UpstreamResponse) -> dict[str, str] | None:
        if len(body) <= READ_AT_ONCE:
            return names_if_index(body, response, self.cache.upstream)
        return await asyncio.to_thread(names_if_index, body, response, self.cache.upstream)

    # --- keeping ---

    def _kept(
        self, asked: Asked, response: UpstreamResponse, body: bytes, names: dict[str, str]
    ) -> tuple[KeptPage, bool]:
        """The page of an answer, and whether it was kept."""
        cache, url = self.cache, asked.target.url
        fresh_for = fresh_seconds(response.fields.getall("Cache-Control", ()), response.header("Age"), -1.0)
        row = PageRow(
            cache.holder(asked.target, response.credential),
            url,
            _form_of(asked),
            cache.upstream.url,
            project_of(url),
            head_of(response, None if fresh_for < 0 else fresh_for),
            body,
            cache.wall(),
        )
        page = KeptPage.of(row, self.salt)
        if self._is_refused(asked, row, names):
            return page, False
        self.memory.put(page)
        most = cache.store.max_size
        cache.store.catalog.soon(lambda catalog: catalog.save_page(row, names, most))
        cache.names.learn(row.holder, url, names, row.proved_at)
        self._record_proof(row, response)
        return page, True

    def _proved(self, asked: Asked, page: KeptPage, response: UpstreamResponse) -> KeptPage:
        """A page that the upstream confirmed as unchanged, for the credential that it accepted."""
        cache, row = self.cache, page.row
        holder, now = cache.holder(asked.target, response.credential), cache.wall()
        if holder != row.holder:
            return self._kept_for(asked, holder, page, response)
        if self._is_refused(asked, row):
            return page
        page.row = row = replace(row, proved_at=now)
        cache.names.prove_page(row.holder, row.url, now)
        cache.store.catalog.soon(lambda catalog: catalog.prove_page(row.holder, row.url, row.form, now))
        self._record_proof(row, response)
        return page

    def _kept_for(self, asked: Asked, holder: bytes, page: KeptPage, response: UpstreamResponse) -> KeptPage:
        """The same page for another holder, whose credential was accepted instead."""
        row = replace(page.row, holder=holder, proved_at=self.cache.wall())
        names = names_if_index(row.body, as_it_came(page, response), self.cache.upstream) or {}
        kept = KeptPage.of(row, self.salt)
        if self._is_refused(asked, row, names):
            return kept
        most = self.cache.store.max_size
        self.cache.store.catalog.soon(lambda catalog: catalog.save_page(row, names, most))
        self.cache.names.learn(holder, row.url, names, row.proved_at)
        self.memory.put(kept)
        self._record_proof(row, response)
        return kept

    def _is_refused(self, asked: Asked, row: PageRow, names: Iterable[str] = ()) -> bool:
        """Whether a page, or a file that it names, was refused while its answer came."""
        return self.cache.is_refused(asked, [row.url, *names], row.holder)

    def _record_proof(self, row: PageRow, response: UpstreamResponse) -> None:
        token = token_of(response.credential)
        self.cache.proofs.record(row.url, token)
        self.cache.proofs.record(f"{row.url}{FORM}{row.form}", token)

    def _end(self, asked: Asked, response: UpstreamResponse | None = None) -> None:
        """Delete a page that a credential no longer gets: that of the response, where there is one."""
        holder = self.cache.holder(asked.target, response.credential) if response else asked.holder
        url = asked.target.url
        self.cache.store.refusals.record(holder, url)
        self.memory.forget(holder, url)
        self.cache.names.forget_page(holder, url)
        self.cache.proofs.end(url)
        self.cache.store.catalog.end(lambda catalog: catalog.forget_pages(holder, [url]))

    def forget_freshness(self) -> None:
        """Ask the upstream for every page anew, because something was uploaded."""
        self.cache.proofs.end_all()


def _form_of(asked: Asked) -> str:
    return form_of(asked.header("accept") or "*/*")


def _may_be_kept(response: UpstreamResponse) -> bool:
    fields = response.fields
    is_stored = may_be_stored(fields.getall("Cache-Control", ()), fields.getall("Vary", ()))
    return is_stored and not unreadable(response.codings)
