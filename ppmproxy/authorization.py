"""The one place that decides whether a request carries the token, and how.

To change where the token goes, open this file. It is asked for every hop of every request, redirects included.

The token goes to the upstream's scheme, host and port, to paths at or below its base path, and nowhere else.
Package Manager documents Basic with the user ``__token__`` (RFC 7617) for repositories and Bearer (RFC 6750) for its
API; servers take one of them, or both. ``auto`` tries Bearer first, then Basic, and remembers what worked.
"""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from urllib.parse import urlsplit

from ppmproxy.credentials import Credential
from ppmproxy.origin import Origin
from ppmproxy.routing import is_below
from ppmproxy.settings import Scheme, Upstream

REFUSALS = frozenset({401, 403, 404})  # what Package Manager answers to a token that is no good, or given the wrong way

_CONTROL_OR_BLANK = re.compile(r"[\x00-\x20\x7f]")  # urlsplit drops some of these, and another parser others
_DOUBTFUL_IN_HOST = re.compile(r"[\\@]")  # where one parser sees the host's end, another sees a user name


def may_carry_token(url: str, upstream: Upstream) -> bool:
    """Whether a URL lies within the upstream: same origin, below its base path, and written so that this is certain."""
    return _lies_within(url, upstream.url)


@lru_cache(maxsize=64)  # it is asked several times about each request
def _lies_within(url: str, upstream_url: str) -> bool:
    try:
        parts, base = urlsplit(url), urlsplit(upstream_url)
        same_origin = Origin.of_parts(parts) == Origin.of_parts(base)
    except ValueError:
        return False
    if _CONTROL_OR_BLANK.search(url) or _DOUBTFUL_IN_HOST.search(parts.netloc):
        return False
    return same_origin and is_below(base.path, parts.path or "/")


def authorization_for(url: str, upstream: Upstream, credential: Credential | None, scheme: Scheme) -> str | None:
    """Value of the ``Authorization`` header for one hop, or None when it goes without."""
    if credential is None or not may_carry_token(url, upstream):
        return None
    token = credential.secret.reveal()
    if scheme is Scheme.BASIC:
        return "Basic " + base64.b64encode(f"{credential.user}:{token}".encode()).decode()
    return f"Bearer {token}"


def schemes_to_try(configured: Scheme, remembered: Scheme | None) -> tuple[Scheme, ...]:
    """In which ways to offer the token, in this order; only one when it is known."""
    if configured is not Scheme.AUTO:
        return (configured,)
    if remembered is not None:
        return (remembered,)
    return (Scheme.BEARER, Scheme.BASIC)
