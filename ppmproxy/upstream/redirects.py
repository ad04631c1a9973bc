"""Where a redirect leads, and whether it may be followed."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import quote, urlsplit

from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import names_api, plainest
from ppmproxy.auth.policy import may_carry_token
from ppmproxy.config.model import Upstream
from ppmproxy.errors import UpstreamUnexpectedError
from ppmproxy.index.link_map import PRINTABLE, leads_to
from ppmproxy.index.link_resolver import Reference, resolved
from ppmproxy.index.routing import may_be_redirected_to
from ppmproxy.upstream.messages import UpstreamRequest

MAX_HOPS = 10
STATUSES = frozenset({301, 302, 303, 307, 308})

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_TELL_ADMINISTRATOR = "tell the administrator of that server"


def next_hop(request: UpstreamRequest, upstream: Upstream, url: str, location: str) -> str:
    """The URL that a redirect from `url` leads to; `UpstreamUnexpectedError` when it must not be followed."""
    if not request.is_repeatable:
        what = f"{_place(url)} redirects a {request.method}, which cannot be sent twice"
        raise UpstreamUnexpectedError(what, "correct scheme, host and path of the upstream's url")
    try:
        target = _resolved(url, location)
        origin = Origin.of(str(target))
    except ValueError as error:
        what = f"{_place(url)} redirects to an address that is not http or https"
        raise UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR) from error
    if url.startswith("https:") and origin.scheme == "http":
        if not leads_to(origin, upstream.origin):
            raise UpstreamUnexpectedError(f"{_place(url)} redirects from https to plain http", _TELL_ADMINISTRATOR)
        target = replace(target, scheme="https:", authority=f"//{upstream.origin.netloc}")
    return _checked(request, upstream, str(_without_user(target)))


def _checked(request: UpstreamRequest, upstream: Upstream, target: str) -> str:
    """A target, unless it is a part of the upstream that no client could have asked for."""
    if may_carry_token(target, upstream.url):
        is_forwarded = may_be_redirected_to(request.method, target, upstream)
    else:  # elsewhere, or written so that servers read it in several ways
        is_forwarded = Origin.of(target) != upstream.origin or not names_api(plainest(urlsplit(target).path))
    if not is_forwarded:
        what = f"{upstream.url} redirects to a path that ppmproxy does not forward"
        raise UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR)
    return target


def to_a_secret(url: str) -> UpstreamUnexpectedError:
    """The error that explains a redirect to an address that has a known secret in it."""
    return UpstreamUnexpectedError(
        f"{_place(url)} redirects to an address that contains the token", _TELL_ADMINISTRATOR
    )


def too_many_hops(upstream: Upstream) -> UpstreamUnexpectedError:
    """The error that explains a redirect without end."""
    what = f"{upstream.url} redirects more than {MAX_HOPS} times"
    return UpstreamUnexpectedError(what, _TELL_ADMINISTRATOR)


def _resolved(url: str, location: str) -> Reference:
    """Where a ``Location`` leads, percent-encoded and without its fragment; `ValueError` for what is no address."""
    reference = Reference.of(location)
    if _CONTROLS.search(location) or not reference.authority.isascii():
        msg = "not an address"
        raise ValueError(msg)
    encoded = Reference.of(quote(location, safe=PRINTABLE, errors="surrogateescape"))
    return replace(resolved(encoded, Reference.of(url)), fragment="")


def _without_user(target: Reference) -> Reference:
    """A URL without user name and password, which would be sent along as a credential that nobody here chose."""
    return replace(target, authority=f"//{target.authority[2:].rpartition('@')[2]}")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
