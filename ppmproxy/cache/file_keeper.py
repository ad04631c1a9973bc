"""Which downloaded files are kept, and what is kept with them."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from ppmproxy.auth.origin import Origin
from ppmproxy.cache.blobs import PartialFile
from ppmproxy.cache.catalog_rows import UrlRow
from ppmproxy.cache.download import Finished, Wanted
from ppmproxy.cache.freshness import may_be_stored
from ppmproxy.cache.responses import kept_headers
from ppmproxy.cache.upstream_cache import UpstreamCache
from ppmproxy.index.login_page import is_web_page
from ppmproxy.upstream.messages import UpstreamResponse

LARGEST_UNNAMED = 64 << 20  # bytes of a file for which no page names a hash


@dataclass(frozen=True, slots=True)
class FileKeeper:
    """Keeps the files of one upstream."""

    cache: UpstreamCache

    def new_partial(self) -> PartialFile | None:
        """A file to write to; None where the disk takes none."""
        try:
            return self.cache.store.blobs.create()
        except OSError as error:
            self.cache.store.trouble.report_full(error)
            return None

    def may_keep(self, response: UpstreamResponse, wanted: Wanted) -> bool:
        """Whether an answer is one for several clients, and to be kept."""
        length = response.header("Content-Length") or ""
        largest = self.cache.store.max_size if wanted.digest else min(LARGEST_UNNAMED, self.cache.store.max_size)
        is_small = length.isdigit() and int(length) <= largest
        vary = () if wanted.digest else response.fields.getall("Vary", ())
        may_be = may_be_stored(response.fields.getall("Cache-Control", ()), vary, ("user-agent",))
        return response.status == HTTPStatus.OK and not response.codings and is_small and may_be

    async def keep(self, finished: Finished) -> None:
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
        if await cache.store.keep(finished.content, row, wanted.refusals_before, may_wait=True):
            if not cache.store.is_refused(row, wanted.refusals_before):
                cache.names.put_row(row)
            if cache.shared is not None and wanted.digest:
                cache.shared.offer(wanted.digest)
        origin = origin_of(response.url)
        if wanted.digest and origin != str(cache.upstream.origin):
            cache.store.catalog.soon(lambda catalog: catalog.save_storage(cache.upstream.url, origin))


def origin_of(url: str) -> str:
    """The origin of a URL as a text; "" where it has none."""
    try:
        return str(Origin.of(url))
    except ValueError:
        return ""
