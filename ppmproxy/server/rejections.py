"""Rejections by the upstream (401, 403, a hidden 404) and the errors that explain them.

Package Manager answers 401, 403 or 404 to a request that lacks a token (versions differ). With a token, 401 means that
it is not valid, and 403 that it is valid but does not permit this.
"""

from __future__ import annotations

import json
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
    use: Use = Use.READ  # what the request was for

    def said(self) -> str:
        """Status, reason phrase and words, for people."""
        head = one_line(f"{self.status} {self.reason}")
        return f"{head}: {self.words}" if self.words and self.words != self.reason else head


def words_of(text: str, content_type: str) -> str:
    """The text of an error body, as one line without markup."""
    if "html" in content_type.lower() or "xml" in content_type.lower():  # object storage speaks XML
        text = unescaped(_TAGS.sub(" ", text))
    elif "json" in content_type.lower():
        text = _only_text_of(text)
    return shortened(one_line(text), MOST_WORDS)


def _only_text_of(document: str) -> str:
    """The one value of a JSON object such as ``{"error": "..."}``; anything else as it is."""
    try:
        values = list(json.loads(document).values())
    except (ValueError, AttributeError, RecursionError):
        return document
    return values[0] if len(values) == 1 and isinstance(values[0], str) else document


def more_specific(first: Rejection | None, second: Rejection) -> Rejection:
    """Of two rejections, of Bearer and then of Basic, the one that explains more.

    A 403 means that the token was accepted; a 401 to the other scheme only means that this scheme is not.
    """
    return first if first is not None and first.status == 403 and second.status == 401 else second  # noqa: PLR2004


def error_for(
    refusal: Rejection,
    upstream: Upstream,
    lookup: LookupResult,
    now: float,
    *,
    in_ci: bool = False,
) -> PpmProxyError:
    """The error that explains a 401 or 403 to a request within the upstream, or a 404 that hides a repository."""
    credential = lookup.credential or lookup.rejected
    if credential is None:
        return _missing(refusal, upstream, lookup, in_ci=in_ci)
    if credential.has_expired(now):
        what = f"the token from {credential.source} has expired ({upstream.url} answered {refusal.status})"
        return TokenExpiredError(what, _renewal_of(credential, in_ci=in_ci))
    if refusal.status == 403:  # noqa: PLR2004
        what = f"{upstream.url} answered {refusal.said()}"
        return NotPermittedError(what, _way_to_permission(credential, refusal.use))
    what = f"{upstream.url} rejects the token from {credential.source} ({refusal.status})"
    return TokenRejectedError(what, _renewal_of(credential, in_ci=in_ci))


def _missing(refusal: Rejection, upstream: Upstream, lookup: LookupResult, *, in_ci: bool) -> PpmProxyError:
    if not upstream.configured:
        what = f"{upstream.url} requires a token ({refusal.status}), and the settings name no other Package Manager"
        return TokenMissingError(what, "set PPMPROXY_UPSTREAM to the URL of yours")
    what = f"{upstream.url} requires a token ({refusal.status}), and none was found"
    named = lookup.broken_source or (lookup.first_source if upstream.credentials is not None else None)
    if named:  # the cause first: pip and R show the start of a long message
        what = f"{named.source} gives no token: {named.why}, and {upstream.url} requires one ({refusal.status})"
    return TokenMissingError(what, way_to_a_token(upstream, lookup, in_ci=in_ci))


def way_to_a_token(upstream: Upstream, lookup: LookupResult, *, in_ci: bool = False) -> str:
    """What to do where none was found; places that the settings do not name are of no use then.

    `in_ci`: in a job of a build server nobody can sign in.
    """
    if upstream.credentials is not None and not lookup.skipped:
        return f"add a source for this repository to [[upstream.{upstream.name}.credentials]]"
    can_sign_in = upstream.credentials is None and not in_ci
    if lookup.broken_source:
        return "correct that source" + (", or run `ppmproxy login`" if can_sign_in else "")
    if upstream.credentials is not None:
        return "put a token there"
    if in_ci:
        return "set PPMPROXY_TOKEN or PPMPROXY_TOKEN_FILE in the job"
    return "run `ppmproxy login`, or set PPMPROXY_TOKEN or PPMPROXY_TOKEN_FILE"


def _renewal_of(credential: Credential, *, in_ci: bool) -> str:
    new = "put a new token there, then try again"
    return new if in_ci else credential.remedy or new


def _way_to_permission(credential: Credential, use: Use) -> str:
    """What to do about a valid token that may not do this; short, to leave room for the upstream's words."""
    token = f"(the token is from {credential.source})"  # left out first where there is no room
    missing = missing_scope(credential.claims, use)
    if use is Use.UPLOAD and missing:
        return f"use a token with the scope {missing} for uploads {token}"
    return f"ask its administrator for access {token}"


def rejected_elsewhere(refusal: Rejection, place: str, upstream: Upstream) -> PpmProxyError:
    """The error that explains a 401 or 403 from another origin, where the token never goes."""
    what = f"{place} answered {refusal.said()}, and the token goes to {upstream.url} only"
    return RejectedElsewhereError(what, "tell the administrator of the Package Manager, which redirects there")
