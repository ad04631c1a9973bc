"""Where a redirect leads, and whether it may be followed."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.routing import may_be_redirected_to
from ppmproxy.upstream.messages import UpstreamRequest

MAX_HOPS = 10
STATUSES = frozenset({301, 302, 303, 307, 308})

_TELL_ADMINISTRATOR = "this is the server's to mend: tell its administrator"


def next_hop(request: UpstreamRequest, upstream: Upstream, url: str, location: str) -> str:
    """The URL that a redirect from `url` leads to; `UpstreamUnexpectedError` when it must not be followed."""
    if not request.is_repeatable:
        what = f"{_place(url)} redirects a {request.method}, which cannot be sent twice"
        raise UpstreamUnexpectedError(what, "check the upstream's url in the settings: scheme, host and path")
    try:
        target = urljoin(url, location.replace(" ", "%20")) if location.isprintable() else ""
        origin = Origin.of(target)
    except ValueError as error:
        what = f"{_place(url)} redirects to something that is no http address"
        raise UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR) from error
    if url.startswith("https:") and origin.scheme == "http":
        raise UpstreamUnexpectedError(f"{_place(url)} redirects from https to plain http", _TELL_ADMINISTRATOR)
    target = _without_user(target.partition("#")[0])
    if may_carry_token(target, upstream.url) and not may_be_redirected_to(request.method, target, upstream):
        what = f"{upstream.url} redirects to a part of itself that is not forwarded"
        raise UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR)
    return target


def to_a_secret(url: str) -> UpstreamUnexpectedError:
    """The error that explains a redirect to an address that has a known secret in it."""
    return UpstreamUnexpectedError(f"{_place(url)} redirects to an address with our token in it", _TELL_ADMINISTRATOR)


def too_many_hops(upstream: Upstream) -> UpstreamUnexpectedError:
    """The error that explains a redirect without end."""
    what = f"{upstream.url} redirects in circles: more than {MAX_HOPS} times"
    return UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR)


def _without_user(url: str) -> str:
    """A URL without user name and password, which would be sent along as a credential that nobody here chose."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if "@" in parts.netloc else url


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
