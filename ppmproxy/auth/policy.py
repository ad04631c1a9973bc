"""The policy for tokens: which requests carry one, and in which scheme.

It is applied to every hop of every request, redirects included. The token goes to the upstream's scheme, host and port,
to paths at or below its base path, and nowhere else.

Package Manager documents Basic with the user ``__token__`` (RFC 7617) for repositories and Bearer (RFC 6750) for its
API; servers take one of them, or both. ``auto`` tries Bearer first, then Basic, and remembers what worked.
"""

from __future__ import annotations

import base64
import enum
import re
from functools import lru_cache
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Credential
from ppmproxy.auth.origin import Origin
from ppmproxy.auth.paths import is_below


class Scheme(enum.Enum):
    """The HTTP authentication scheme of the token."""

    AUTO = "auto"
    BEARER = "bearer"
    BASIC = "basic"


REFUSALS = frozenset({401, 403, 404})  # the Package Manager's statuses for a wrong token, and for the wrong scheme

_CONTROL_OR_BLANK = re.compile(r"[\x00-\x20\x7f]")  # urlsplit drops some of these, and another parser others
_DOUBTFUL_IN_HOST = re.compile(r"[\\@]")  # where one parser sees the host's end, another sees a user name


@lru_cache(maxsize=64)  # called several times for each request
def may_carry_token(url: str, base_url: str) -> bool:
    """Whether a URL lies within an upstream: same origin, below its base path, and the same to every parser."""
    try:
        parts, base = urlsplit(url), urlsplit(base_url)
        is_same_origin = Origin.of_parts(parts) == Origin.of_parts(base)
    except ValueError:
        return False
    if _CONTROL_OR_BLANK.search(url) or _DOUBTFUL_IN_HOST.search(parts.netloc):
        return False
    return is_same_origin and is_below(base.path, parts.path or "/")


def authorization_for(url: str, base_url: str, credential: Credential | None, scheme: Scheme) -> str | None:
    """The ``Authorization`` header of one hop; None when it has none."""
    if credential is None or not may_carry_token(url, base_url):
        return None
    token = credential.secret.reveal()
    if scheme is Scheme.BASIC:
        return "Basic " + base64.b64encode(f"{credential.user}:{token}".encode()).decode()
    return f"Bearer {token}"


def schemes_to_try(configured: Scheme, remembered: Scheme | None) -> tuple[Scheme, ...]:
    """The schemes to try, in their order; only one when it is known."""
    if configured is not Scheme.AUTO:
        return (configured,)
    if remembered is not None:
        return (remembered,)
    return (Scheme.BEARER, Scheme.BASIC)
