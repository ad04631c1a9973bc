"""Requests of browsers: only the page for people answers them, and only to a person or to the page itself.

Every web page can send requests to localhost. No installer sends ``Origin`` or ``Sec-Fetch-Site``; every browser does,
to addresses that it trusts such as 127.0.0.1 (Fetch Metadata). ``none`` is an address that a person typed, and
``same-origin`` the page itself. What acts is a POST of the page with its own Host as ``Origin``; a form of another site
has another, and a header of the page's own (`identity_key`) besides, which no form can send.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from ppmproxy.errors import ForbiddenClientError
from ppmproxy.index.own_paths import FILES_PREFIX, OWN_PREFIX
from ppmproxy.index.routing import READ_METHODS

PAGE = OWN_PREFIX
METRICS = "/-/metrics"  # read by Prometheus, and by no browser
PAGE_PARTS = "/-/page/"  # its style, its script and its events
SIGN_IN, SIGN_OUT = "/-/sign-in", "/-/sign-out"
PAGE_ACTIONS = frozenset({SIGN_IN, SIGN_OUT})


class Visit(enum.Enum):
    """How a request is related to a browser."""

    NO_BROWSER = enum.auto()  # as far as its headers show
    OWN_PAGE = enum.auto()  # of a person or of the page, for one of the proxy's own pages
    AT_ROOT = enum.auto()  # of a person who typed the address without a path
    ACTION = enum.auto()  # of the page, to sign in or out


def visit_of(headers: Sequence[tuple[str, str]], method: str, raw_target: str) -> Visit:
    """The kind of visit; `ForbiddenClientError` for a request of a browser that is not answered.

    `Host` has been checked before. Names of headers are in lower case.
    """
    sites, origins, hosts = (_values(headers, name) for name in ("sec-fetch-site", "origin", "host"))
    path = raw_target.partition("?")[0]
    if path in PAGE_ACTIONS and method == "POST":
        if sites == ["same-origin"] and origins == [f"http://{hosts[0].strip().lower()}"]:
            return Visit.ACTION
        raise _not_from_the_page()
    if not origins and not any(name.startswith("sec-fetch-") for name, _ in headers):
        return Visit.NO_BROWSER
    if not origins and sites == ["none"] and _is_own(path):
        return Visit.OWN_PAGE
    if not origins and sites == ["same-origin"] and _is_of_the_page(path):
        return Visit.OWN_PAGE
    if not origins and sites in (["none"], ["same-origin"]) and path == "/" and _is_navigation(headers, method):
        return Visit.AT_ROOT
    raise ForbiddenClientError(
        "the request comes from a web page, which may not use ppmproxy",
        f"use pip, uv or another package installer, or open ppmproxy's own page at {PAGE}",
    )


def _is_own(path: str) -> bool:
    return path.startswith(OWN_PREFIX) and not path.startswith((FILES_PREFIX, METRICS))


def _is_of_the_page(path: str) -> bool:
    return path == PAGE or path.startswith(PAGE_PARTS)


def _is_navigation(headers: Sequence[tuple[str, str]], method: str) -> bool:
    """Whether a window of a browser is to show the answer, and no frame, script or image."""
    modes, destinations = _values(headers, "sec-fetch-mode"), _values(headers, "sec-fetch-dest")
    return method in READ_METHODS and modes == ["navigate"] and destinations == ["document"]


def _values(headers: Sequence[tuple[str, str]], wanted: str) -> list[str]:
    return [value for name, value in headers if name == wanted]


def _not_from_the_page() -> ForbiddenClientError:
    what = "only ppmproxy's own page may sign in or out, in a browser that sends Sec-Fetch-Site"
    return ForbiddenClientError(
        what, "open the page at 127.0.0.1 or localhost, or run `ppmproxy login` or `ppmproxy logout`"
    )
