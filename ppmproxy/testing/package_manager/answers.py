"""What the stand-in says to one request, before it goes on the wire: status, headers and content."""

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

    from ppmproxy.testing.package_manager.seen import ReceivedRequest

NOTHING = Memory(b"")

Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class FakeResponse:
    """One answer; content of unknown size goes out chunked."""

    status: int = 200
    headers: Headers = ()
    content: Content = NOTHING
    reason: str | None = None

    def with_headers(self, *headers: tuple[str, str]) -> FakeResponse:
        """The same answer with more headers."""
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True)
class File:
    """A file, and what its headers say."""

    content: Content
    content_type: str
    modified: datetime
    etag: str | None
    cache_control: str | None
    offers_ranges: bool


def text(words: str, content_type: str = "text/plain; charset=utf-8", status: int = 200) -> FakeResponse:
    """An answer in words."""
    return FakeResponse(status, (("Content-Type", content_type),), Memory(words.encode()))


def json_answer(document: object, status: int = 200) -> FakeResponse:
    """An answer in JSON."""
    return text(json.dumps(document), "application/json", status)


def redirect(location: str, status: int = 302) -> FakeResponse:
    """A redirect."""
    return FakeResponse(status, (("Location", location),))


def page_answer(page: FakeResponse, seen: ReceivedRequest, *, gzip_pages: bool, offers_etags: bool) -> FakeResponse:
    """A page as the client wants it: compressed, or not at all because the client has it (304)."""
    answer = page.with_headers(("Vary", "Accept, Accept-Encoding"))
    if not isinstance(answer.content, Memory):
        return answer
    data, suffix = answer.content.data, ""
    if gzip_pages and "gzip" in (seen.header("Accept-Encoding") or ""):
        data, suffix = gzip.compress(data, mtime=0), "-gzip"
        answer = replace(answer.with_headers(("Content-Encoding", "gzip")), content=Memory(data))
    if not offers_etags:
        return answer
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"'
    answer = answer.with_headers(("ETag", etag))
    return _not_modified(answer) if _has_etag(seen, etag) else answer


def file_answer(file: File, seen: ReceivedRequest) -> FakeResponse:
    """A file, whole, in part (206, 416), or not at all because the client has it (304)."""
    answer = FakeResponse(200, _file_headers(file), file.content)
    size = file.content.size
    if _client_has(file, seen):
        return _not_modified(answer)
    token_request = seen.header("Range")
    if not file.offers_ranges or size is None or token_request is None or not _if_range_holds(file, seen):
        return answer
    span = _span(token_request, size)
    if span is None:
        return answer
    start, stop = span
    if start >= stop:
        return FakeResponse(416, (("Content-Range", f"bytes */{size}"),))
    part = answer.with_headers(("Content-Range", f"bytes {start}-{stop - 1}/{size}"))
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


def _client_has(file: File, seen: ReceivedRequest) -> bool:
    if seen.header("If-None-Match") is not None:
        return file.etag is not None and _has_etag(seen, file.etag)
    since = _date(seen.header("If-Modified-Since"))
    return since is not None and file.modified.replace(microsecond=0) <= since


def _has_etag(seen: ReceivedRequest, etag: str) -> bool:
    known = [value.strip().removeprefix("W/") for value in (seen.header("If-None-Match") or "").split(",")]
    return etag in known or "*" in known


def _if_range_holds(file: File, seen: ReceivedRequest) -> bool:
    condition = seen.header("If-Range")
    if condition is None:
        return True
    if condition.startswith(('"', "W/")):
        return condition == file.etag
    return _date(condition) == file.modified.replace(microsecond=0)


def _span(token_request: str, size: int) -> tuple[int, int] | None:
    """First byte and the one after the last; None for several ranges or nonsense, which RFC 9110 lets us ignore."""
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", token_request.strip())
    if found is None or token_request.strip() == "bytes=-":
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _not_modified(answer: FakeResponse) -> FakeResponse:
    return replace(answer, status=304, content=NOTHING)


def _date(value: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(value) if value else None
    except ValueError:
        return None
