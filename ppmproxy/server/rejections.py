"""Rejections by the upstream (401, 403, a hidden 404) and the errors that explain them.

Package Manager answers 401, 403 or 404 to a request that lacks a token (versions differ). With a token, 401 means that
it is not valid, and 403 that it is valid but does not permit this.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ppmproxy.auth.character_references import unescaped
from ppmproxy.auth.credential import Credential, Use, missing_scope
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import (
    NotPermittedError,
    PpmProxyError,
    RejectedElsewhereError,
    TokenExpiredError,
    TokenMissingError,
    TokenRejectedError,
    one_line,
    shortened,
)

MOST_WORDS = 500  # characters kept of what the upstream said

_TAGS = re.compile(r"<(style|script|title)\b.*?(?:</\1\s*>|\Z)|<[^<>]*>", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rejection:
    """A request that the upstream rejected, in its own words."""

    status: int
    reason: str = ""
    words: str = ""

    def said(self) -> str:
        """Status, reason phrase and words, for people."""
        head = one_line(f"{self.status} {self.reason}")
        return f"{head}: {self.words}" if self.words and self.words != self.reason else head


def words_of(text: str, content_type: str) -> str:
    """The text of an error body, as one line without markup."""
    if "html" in content_type.lower() or "xml" in content_type.lower():  # object storage speaks XML
        text = unescaped(_TAGS.sub(" ", text))
    return shortened(one_line(text), MOST_WORDS)


def more_specific(first: Rejection | None, second: Rejection) -> Rejection:
    """Of two rejections, of Bearer and then of Basic, the one that explains more.

    A 403 means that the token was accepted; a 401 to the other scheme only means that this scheme is not.
    """
    return first if first is not None and first.status == 403 and second.status == 401 else second  # noqa: PLR2004


def error_for(
    refusal: Rejection, upstream: Upstream, lookup: LookupResult, now: float, use: Use = Use.READ
) -> PpmProxyError:
    """The error that explains a 401 or 403 to a request within the upstream, or a 404 that hides a repository."""
    credential = lookup.credential or lookup.rejected
    if credential is None:
        return _missing(refusal, upstream, lookup)
    if credential.has_expired(now):
        what = f"the token from {credential.source} has expired, {upstream.url} answered {refusal.status}"
        return TokenExpiredError(what, _renewal_of(credential))
    if refusal.status == 403:  # noqa: PLR2004
        what = f"{upstream.url} says {refusal.said()}"
        return NotPermittedError(what, _way_to_permission(credential, use))
    what = f"{upstream.url} does not accept the token from {credential.source} ({refusal.status})"
    return TokenRejectedError(what, _renewal_of(credential))


def _missing(refusal: Rejection, upstream: Upstream, lookup: LookupResult) -> PpmProxyError:
    if not upstream.configured:
        what = f"{upstream.url} answered {refusal.status}, and no Package Manager of your own is configured"
        return TokenMissingError(what, "set PPMPROXY_UPSTREAM to your Package Manager's address")
    what = f"{upstream.url} answered {refusal.status} without a token, and none was found"
    if lookup.broken:
        what += f": {lookup.broken}"  # what should have had one comes first: a long message may be cut at its end
    looked_at = f" (looked at: {lookup.nothing})" if lookup.nothing else ""
    return TokenMissingError(what, way_to_a_token(upstream, lookup) + looked_at)


def way_to_a_token(upstream: Upstream, lookup: LookupResult) -> str:
    """What to do where none was found; places that the settings do not name are of no use then."""
    if upstream.credentials is None:
        return "run `ppmproxy login`, or set PPMPROXY_TOKEN or PPMPROXY_TOKEN_FILE"
    if not lookup.skipped:
        return f"the settings name no source for this; add one to [[upstream.{upstream.name}.credentials]]"
    return "put a token where the settings look for one"


def _renewal_of(credential: Credential) -> str:
    return credential.remedy or "put a new token there"


def _way_to_permission(credential: Credential, use: Use) -> str:
    """What to do about a valid token that may not do this, as far as its scopes tell why."""
    scopes = credential.claims.scopes
    origin = f"the token came from {credential.source}" + (f", with the scopes {', '.join(scopes)}" if scopes else "")
    missing = missing_scope(credential.claims, use)
    if use is Use.UPLOAD and missing:
        return f'uploads need one with the scope {missing} ([[credentials]] with use = "upload"); {origin}'
    return f"ask its administrator for access; {origin}"


def rejected_elsewhere(refusal: Rejection, place: str, upstream: Upstream) -> PpmProxyError:
    """The error that explains a 401 or 403 from another origin, where the token never goes."""
    what = f"{place} answered {refusal.said()}; the token only goes to {upstream.url}"
    return RejectedElsewhereError(what, "this is for the administrator of the Package Manager or that server")
