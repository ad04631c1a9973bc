"""How the stand-in reads forms: URL-encoded ones, and uploads in multipart/form-data."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from ppmproxy.testing.package_manager.content import Content, Memory, Spooled

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppmproxy.testing.package_manager.seen import Received

SMALL = 64 * 1024


@dataclass(frozen=True)
class Part:
    """One field of a multipart form; `filename` is None when it is not a file."""

    name: str
    filename: str | None
    content: Content


def url_encoded(body: Received) -> dict[str, str]:
    """The fields of an application/x-www-form-urlencoded body."""
    return dict(parse_qsl(bytes(body[:SMALL]).decode("utf-8", "replace"), keep_blank_values=True))


def multipart(content_type: str | None, body: Received) -> tuple[Part, ...]:
    """The parts of a multipart/form-data body (RFC 7578); none when it is not one."""
    boundary = _parameters(content_type or "").get("boundary")
    if boundary is None:
        return ()
    return tuple(part for start, stop in _spans(body, b"--" + boundary.encode()) if (part := _part(body, start, stop)))


def small_fields(parts: tuple[Part, ...]) -> dict[str, str]:
    """The parts that are no files, as text."""
    fields = [part for part in parts if part.filename is None and (part.content.size or 0) <= SMALL]
    return {part.name: b"".join(part.content.pieces()).decode("utf-8", "replace") for part in fields}


def _spans(body: Received, delimiter: bytes) -> Iterator[tuple[int, int]]:
    """Where each part begins, after its delimiter line, and ends, before the next one's line break."""
    at = body.find(delimiter)
    while at >= 0:
        start = at + len(delimiter) + 2
        at = body.find(b"\r\n" + delimiter, start - 2)
        if at >= 0:
            yield start, at
            at += 2


def _part(body: Received, start: int, stop: int) -> Part | None:
    end_of_head = body.find(b"\r\n\r\n", start, stop)
    if end_of_head < 0:
        return None
    head = bytes(body[start:end_of_head]).decode("utf-8", "replace")
    found = re.search(r"(?im)^content-disposition:\s*(.*)$", head)
    parameters = _parameters(found.group(1).strip()) if found else {}
    if "name" not in parameters:
        return None
    return Part(parameters["name"], parameters.get("filename"), _content(body, end_of_head + 4, stop))


def _content(body: Received, start: int, stop: int) -> Content:
    if isinstance(body, bytes):
        return Memory(body[start:stop])
    return Spooled(body, start, stop - start)


def _parameters(value: str) -> dict[str, str]:
    message = Message()
    message["content-type"] = value
    return {name.lower(): text for name, text in message.get_params(failobj=[], unquote=True)}
