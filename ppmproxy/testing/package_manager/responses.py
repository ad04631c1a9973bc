"""Responses of the fake Package Manager before they are sent: status, headers and content."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from dataclasses import dataclass, replace
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.content import Content, Memory, Window

if TYPE_CHECKING:
    from datetime import datetime

    from ppmproxy.testing.package_manager.received import ReceivedRequest

NOTHING = Memory(b"")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FakeResponse:
    """A status, headers and content; content of unknown size is sent chunked."""

    status: int = 200
    headers: Headers = ()
    content: Content = NOTHING
    reason: str | None = None

    def with_headers(self, *headers: tuple[str, str]) -> FakeResponse:
        """The same response with more headers."""
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True)
class File:
    """A file, and the facts that its headers state."""

    content: Content
    content_type: str
    modified: datetime
    etag: str | None
    cache_control: str | None
    offers_ranges: bool


def text(words: str, content_type: str = "text/plain; charset=utf-8", status: int = 200) -> FakeResponse:
    """A response with a text."""
    return FakeResponse(status, (("Content-Type", content_type),), Memory(words.encode()))


def json_response(document: object, status: int = 200) -> FakeResponse:
    """A response with a JSON document."""
    return text(json.dumps(document), "application/json", status)


def redirect(location: str, status: int = 302) -> FakeResponse:
    """A redirect."""
    return FakeResponse(status, (("Location", location),))


def page_response(
    page: FakeResponse, received: ReceivedRequest, *, gzip_pages: bool, offers_etags: bool
) -> FakeResponse:
    """A page as the client accepts it: compressed, plain, or 304 without content."""
    response = page.with_headers(("Vary", "Accept, Accept-Encoding"))
    if not isinstance(response.content, Memory):
        return response
    data, suffix = response.content.data, ""
    if gzip_pages and "gzip" in (received.header("Accept-Encoding") or ""):
        data, suffix = gzip.compress(data, mtime=0), "-gzip"
        response = replace(response.with_headers(("Content-Encoding", "gzip")), content=Memory(data))
    if not offers_etags:
        return response
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"'
    response = response.with_headers(("ETag", etag))
    return _not_modified(response) if _has_etag(received, etag) else response


def file_response(file: File, received: ReceivedRequest) -> FakeResponse:
    """A file: whole, a range of it (206, 416), or 304 without content."""
    response = FakeResponse(200, _file_headers(file), file.content)
    size = file.content.size
    if _is_current(file, received):
        return _not_modified(response)
    range_header = received.header("Range")
    if not file.offers_ranges or size is None or range_header is None or not _if_range_holds(file, received):
        return response
    byte_range = _byte_range(range_header, size)
    if byte_range is None:
        return response
    start, stop = byte_range
    if start >= stop:
        return FakeResponse(416, (("Content-Range", f"bytes */{size}"),))
    part = response.with_headers(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
    return replace(part, status=206, content=Window(file.content, start, stop))


def _file_headers(file: File) -> Headers:
    headers = [("Content-Type", file.content_type), ("Last-Modified", http_date(file.modified))]
    if file.etag is not None:
        headers.append(("ETag", file.etag))
    if file.cache_control is not None:
        headers.append(("Cache-Control", file.cache_control))
    if file.offers_ranges:
        headers.append(("Accept-Ranges", "bytes"))
    return tuple(headers)


def http_date(moment: datetime) -> str:
    """A date as HTTP writes it; the moment must be in UTC."""
    return format_datetime(moment, usegmt=True)


def _is_current(file: File, received: ReceivedRequest) -> bool:
    if received.header("If-None-Match") is not None:
        return file.etag is not None and _has_etag(received, file.etag)
    since = _date(received.header("If-Modified-Since"))
    return since is not None and file.modified.replace(microsecond=0) <= since


def _has_etag(received: ReceivedRequest, etag: str) -> bool:
    known = [value.strip().removeprefix("W/") for value in (received.header("If-None-Match") or "").split(",")]
    return etag in known or "*" in known


def _if_range_holds(file: File, received: ReceivedRequest) -> bool:
    condition = received.header("If-Range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == file.etag
    return _date(condition) == file.modified.replace(microsecond=0)


def _byte_range(range_header: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None for several or malformed ranges, which may be ignored (RFC 9110)."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", range_header.strip())
    if found is None or range_header.strip() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _not_modified(response: FakeResponse) -> FakeResponse:
    return replace(response, status=304, content=NOTHING)


def _date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
