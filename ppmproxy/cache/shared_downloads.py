"""The downloads under way, by what makes two of them one, and the responses that grow with them."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from http import HTTPStatus

from ppmproxy.cache.download import Download, DownloadHooks, Wanted
from ppmproxy.cache.growing import BodyReader
from ppmproxy.cache.growing_relay import relay_of
from ppmproxy.cache.responses import FilePart, fields_of
from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.upstream.messages import Relay, UpstreamResponse

LARGE_REST = 1 << 20  # bytes still to come from which on they go from file to socket
_NOT_WHILE_GROWING = ("etag", "accept-ranges", "last-modified", "cache-status")


class SharedDownloads:
    """The downloads under way."""

    def __init__(self, hooks: DownloadHooks) -> None:
        self._hooks = hooks
        self._running: dict[Hashable, Download] = {}
        self._of_url: dict[str, set[Download]] = {}
        self._ending: set[Download] = set()

    def __len__(self) -> int:
        return len(self._running)

    def running(self, key: Hashable) -> Download | None:
        """The download that a client may join: one that is not over."""
        found = self._running.get(key)
        return found if found is not None and found.is_under_way else None

    async def settled(self, url: str) -> None:
        """Return when no file of this URL is whole and still being kept."""
        if whole := [download.task for download in self._of_url.get(url, ()) if download.is_being_kept]:
            self._hooks.hurry()
            await asyncio.wait(whole)

    @asynccontextmanager
    async def joined(self, wanted: Wanted, fetcher: Fetcher) -> AsyncIterator[Download]:
        """The download of a file, started where there is none, for as long as the context lasts."""
        download = self.running(wanted.key)
        if download is None:
            download = Download(wanted, fetcher, self._hooks)
            self._running[wanted.key] = download
            self._of_url.setdefault(wanted.url, set()).add(download)
        download.clients += 1
        try:
            yield download
        finally:
            download.clients -= 1
            if not download.clients:
                await self._end(download)

    async def _end(self, download: Download) -> None:
        """End a download whose last client has left; one that is whole is kept while that client goes on."""
        self._ending.add(download)
        if download.body is not None and download.body.is_whole:
            download.task.add_done_callback(lambda _task: self._ended(download))
            return
        self._forget(download)  # nobody joins what is being cancelled
        try:
            await download.end()
        finally:
            self._ended(download)

    def _ended(self, download: Download) -> None:
        download.close()
        self._forget(download)
        self._ending.discard(download)

    def _forget(self, download: Download) -> None:
        if self._running.get(download.wanted.key) is download:
            del self._running[download.wanted.key]
        of_url = self._of_url.get(download.wanted.url, set())
        of_url.discard(download)
        if not of_url:
            self._of_url.pop(download.wanted.url, None)

    async def close(self) -> None:
        """End them all; what is whole is kept before."""
        for download in {*self._running.values(), *self._ending}:
            await download.end()
            self._ended(download)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowingResponse(UpstreamResponse):
    """The response to one client of a download: what is not known yet to be right has no validators."""

    reader: BodyReader = field(repr=False)
    stop: int  # where the body ends, or the part of it that was asked for

    @classmethod
    def of(cls, response: UpstreamResponse, reader: BodyReader, cache: str) -> GrowingResponse:
        """What a client gets of a download's head."""
        fields = [(name, value) for name, value in response.headers if name.lower() not in _NOT_WHILE_GROWING]
        return cls(
            response.status,
            response.reason,
            fields_of(fields),
            response.url,
            response.credential,
            response.has_carried_token,
            response.redactor,
            cache,
            reader=reader,
            stop=int(response.header("Content-Length") or 0),
        )

    @classmethod
    def of_part(
        cls, response: UpstreamResponse, reader: BodyReader, cache: str, part: tuple[int, int]
    ) -> GrowingResponse:
        """What a client gets that asks for a part of the body, from its beginning to before its end."""
        start, stop = part
        whole = cls.of(response, reader, cache)
        fields = [(name, value) for name, value in whole.headers if name.lower() != "content-length"]
        fields += [("Content-Range", f"bytes {start}-{stop - 1}/{whole.stop}"), ("Content-Length", str(stop - start))]
        status = HTTPStatus.PARTIAL_CONTENT
        return replace(whole, status=int(status), reason=status.phrase, fields=fields_of(fields), stop=stop)

    async def chunk(self) -> bytes:
        """See `UpstreamResponse`."""
        return await self.reader.read()

    @property
    def has_large_rest(self) -> bool:
        """See `UpstreamResponse`."""
        is_in_file = sys.platform != "win32" and self.reader.body.is_on_disk
        return is_in_file and self.stop - self.reader.at >= LARGE_REST

    @contextmanager
    def relay_to(self, client: asyncio.WriteTransport) -> Iterator[Relay]:
        """See `UpstreamResponse`."""
        partial, at = self.reader.body.partial, self.reader.at
        assert partial is not None  # noqa: S101 - as `has_large_rest` has seen
        with relay_of(self.reader, FilePart(partial.file, at, self.stop - at), client) as relay:
            yield relay
