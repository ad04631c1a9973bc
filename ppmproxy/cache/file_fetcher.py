"""Fetching files and their metadata through the cache: whole and verified ones, for whom they are proved."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urljoin

from ppmproxy.auth.origin import Origin
from ppmproxy.cache.blobs import PartialFile
from ppmproxy.cache.catalog_rows import UrlRow
from ppmproxy.cache.conditions import Representation, head_for
from ppmproxy.cache.download import Finished, Surroundings, Wanted
from ppmproxy.cache.freshness import may_be_stored, wants_upstream
from ppmproxy.cache.growing import BodyReader
from ppmproxy.cache.known_file import KnownFile, question_about
from ppmproxy.cache.name_memory import NamedFile
from ppmproxy.cache.page_names import canonical_url
from ppmproxy.cache.responses import FilePart, FileResponse, fields_of, kept_headers
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
from ppmproxy.index.login_page import is_web_page
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from ppmproxy.cache.catalog import CacheCatalog

LARGEST_UNNAMED = 64 << 20  # bytes of a file for which no page names a hash
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MISS = "fwd=uri-miss"


@dataclass(slots=True)
class FileFetcher:
    """Answers requests for the files of one upstream."""

    cache: UpstreamCache
    downloads: SharedDownloads = field(init=False)

    def __post_init__(self) -> None:
        store = self.cache.store
        self.downloads = SharedDownloads(Surroundings(self._new_partial, self._keep, store.report_full, self._is_kept))

    async def answer(self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked) -> UpstreamResponse:
        """The file for a client, or whatever the upstream says instead."""
        await self.downloads.settled(canonical_url(asked.target.url))
        known = await self._known(asked)
        if known.digest and (file := await self.cache.store.open_blob(known.digest)) is not None:
            stack.callback(self.cache.store.close_blob, known.digest, file)
            if word := await self._right_to(fetcher, asked, known, _size(file)):
                return self._from_blob(asked, known, file, word)
        if self.cache.upstream.offline:
            raise self.cache.offline_error(asked)
        return await self._missed(stack, fetcher, asked, known)

    async def _known(self, asked: Asked) -> KnownFile:
        """What is known of the URL: from memory, where that is enough, else from the catalog."""
        url, holder, names = canonical_url(asked.target.url), asked.holder, self.cache.names
        remembered = names.get(holder, url)
        if remembered is not None and self._is_enough(remembered):
            return KnownFile(url, "", remembered.naming.digest, remembered.naming, remembered.row)
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

        known = await self.cache.store.ask(look) or KnownFile(url, unnamed)
        if known.naming is not None and names.get(holder, url) == remembered:  # nothing was learnt or ended meanwhile
            names.put(holder, url, NamedFile(known.naming, known.row, is_row_known=True))
        return known

    def _is_enough(self, remembered: NamedFile) -> bool:
        """Whether the head that the URL had is known, or is of no use because there is no file here."""
        return remembered.is_row_known or not self.cache.store.blobs.is_there(remembered.naming.digest)

    # --- the right to what is here ---

    async def _right_to(self, fetcher: FetcherUntil, asked: Asked, known: KnownFile, size: int) -> str:
        """The word of the cache by which a client may have a file that is here; "" where it is to be fetched."""
        cache = self.cache
        if cache.upstream.offline:
            return OFFLINE
        if self._is_proved(asked, known) and not wants_upstream(asked.request.headers):
            return "hit"
        is_usable = cache.may_be_stale(known.proved_at)
        if is_usable and (why := cache.outage.why):
            cache.record_silence(why)
            return DOWN
        try:
            return await self._asked(fetcher, asked, known, size, briefly=is_usable)
        except NoAnswerError as failure:
            if not is_usable:
                raise failure.error from failure
            cache.record_silence(str(failure))
            return DOWN

    def _is_proved(self, asked: Asked, known: KnownFile) -> bool:
        proofs, token = self.cache.proofs, asked.token
        if known.naming is None:  # its content may change under the same URL
            return proofs.age(known.url, token) < self.cache.upstream.cache_pages_for
        return proofs.has(known.url, token) or any(proofs.has(page, token) for page in known.naming.pages)

    async def _asked(self, fetcher: FetcherUntil, asked: Asked, known: KnownFile, size: int, *, briefly: bool) -> str:
        """Ask the upstream whether this token may have the file; "" where its answer does not say so."""
        request = question_about(asked.request, known)
        async with AsyncExitStack() as stack:
            try:
                response = await self.cache.answer(stack, fetcher, asked, request, briefly=briefly)
            except REFUSING:
                return ""  # asked for anew, so that its own words are shown
            same_holder = self.cache.holder(asked.target, response.credential) == asked.holder
            if not (same_holder and await self._is_proof(response, request, known, size)):
                return ""
            self.cache.proofs.record(known.url, token_of(response.credential))
            if (row := known.row) is not None:
                now = self.cache.wall()
                self.cache.store.later(lambda catalog: catalog.prove_url(row, now))
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
        if response.status in _REDIRECTS and known.naming is not None:
            url = self.cache.upstream.url
            origin = _origin_of(urljoin(response.url, response.header("Location") or ""))
            return origin in (await self.cache.store.ask(lambda catalog: catalog.storages(url)) or ())
        return False

    def _from_blob(self, asked: Asked, known: KnownFile, file: BinaryIO, word: str) -> UpstreamResponse:
        size = _size(file)
        given = known.row.head.get("headers") if known.row else None
        headers = [(str(name), str(value)) for name, value in given] if isinstance(given, list) else []
        if not any(name.lower() == "content-type" for name, _ in headers):
            headers.append(("Content-Type", "application/octet-stream"))
        found = Representation(f'"{known.digest}"', headers, known.text_of("modified") or None)
        status, fields, part = head_for(asked.request.headers, found, size)
        self.cache.store.record_hit(known.digest, part.stop - part.start)
        return FileResponse(
            int(status),
            HTTPStatus(status).phrase,
            fields_of(fields),
            asked.target.url,
            asked.lookup.credential,
            cache=word,
            part=FilePart(file, part.start, part.stop - part.start),
        )

    # --- what is not here ---

    async def _missed(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse:
        self.cache.store.record_miss()
        try:
            if asked.request.method == "GET" and asked.header("range") is None:
                return await self._downloaded(stack, fetcher, asked, known)
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
        response = await self.cache.answer(stack, fetcher, asked, asked.request, briefly=False)
        self._judge(asked, known, response)
        return passed_on(response, f"{_MISS}; detail=not-stored")

    async def _downloaded(
        self, stack: AsyncExitStack, fetcher: FetcherUntil, asked: Asked, known: KnownFile
    ) -> UpstreamResponse:
        """The file from a download that all who wait for it share."""
        key = known.url, known.variant, known.digest, asked.token
        wanted = Wanted(known.url, key, asked.target, asked.request, asked.lookup, known.digest, known.variant)
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
            self._judge(asked, known, response)
            return passed_on(response, f"{_MISS}; detail=not-stored")
        self._judge(asked, known, response)
        reader = BodyReader(download.body)
        stack.callback(reader.close)
        return GrowingResponse.of(response, reader, f"{_MISS}{'' if is_first else '; collapsed'}; stored")

    def _judge(self, asked: Asked, known: KnownFile, response: UpstreamResponse) -> None:
        """Record what an answer says of the right of its token."""
        if response.status in ENDING:
            self._end(asked, known)
        elif response.status < HTTPStatus.BAD_REQUEST:
            self.cache.outage.end()
            self.cache.proofs.record(known.url, token_of(response.credential))

    def _end(self, asked: Asked, known: KnownFile) -> None:
        """The Package Manager no longer gives this file to this credential: its pages end with it."""
        holder, proofs = asked.holder, self.cache.proofs
        proofs.end(known.url)
        self.cache.names.forget_file(holder, known.url)
        for page in known.naming.pages if known.naming else ():
            proofs.end(page)
            self.cache.forget_page(holder, page)
            self.cache.names.forget_page(holder, page)
        self.cache.store.end(lambda catalog: catalog.forget_file(holder, known.url))

    # --- downloads ---

    def _new_partial(self) -> PartialFile | None:
        try:
            return self.cache.store.blobs.create()
        except OSError as error:
            self.cache.store.report_full(error)
            return None

    def _is_kept(self, response: UpstreamResponse, wanted: Wanted) -> bool:
        length = response.header("Content-Length") or ""
        largest = self.cache.store.max_size if wanted.digest else min(LARGEST_UNNAMED, self.cache.store.max_size)
        is_small = length.isdigit() and int(length) <= largest
        vary = () if wanted.digest else response.fields.getall("Vary", ())
        may_be = may_be_stored(response.fields.getall("Cache-Control", ()), vary, ("user-agent",))
        return response.status == HTTPStatus.OK and not response.codings and is_small and may_be

    async def _keep(self, finished: Finished) -> None:
        """Keep a file that is whole and right, with what is known of it."""
        wanted, response, cache = finished.wanted, finished.response, self.cache
        if not wanted.digest and is_web_page(finished.start):
            return  # a sign-in page in place of a file
        head: dict[str, object] = {
            "headers": [list(header) for header in kept_headers(response.headers)],
            "etag": response.header("ETag") or "",
            "modified": response.header("Last-Modified") or "",
        }
        holder = cache.holder(wanted.target, response.credential)
        row = UrlRow(holder, wanted.url, wanted.variant, finished.digest, head, cache.wall())
        if await cache.store.keep(finished.partial, row):
            cache.names.put_row(row)
        origin = _origin_of(response.url)
        if wanted.digest and origin != str(cache.upstream.origin):
            cache.store.later(lambda catalog: catalog.save_storage(cache.upstream.url, origin))


def _origin_of(url: str) -> str:
    try:
        return str(Origin.of(url))
    except ValueError:
        return ""


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
