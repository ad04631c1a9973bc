"""Index pages as they are kept: decoded, with validators, and in memory as they were rewritten."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from multidict import CIMultiDictProxy

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.cache.catalog_rows import PageRow
from ppmproxy.cache.conditions import is_not_modified
from ppmproxy.cache.page_names import NoIndexPageError, names_on
from ppmproxy.cache.responses import NOTHING_TO_MASK, MemoryResponse, fields_of, kept_headers
from ppmproxy.config.model import Upstream
from ppmproxy.index.login_page import is_login_page
from ppmproxy.index.page import ENOUGH_TO_JUDGE
from ppmproxy.index.project_names import normalized
from ppmproxy.index.rewriter import PageFormat, page_format
from ppmproxy.index.routing import is_project_list
from ppmproxy.upstream.messages import Headers, UpstreamResponse

LARGEST_PAGE = 8 << 20  # bytes, decoded; a larger one, as a list of all projects, streams through
MOST_IN_MEMORY = 16 << 20  # bytes of all pages that are kept in memory
_ALWAYS = (("Cache-Control", "no-cache"), ("Vary", "Accept"))


@dataclass(slots=True)
class KeptPage:
    """One index page, and what was made of it."""

    row: PageRow
    etag: str  # ours: of its bytes, and of the settings that its links depend on
    fields: CIMultiDictProxy[str] = field(repr=False)
    rewritten: dict[str, bytes] = field(default_factory=dict, repr=False)  # by where it was asked for
    on_growth: Callable[[int], None] = field(default=lambda _size: None, repr=False)

    @classmethod
    def of(cls, row: PageRow, salt: bytes) -> KeptPage:
        """The page of a row; `salt` stands for the settings."""
        digest = hashlib.sha256(salt + row.body).hexdigest()[:32]
        given = row.head.get("headers")
        headers = [(str(name), str(value)) for name, value in given] if isinstance(given, list) else []
        return cls(row, f'"{digest}"', fields_of([*headers, ("ETag", f'"{digest}"'), *_ALWAYS]))

    def text_of(self, name: str) -> str:
        """A field of its head; "" where it has none."""
        value = self.row.head.get(name)
        return value if isinstance(value, str) else ""

    @property
    def fresh_for(self) -> float | None:
        """Seconds for which its server said it is fresh; None where that is not said."""
        value = self.row.head.get("fresh_for")
        return float(value) if isinstance(value, (int, float)) else None

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return len(self.row.body) + sum(map(len, self.rewritten.values()))

    def keep_rewritten(self, place: str, body: bytes) -> None:
        """Remember the page as a client at a place gets it."""
        before = len(self.rewritten.get(place, b""))
        self.rewritten[place] = body
        self.on_growth(len(body) - before)

    def response(self, request: Headers, cache: str, credential: Credential | None) -> PageResponse:
        """The page for a client, by the right of a credential, or 304 where it has it."""
        status = HTTPStatus.NOT_MODIFIED if is_not_modified(request, self.etag, None) else HTTPStatus.OK
        return PageResponse(
            status,
            status.phrase,
            self.fields,
            self.text_of("url"),
            credential,
            redactor=NOTHING_TO_MASK,
            cache=cache,
            rest=[self.row.body] if status == HTTPStatus.OK else [],
            page=self,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PageResponse(MemoryResponse):
    """A page of the cache."""

    page: KeptPage = field(repr=False)

    @property
    def is_kept_page(self) -> bool:
        """See `UpstreamResponse`."""
        return True


class PageMemory:
    """The pages used last, in memory."""

    def __init__(self, most_bytes: int = MOST_IN_MEMORY) -> None:
        self._most = most_bytes
        self._pages: dict[tuple[bytes, str, str], KeptPage] = {}
        self._size = 0

    def get(self, key: tuple[bytes, str, str]) -> KeptPage | None:
        """A page by holder, URL and form."""
        page = self._pages.pop(key, None)
        if page is not None:
            self._pages[key] = page
        return page

    def put(self, page: KeptPage) -> None:
        """Add a page, or replace it."""
        self._remove(_key(page))
        self._pages[_key(page)] = page
        page.on_growth = self._grow
        self._grow(page.size)

    def forget(self, holder: bytes, url: str | None = None) -> None:
        """Forget a page in all its forms, or all of a holder."""
        for key in [key for key in self._pages if key[0] == holder and url in (None, key[1])]:
            self._remove(key)

    def _grow(self, size: int) -> None:
        self._size += size
        while self._size > self._most and self._pages:
            self._remove(next(iter(self._pages)))

    def _remove(self, key: tuple[bytes, str, str]) -> None:
        page = self._pages.pop(key, None)
        if page is not None:
            self._size -= page.size
            page.on_growth = lambda _size: None


def _key(page: KeptPage) -> tuple[bytes, str, str]:
    return page.row.holder, page.row.url, page.row.form


def head_of(response: UpstreamResponse, fresh_for: float | None) -> dict[str, object]:
    """What is kept of an answer's head."""
    return {
        "headers": [list(header) for header in kept_headers(response.headers)],
        "url": response.url,
        "type": response.header("Content-Type") or "",
        "etag": response.header("ETag") or "",
        "modified": response.header("Last-Modified") or "",
        "fresh_for": fresh_for,
    }


def names_if_index(body: bytes, response: UpstreamResponse, upstream: Upstream) -> dict[str, str] | None:
    """The names on a page that may be kept; None for what is no index, or shows a token."""
    found = page_format(response.header("Content-Type"))
    if found is None or not may_carry_token(response.url, upstream.url):
        return None
    is_root = is_project_list(response.url)
    if found is PageFormat.HTML and is_login_page(body[:ENOUGH_TO_JUDGE], is_root=is_root):
        return None
    if any(form.encode() in body for form in response.redactor.forms):
        return None
    try:
        return names_on(body, found, response.url, upstream)
    except NoIndexPageError:
        return None


def project_of(url: str) -> str:
    """The project that a page is about, by its URL (PEP 503)."""
    return normalized(url.partition("?")[0].rstrip("/").rpartition("/")[2])


def decoded(response: UpstreamResponse, body: bytes, cache: str) -> UpstreamResponse:
    """An answer that is not kept, without its codings."""
    fields = [*kept_headers(response.headers), ("Cache-Control", response.header("Cache-Control") or "no-cache")]
    return MemoryResponse(
        response.status,
        response.reason,
        fields_of(fields),
        response.url,
        response.credential,
        response.has_carried_token,
        response.redactor,
        cache,
        rest=[body] if body else [],
    )


def as_it_came(page: KeptPage, proof: UpstreamResponse) -> UpstreamResponse:
    """A kept page as the answer that it was."""
    fields = fields_of([("Content-Type", page.text_of("type"))])
    return MemoryResponse(HTTPStatus.OK, "OK", fields, page.text_of("url"), redactor=proof.redactor)


def settings_salt(*parts: object) -> bytes:
    """A short stand-in for the settings that links depend on."""
    return hashlib.sha256(repr(parts).encode()).digest()
