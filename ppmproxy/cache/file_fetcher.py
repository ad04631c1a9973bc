"""Files and their metadata through the cache: whole, verified, and only for credentials that may have them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

from ppmproxy.cache.conditions import IMMUTABLE, RECHECKED, Representation, head_for, wanted_range
from ppmproxy.cache.download import DownloadHooks, Wanted
from ppmproxy.cache.file_keeper import FileKeeper, origin_of
from ppmproxy.cache.freshness import wants_upstream
from ppmproxy.cache.growing import BodyReader
from ppmproxy.cache.known_file import KnownFile, question_about
from ppmproxy.cache.name_memory import NamedFile
from ppmproxy.cache.page_names import canonical_url
from ppmproxy.cache.responses import NOTHING_TO_MASK, FilePart, FileResponse, fields_of
from ppmproxy.cache.rights import token_of
from ppmproxy.cache.shared_downloads import GrowingResponse, SharedDownloads
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
from ppmproxy.cache.wheel_metadata import keep_from_wheel
from ppmproxy.errors import PpmProxyError
from ppmproxy.upstream import redirects
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from ppmproxy.cache.catalog import CacheCatalog

_MISS = "fwd=uri-miss"


class _QuestionRefusedError(Exception):
    """The question about a file was refused; it is asked for anew, so that the client gets the upstream's own words."""

    def __init__(self, answer: UpstreamResponse | PpmProxyError) -> None:
        super().__init__("refused")
        self.answer = answer


@dataclass(slots=True)
class FileFetcher:
    """Answers requests for the files of one upstream."""

    cache: UpstreamCache
    downloads: SharedDownloads = field(init=False)

    def __post_init__(self) -> None:
        keeper = FileKeeper(self.cache)
        store = self.cache.store
        hooks = DownloadHooks(keeper.new_partial, keeper.keep, store.trouble.report_full, keeper.may_keep, store.hurry)
        self.downloads = SharedDownloads(hooks)

    async def answer(self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked) -> UpstreamResponse:
        """The file for a client, or whatever the upstream says instead."""
        await self.downloads.settled(canonical_url(asked.target.url))
        known = await self._known(asked)
        file, detail = await self._opened(asked, known)
        if file is not None:
            stack.callback(self.cache.store.close_blob, known.digest, file)
            try:
                word = await self._right_to(fetcher, asked, known, _size(file))
            except _QuestionRefusedError as refused:
                return await self._asked_again(stack, fetcher, asked, known, refused.answer)
            if word:
                return self._from_blob(asked, known, file, word if "detail=" in word else word + detail)
        if self.cache.upstream.offline:
            raise self.cache.offline_error(asked)
        return await self._missed(stack, fetcher, asked, known)

    async def _opened(self, asked: Asked, known: KnownFile) -> tuple[BinaryIO | None, str]:
        """The file, with a detail where it was not here: taken out of a wheel that is here, or from other machines."""
        store = self.cache.store
        file = await store.open_blob(known.digest) if known.digest and not known.is_missing else None
        if file is not None or known.naming is None:
            return file, ""
        if await keep_from_wheel(self.cache, asked, known):
            return await store.open_blob(known.digest), ""
        is_coming = self.downloads.running(_wanted(asked, known).key) is not None
        return await self.cache.shared_blob(asked, known, is_coming=is_coming)

    async def _known(self, asked: Asked) -> KnownFile:
        """What is known of the URL: from memory, where that is enough, else from the catalog."""
        url, holder, names = canonical_url(asked.target.url), asked.holder, self.cache.names
        remembered = names.get(holder, url)
        if remembered is not None:
            naming, row = remembered.naming, remembered.row
            is_missing = not remembered.is_row_known and not self.cache.store.blobs.is_there(naming.digest)
            if remembered.is_row_known or is_missing:  # a head is of no use without a file
                return KnownFile(url, "", naming.digest, naming, row, is_missing)
        unnamed = f"{asked.header('user-agent')}\n{asked.header('accept')}"

        def look(catalog: CacheCatalog) -> KnownFile:
            naming = catalog.naming(holder, url)
            variant = "" if naming else unnamed
            row = catalog.url(holder, url, variant)
            if naming is not None:
                return KnownFile(
                    url, variant, naming.digest, naming, row if row and row.digest == naming.digest else None
                )
            return KnownFile(url, variant, row.digest if row else "", None, row)

        known = await self.cache.store.catalog.ask(look) or KnownFile(url, unnamed)
        is_unchanged = names.get(holder, url) == remembered and not self.cache.is_refused(asked, known.vouching)
        if known.naming is not None and is_unchanged:
            names.put(holder, url, NamedFile(known.naming, known.row, is_row_known=True))
        return known

    # --- the right to what is here ---

    async def _right_to(self, fetcher: FetcherUntil, asked: Asked, known: KnownFile, size: int) -> str:
        """The `Cache-Status` with which a client gets the file from the cache; "" where it is to be fetched."""
        cache = self.cache
        if cache.upstream.offline:
            return OFFLINE
        if self._is_proved(asked, known) and not wants_upstream(asked.request.headers):
            return "hit"
        is_usable = self._may_be_stale(asked, known)
        if is_usable and (why := cache.outage.why):
            cache.record_silence(why)
            return DOWN
        try:
            return await self._asked(fetcher, asked, known, size, is_brief=is_usable)
        except NoAnswerError as failure:
            if not self._may_be_stale(asked, known):  # any more
                raise failure.error from failure
            cache.record_silence(str(failure))
            return DOWN

    def _may_be_stale(self, asked: Asked, known: KnownFile) -> bool:
        return self.cache.may_be_stale(asked, known.proved_at, known.vouching)

    def _is_proved(self, asked: Asked, known: KnownFile) -> bool:
        proofs, token = self.cache.proofs, asked.token
        if self.cache.is_refused(asked, known.vouching):  # what is known may be older than a proof that came since
            return False
        if known.naming is None:  # its content may change under the same URL
            return proofs.age(known.url, token) < self.cache.upstream.cache_pages_for
        return proofs.has(known.url, token) or any(proofs.has(page, token) for page in known.naming.pages)

    async def _asked(self, fetcher: FetcherUntil, asked: Asked, known: KnownFile, size: int, *, is_brief: bool) -> str:
        """Ask the upstream whether this token may have the file; "" where its answer does not say so."""
        request = question_about(asked.request, known)
        end = partial(self._end, asked, known) if is_brief else None
        async with AsyncExitStack() as stack:
            try:
                response = await self.cache.answer(stack, fetcher, asked, request, end)
            except REFUSING as error:
                raise _QuestionRefusedError(error) from error
            if response.status not in ENDING:
                return await self._word_of(asked, known, response, request, size)
        raise _QuestionRefusedError(response)

    async def _word_of(
        self, asked: Asked, known: KnownFile, response: UpstreamResponse, request: UpstreamRequest, size: int
    ) -> str:
        """Record what an answer to the question proves; the `Cache-Status`, or "" where it proves nothing."""
        is_same_holder = self.cache.holder(asked.target, response.credential) == asked.holder
        if not (is_same_holder and await self._is_proof(response, request, known, size)):
            return ""
        if self.cache.is_refused(asked, [known.url]):
            return ""
        self.cache.proofs.record(known.url, token_of(response.credential))
        if (row := known.row) is not None:
            now = self.cache.wall()
            self.cache.store.catalog.soon(lambda catalog: catalog.prove_url(row, now))
            self.cache.names.put_row(replace(row, proved_at=now))
        return f"fwd=stale; fwd-status={response.status}"

    async def _is_proof(
        self, response: UpstreamResponse, request: UpstreamRequest, known: KnownFile, size: int
    ) -> bool:
        """Whether an answer says that the file is there for this token, and is the one that is here.

        A redirect counts only where it leads to a storage from which right files came: a gateway without a session
        redirects, too. It is not followed: storage presigned for GET answers HEAD with 403.
        """
        if response.status == HTTPStatus.NOT_MODIFIED:
            return request.method == "GET"
        etag, modified = response.header("ETag") or "", response.header("Last-Modified") or ""
        is_same = bool(etag and etag == known.text_of("etag")) or bool(
            modified and modified == known.text_of("modified")
        )
        if response.status == HTTPStatus.OK:
            is_as_long = response.header("Content-Length") == str(size)
            return is_same if known.naming is None else (is_as_long or is_same)
        if response.status in redirects.STATUSES and known.naming is not None:
            url = self.cache.upstream.url
            origin = origin_of(urljoin(response.url, response.header("Location") or ""))
            return origin in (await self.cache.store.catalog.ask(lambda catalog: catalog.storages(url)) or ())
        return False

    def _from_blob(self, asked: Asked, known: KnownFile, file: BinaryIO, word: str) -> UpstreamResponse:
        size = _size(file)
        given = known.row.head.get("headers") if known.row else None
        headers = [(str(name), str(value)) for name, value in given] if isinstance(given, list) else []
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/octet-stream"))
        lasts = IMMUTABLE if known.naming else RECHECKED
        found = Representation(f'"{known.digest}"', headers, known.text_of("modified") or None, lasts)
        status, fields, part = head_for(asked.request.headers, found, size)
        self.cache.store.record_hit(known.digest, part.stop - part.start)
        return FileResponse(
            int(status),
            HTTPStatus(status).phrase,
            fields_of(fields),
            asked.target.url,
            asked.lookup.credential,
            redactor=NOTHING_TO_MASK,
            cache=word,
            part=FilePart(file, part.start, part.stop - part.start),
        )

    # --- what is not here ---

    async def _asked_again(
        self,
        stack: AsyncExitStack,
        fetcher: FetcherUntil,
        asked: Asked,
        known: KnownFile,
        refusal: UpstreamResponse | PpmProxyError,
    ) -> UpstreamResponse:
        """The file, where only the question was refused; a refusal counts if nothing better is answered."""
        try:
            return await self._missed(stack, fetcher, asked, known)
        except BaseException:
            self.cache.judge_refusal(asked, partial(self._end, asked, known), refusal)
            raise

    async def _missed(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse:
        self.cache.store.record_miss()
        try:
            if asked.request.method == "GET" and asked.header("range") is None:
                return await self._downloaded(stack, fetcher, asked, known)
            if (part := await self._part_of_growing(stack, fetcher, asked, known)) is not None:
                return part
            return await self._passed(stack, fetcher, asked, known)
        except REFUSING as error:
            self._end(asked, known)
            self.cache.end_rights(asked, error)
            raise
        except NoAnswerError as failure:
            raise failure.error from failure

    async def _passed(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse:
        """The upstream's own answer, for this client alone."""
        response = await self.cache.answer(stack, fetcher, asked, asked.request)
        self._judge(asked, known, response, since=asked.refusals_before)
        return passed_on(response, f"{_MISS}; detail=not-stored")

    async def _part_of_growing(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse | None:
        """The range that a client wants of a download under way; None where it is not there, or not for this client."""
        wanted = _wanted(asked, known)
        running = self.downloads.running(wanted.key)
        if running is None or not running.head.done() or running.body is None or not self._is_proved(asked, known):
            return None
        response, body = running.head.result(), running.body
        size = int(response.header("Content-Length") or 0)
        part = wanted_range(asked.request.headers, size, "", None)
        if asked.request.method != "GET" or part is None or not (body.may_begin_at(part[0]) and body.has(*part)):
            return None
        await stack.enter_async_context(self.downloads.joined(wanted, fetcher(None)))
        reader = BodyReader(body, *part)
        stack.callback(reader.close)
        return GrowingResponse.of_part(response, reader, f"{_MISS}; collapsed; stored", part)

    async def _downloaded(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse:
        """The file from a download that all who wait for it share."""
        wanted = _wanted(asked, known)
        key = wanted.key
        running = self.downloads.running(key)
        is_first = running is None
        if running is not None and running.head.done() and not self._is_proved(asked, known):
            return await self._passed(stack, fetcher, asked, known)  # what is answered now may be something else
        download = await stack.enter_async_context(self.downloads.joined(wanted, fetcher(None)))
        response = await download.answered()
        self.cache.record_accepted(asked, response.credential)
        if download.body is None or not download.body.may_begin_at(0):
            if not download.claim():
                return await self._passed(stack, fetcher, asked, known)
            self._judge(asked, known, response, since=download.wanted.refusals_before)
            return passed_on(response, f"{_MISS}; detail=not-stored")
        self._judge(asked, known, response, since=download.wanted.refusals_before)
        reader = BodyReader(download.body)
        stack.callback(reader.close)
        return GrowingResponse.of(response, reader, f"{_MISS}{'' if is_first else '; collapsed'}; stored")

    def _judge(self, asked: Asked, known: KnownFile, response: UpstreamResponse, since: int) -> None:
        """Record what an answer says of the right of its token; `since`: how many refusals came before its request."""
        if response.status in ENDING:
            self._end(asked, known, response)
        elif response.status < HTTPStatus.BAD_REQUEST:
            self.cache.outage.end()
            holder = self.cache.holder(asked.target, response.credential)
            if not self.cache.store.refusals.has_since(since, holder, [known.url]):
                self.cache.proofs.record(known.url, token_of(response.credential))

    def _end(self, asked: Asked, known: KnownFile, response: UpstreamResponse | None = None) -> None:
        """Delete a file that a credential no longer gets, and the pages that name it, also those that came meanwhile.

        The credential is that of the response, where there is one.
        """
        holder = self.cache.holder(asked.target, response.credential) if response else asked.holder
        self.cache.proofs.end(known.url)
        self.cache.store.refusals.record(holder, known.url)
        remembered = self.cache.names.get(holder, known.url)
        self.cache.names.forget_file(holder, known.url)
        for naming in (known.naming, remembered.naming if remembered else None):
            self._end_pages(holder, naming.pages if naming else ())
        loop = asyncio.get_running_loop()

        def forget(catalog: CacheCatalog) -> None:
            named = catalog.forget_file(holder, known.url)
            loop.call_soon_threadsafe(self._end_pages, holder, named)

        self.cache.store.catalog.end(forget)

    def _end_pages(self, holder: bytes, pages: Iterable[str]) -> None:
        for page in pages:
            self.cache.proofs.end(page)
            self.cache.store.refusals.record(holder, page)
            self.cache.forget_page(holder, page)
            self.cache.names.forget_page(holder, page)


def _wanted(asked: Asked, known: KnownFile) -> Wanted:
    digest = known.digest if known.naming else ""  # what no page names may have become something else
    key = known.url, known.variant, digest, asked.token
    return Wanted(
        known.url,
        key,
        asked.target,
        asked.request,
        asked.lookup,
        asked.refusals_before,
        digest,
        known.variant,
    )


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
