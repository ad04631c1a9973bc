"""Header filters, in both directions.

Towards the upstream an allow-list: what is not named here is not sent. Towards the client everything but headers of one
connection (RFC 9110 section 7.6.1), of the upstream's own sessions, or for its host name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from ppmproxy.config.network import HOP_BY_HOP
from ppmproxy.index.routing import ResourceKind
from ppmproxy.upstream.messages import Headers

DECODABLE = ("gzip", "deflate")  # for pages; aiohttp by itself would add br, which breaks pip and uv
LONGEST_RETRY_AFTER = 10  # seconds: pip waits that long silently

_FOR_PAGES = frozenset({"accept", "cache-control", "if-none-match", "if-modified-since", "user-agent"})
_FOR_OTHERS = _FOR_PAGES | {"range", "if-range"}
_BODY = frozenset({"content-type", "content-length"})

_ZERO = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*", re.IGNORECASE)

_UPSTREAM_ONLY = frozenset(
    {
        "set-cookie", "set-cookie2",  # the proxy has no sessions, and cookies ignore ports
        "www-authenticate", "proxy-authenticate", "authentication-info", "proxy-authentication-info",
        "strict-transport-security",  # would break every plain-http server on localhost
        "alt-svc",  # would lead around the proxy
    }
)  # fmt: skip
# For browsers only. On localhost they would apply to every other server there, or let other pages read.
_FOR_BROWSERS = frozenset(
    {
        "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
        "access-control-allow-origin", "access-control-allow-private-network", "access-control-expose-headers",
        "access-control-max-age", "clear-site-data", "cross-origin-resource-policy", "expect-ct", "nel",
        "public-key-pins", "refresh", "report-to", "reporting-endpoints", "service-worker-allowed",
        "timing-allow-origin", "x-content-type-options",
    }
)  # fmt: skip
_NEVER_SENT_ON = HOP_BY_HOP | _UPSTREAM_ONLY | _FOR_BROWSERS
AGAINST_BROWSERS = (
    ("X-Content-Type-Options", "nosniff"),  # no file is run as a script or shown as a page
    (
        "Cross-Origin-Resource-Policy",
        "same-origin",
    ),  # no page of another site may embed it, not even as an image
)
ON_OWN_PAGES = (*AGAINST_BROWSERS, ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"))
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_OF_THE_BODY = frozenset(
    {"content-length", "content-encoding", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"}
)
_NEVER_SENT_WITH_ANOTHER_BODY = _NEVER_SENT_ON | _OF_THE_BODY


def to_upstream(client: Iterable[tuple[str, str]], kind: ResourceKind, method: str) -> Headers:
    """Headers of the upstream request, without authorization and without those of the settings.

    A page is never requested in part: links in half a page cannot be made local. A file is requested without coding:
    pip breaks on a wheel with a ``Content-Encoding``. Headers of a body are sent only with a body: after a
    ``Content-Length`` without one, the upstream would take the next client's request for the body.
    """
    given = [(name.lower(), name, value) for name, value in client]
    crossing = _FOR_PAGES if kind is ResourceKind.INDEX_PAGE else _FOR_OTHERS
    if kind in {ResourceKind.UPLOAD, ResourceKind.API} and method == "POST":
        crossing |= _BODY
    crossing -= _nominated(given)
    kept = [(name, value) for lowered, name, value in given if lowered in crossing]
    asked = ",".join([value for lowered, _, value in given if lowered == "accept-encoding"])
    return [*kept, ("Accept-Encoding", _accept_encoding(asked, kind))]


def _accept_encoding(asked: str, kind: ResourceKind) -> str:
    if kind is ResourceKind.FILE:
        return "identity"
    if kind is ResourceKind.OTHER:
        return asked or "identity"  # streamed undecoded, in the coding that the client accepts
    codings = [coding.strip() for coding in asked.split(",")]
    return ", ".join(coding for coding in codings if _is_wanted(coding)) or "identity"


def _is_wanted(coding: str) -> bool:
    """Whether a member of ``Accept-Encoding`` can be decoded, and q=0 does not exclude it (RFC 9110 section 12.4.2)."""
    name, _, weight = coding.partition(";")
    return name.strip().lower() in DECODABLE and not _ZERO.fullmatch(weight)


def to_client(upstream: Iterable[tuple[str, str]], *, is_rewritten: bool = False, is_page: bool = False) -> Headers:
    """Headers of the response to the client.

    `is_rewritten`: the body is not the upstream's, so headers that describe its bytes are dropped. `is_page`: uv serves
    a page with ``Last-Modified`` alone from its cache for long, so a page without ``Cache-Control`` gets one.
    """
    given = [(name.lower(), name, value) for name, value in upstream]
    present = {lowered for lowered, _, _ in given}
    dropped = _NEVER_SENT_WITH_ANOTHER_BODY if is_rewritten else _NEVER_SENT_ON
    if "connection" in present:
        dropped |= _nominated(given)
    if "transfer-encoding" in present:
        dropped |= {"content-length"}  # the chunks are right, the length may be wrong (RFC 9112 section 6.3)
    if "retry-after" in present:
        given = [(lowered, name, _limited(lowered, value)) for lowered, name, value in given]
    kept = [one for one in given if one[0] not in dropped and _can_be_sent(one[0], one[2])]
    sent = [(name, value) for _, name, value in kept]
    if is_page and not any(lowered == "cache-control" for lowered, _, _ in kept):
        sent.append(("Cache-Control", "no-cache"))
    return sent


def _can_be_sent(lowered: str, value: str) -> bool:
    """Whether a value has no control characters, and a length is a number; one that has a token in it was masked."""
    return not _CONTROLS.search(value) and (lowered != "content-length" or (value.isascii() and value.isdigit()))


def _nominated(headers: Iterable[tuple[str, str, str]]) -> frozenset[str]:
    """Names that ``Connection`` declares to be for this hop only; of headers with their names in lower case first."""
    values = [value for lowered, _, value in headers if lowered == "connection"]
    return frozenset(token.strip().lower() for value in values for token in value.split(","))


def _limited(lowered: str, value: str) -> str:
    if lowered != "retry-after":
        return value
    seconds = int(value) if value.isascii() and value.isdigit() and len(value) < len("1000000") else LONGEST_RETRY_AFTER
    return str(min(seconds, LONGEST_RETRY_AFTER))
