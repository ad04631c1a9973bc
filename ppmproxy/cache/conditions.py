"""Conditions and ranges of requests for what is here (RFC 9110 sections 13 and 14)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from ppmproxy.upstream.http_date import seconds_since_epoch
from ppmproxy.upstream.messages import Headers

IMMUTABLE = "max-age=31536000, immutable"
RECHECKED = "no-cache"  # of what may change under the same URL
CONDITIONS = ("range", "if-range", "if-none-match", "if-modified-since")  # fields of a request

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def header_of(headers: Headers, name: str) -> str | None:
    """The values of a request's header, joined; None where it has none."""
    values = [value for given, value in headers if given.lower() == name]
    return ", ".join(values) if values else None


def is_not_modified(request: Headers, etag: str, last_modified: str | None) -> bool:
    """Whether the client has this already (RFC 9110 section 13.1)."""
    if (known := header_of(request, "if-none-match")) is not None:
        tags = [tag.strip().removeprefix("W/") for tag in known.split(",")]
        return "*" in tags or etag in tags
    since = seconds_since_epoch(header_of(request, "if-modified-since"))
    changed = seconds_since_epoch(last_modified)
    return since is not None and changed is not None and changed <= since


def wanted_range(request: Headers, size: int, etag: str, last_modified: str | None) -> tuple[int, int] | None:
    """Beginning and end of the range that the client wants; None for the whole, an empty one for none there is.

    Several ranges, and malformed ones, are answered with the whole (RFC 9110 section 14.2).
    """
    found = _RANGE.fullmatch((header_of(request, "range") or "").strip())
    if found is None or found[0] == "bytes=-":
        return None
    condition = header_of(request, "if-range")
    if condition is not None and condition not in {etag, last_modified}:
        return None
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    start = min(int(first), size)
    return start, min(size, int(last) + 1) if last else size


@dataclass(frozen=True, slots=True)
class Representation:
    """A body that is here, and the head that it goes out with."""

    etag: str
    headers: list[tuple[str, str]]
    last_modified: str | None = None
    lasts: str = IMMUTABLE


def head_for(request: Headers, found: Representation, size: int) -> tuple[int, list[tuple[str, str]], slice]:
    """Status, headers and the part of the body for a request."""
    headers = [*found.headers, ("ETag", found.etag), ("Cache-Control", found.lasts), ("Accept-Ranges", "bytes")]
    if found.last_modified:
        headers.append(("Last-Modified", found.last_modified))
    if is_not_modified(request, found.etag, found.last_modified):
        return HTTPStatus.NOT_MODIFIED, headers, slice(0, 0)
    wanted = wanted_range(request, size, found.etag, found.last_modified)
    if wanted is None:
        return HTTPStatus.OK, [*headers, ("Content-Length", str(size))], slice(0, size)
    start, stop = wanted
    if start >= stop:
        nothing = [("Content-Range", f"bytes */{size}"), ("Content-Length", "0")]
        return HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, nothing, slice(0, 0)
    headers += [("Content-Range", f"bytes {start}-{stop - 1}/{size}"), ("Content-Length", str(stop - start))]
    return HTTPStatus.PARTIAL_CONTENT, headers, slice(start, stop)
