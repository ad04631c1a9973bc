"""One request and the upstream's answer: with which credential, in which scheme, and what its no means.

To change when a request is offered to the upstream again, open this file.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ppmproxy.auth.credential import Use
from ppmproxy.auth.leaks import contains_any
from ppmproxy.auth.policy import REFUSALS, Scheme, may_carry_token, schemes_to_try
from ppmproxy.auth.secret import encoded_forms
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.chain import CredentialChain
from ppmproxy.credentials.interactive import InteractiveSignIn
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.errors import TokenRejectedError, UpstreamError
from ppmproxy.index.codings import READABLE, BrokenCodingError, Decoder
from ppmproxy.index.routing import LinkMap, ResourceKind, Target
from ppmproxy.server.rejections import Rejection, error_for, more_specific, rejected_elsewhere, words_of
from ppmproxy.server.state import UpstreamState
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

MOST_READ_OF_REFUSAL = 1 << 14  # bytes
LONGEST_ERROR_PAGE = 1 << 18  # bytes, as they come and without their coding
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
MAX_CREDENTIALS = 3  # offered for one request: each is another one, but a chain may be long
MOST_REMEMBERED = 1000  # indexes
VISIBLE_FOR = 60.0  # seconds for which it is remembered whether a repository shows itself without a token


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """Everything that leads to one upstream."""

    upstream: Upstream
    client: UpstreamClient
    chain: CredentialChain
    links: LinkMap
    sign_in: InteractiveSignIn
    upstream_state: UpstreamState = field(default_factory=UpstreamState)
    now: Callable[[], float] = time.time
    schemes: dict[str, Scheme] = field(default_factory=dict)  # what worked, by repository
    is_public: dict[str, tuple[float, bool]] = field(default_factory=dict)  # without a token, by index

    async def credential_for(self, target: Target) -> LookupResult:
        """The credential to use for a target; an upstream nobody configured is never given one."""
        if not self.upstream.configured or not may_carry_token(target.url, self.upstream.url):
            return LookupResult(None)
        return await self.chain.find(self.token_request_for(target))

    async def look_around(self) -> None:
        """Look for a credential before anybody needs one, so that it can be said whether there is any."""
        if self.upstream.configured and self.upstream_state.lookup is None:
            self.upstream_state.lookup = await self.chain.find(TokenRequest(self.upstream.url))

    async def close(self) -> None:
        """Give up a sign-in that nobody waits for any more, and close the connections."""
        await self.sign_in.close()
        await self.client.close()

    def token_request_for(self, target: Target) -> TokenRequest:
        """What a credential for a target must be good for."""
        return TokenRequest(
            self.upstream.url, target.repo, Use.UPLOAD if target.kind is ResourceKind.UPLOAD else Use.READ
        )


@asynccontextmanager
async def fetch_authenticated(
    session: UpstreamSession, target: Target, upstream_request: UpstreamRequest, lookup: LookupResult
) -> AsyncIterator[UpstreamResponse]:
    """The upstream's answer, once it has taken the request; raises the `PpmProxyError` that explains a refusal.

    A credential that the upstream refuses is looked up again, once for all who wait, and the request is sent again if
    that brings another one and the body has not gone.
    """
    refusal: Rejection | None = None
    for _ in range(MAX_CREDENTIALS):
        async with _try_schemes(
            session, target, replace(upstream_request, credential=lookup.credential), lookup
        ) as answer:
            if isinstance(answer, UpstreamResponse):
                yield answer
                return
            refusal = answer
        renewed = await _renewed(session, target, refusal, lookup)
        if renewed.credential is None or isinstance(upstream_request.body, AsyncIterator):
            break
        lookup = renewed
    assert refusal is not None  # noqa: S101 - the loop ran
    error = error_for(refusal, session.upstream, lookup, session.now(), session.token_request_for(target).use)
    if (
        target.kind is ResourceKind.UPLOAD
        and session.upstream.scheme is Scheme.AUTO
        and isinstance(error, TokenRejectedError)
    ):
        error.hint += '; it was sent as Basic: if the server wants uploads with Bearer, set scheme = "bearer"'
    raise error


async def _renewed(session: UpstreamSession, target: Target, refusal: Rejection, lookup: LookupResult) -> LookupResult:
    """What the sources have now, without the credential that was refused; nothing when another would not help."""
    credential = lookup.credential
    if credential is None or (refusal.status == FORBIDDEN and not credential.has_expired(session.now())):
        return LookupResult(None)
    session.chain.reject(credential, session.token_request_for(target))
    return await session.credential_for(target)


@asynccontextmanager
async def _try_schemes(
    session: UpstreamSession, target: Target, upstream_request: UpstreamRequest, lookup: LookupResult
) -> AsyncIterator[UpstreamResponse | Rejection]:
    """The upstream's answer to a request with one credential, offered in each scheme that may be the right one."""
    refusal: Rejection | None = None
    schemes = _schemes(session, target, upstream_request)
    remembered = session.schemes.get(target.repo)
    for scheme in schemes:
        async with session.client.send(replace(upstream_request, scheme=scheme)) as response:
            is_elsewhere = not may_carry_token(response.url, session.upstream.url)
            is_settled = scheme in {remembered, schemes[-1]} or is_elsewhere
            if response.status not in REFUSALS or (is_settled and response.status == NOT_FOUND):
                _remember(session, target, scheme, response)
                await _check_not_hidden_by_auth(session, target, lookup, response)
                yield response
                return
            refusal = more_specific(refusal, await _refusal(response))
            if is_elsewhere:
                raise rejected_elsewhere(refusal, urlsplit(response.url).netloc, session.upstream)
            if scheme is remembered and response.status == FORBIDDEN:
                break  # the token was understood: another scheme would say no more
    session.schemes.pop(target.repo, None)
    assert refusal is not None  # noqa: S101 - there is at least one scheme
    yield refusal


def _schemes(session: UpstreamSession, target: Target, upstream_request: UpstreamRequest) -> tuple[Scheme, ...]:
    if upstream_request.credential is None:
        return (Scheme.BEARER,)  # nothing to offer in any scheme
    known = schemes_to_try(session.upstream.scheme, session.schemes.get(target.repo))
    others = schemes_to_try(session.upstream.scheme, None)
    schemes = (*known, *(scheme for scheme in others if scheme not in known))  # a server may change its mind
    if target.kind is ResourceKind.UPLOAD and len(schemes) > 1:
        return (Scheme.BASIC,)  # a streamed body goes once; Basic is what is documented for uploads
    return schemes


def _remember(session: UpstreamSession, target: Target, scheme: Scheme, response: UpstreamResponse) -> None:
    if response.carried_token and response.status not in REFUSALS:
        session.schemes[target.repo] = scheme


async def _refusal(response: UpstreamResponse) -> Rejection:
    """The upstream's no, with as much of its body as explains it."""
    start: list[bytes] = []
    with suppress(UpstreamError):  # what came so far says enough
        await read_start(response.chunks(), start)
    return refusal_of(response, start)


async def read_start(chunks: AsyncIterator[bytes], start: list[bytes], most: int = MOST_READ_OF_REFUSAL) -> None:
    """Read the start of a body, `most` bytes and perhaps a few more; the rest is still to be read. `UpstreamError`."""
    async for chunk in chunks:
        start.append(chunk)
        if sum(map(len, start)) >= most:
            return


def refusal_of(response: UpstreamResponse, start: list[bytes]) -> Rejection:
    """The upstream's no, by its head and the start of its body."""
    body = _readable(response, start, MOST_READ_OF_REFUSAL)
    if len(body) >= MOST_READ_OF_REFUSAL:
        body = body[: max(body.rfind(b" "), 0)]  # the last word may be half a token, which no mask would know
    words = "" if _has_token(response, body) else words_of(body, response.header("Content-Type") or "")
    return Rejection(response.status, response.reason, words)


def may_tell_token(response: UpstreamResponse, body: list[bytes]) -> bool:
    """Whether a body may have the token of its request in it, as pages for debugging do.

    So may what is very long, and what cannot be read: in an unknown coding, or in UTF-16.
    """
    if (response.header("Content-Encoding") or "").strip().lower() not in READABLE:
        return any(body)
    try:
        readable = _readable(response, body, LONGEST_ERROR_PAGE, is_strict=True)
    except BrokenCodingError:
        return True
    is_too_long = max(sum(map(len, body)), len(readable)) >= LONGEST_ERROR_PAGE
    return is_too_long or b"\0" in readable or _has_token(response, readable)


def _has_token(response: UpstreamResponse, body: bytes) -> bool:
    credential = response.credential
    return credential is not None and contains_any(body, encoded_forms(credential.secret.reveal(), credential.user))


def _readable(response: UpstreamResponse, start: list[bytes], most: int, *, is_strict: bool = False) -> bytes:
    """At most so many bytes of a body, without its coding; of one that is broken what there is, if not `is_strict`."""
    body = bytearray()
    try:
        decoder = Decoder((response.header("Content-Encoding") or "").strip().lower())
        for piece in (piece for chunk in start for piece in decoder.feed(chunk)):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break  # the rest may inflate to a thousand times as much
    except BrokenCodingError:
        if is_strict:
            raise
    return bytes(body)


async def _check_not_hidden_by_auth(
    session: UpstreamSession, target: Target, lookup: LookupResult, response: UpstreamResponse
) -> None:
    """Tell a missing project from a repository that hides itself from those without a token.

    Some servers answer 404 where others say 401. An authentication failure must not look like a missing package: with
    a second index configured, pip would go and take the name from there.
    """
    is_valid = lookup.credential is not None and not lookup.credential.has_expired(session.now())
    if response.status != NOT_FOUND or is_valid or not session.upstream.configured:
        return
    if not may_carry_token(response.url, session.upstream.url):
        return
    root = _index_of(target, session.upstream)
    is_hidden = not await _is_public(session, root) if root else target.kind is ResourceKind.UPLOAD
    if is_hidden:
        raise error_for(
            Rejection(NOT_FOUND), session.upstream, lookup, session.now(), session.token_request_for(target).use
        )


def _index_of(target: Target, upstream: Upstream) -> str:
    """URL of the index that the target belongs to; "" when that cannot be told from its path."""
    below = urlsplit(target.url).path[len(urlsplit(upstream.url).path) :]
    segments = below.split("/")[1:]
    if target.kind in {ResourceKind.UPLOAD, ResourceKind.API}:
        return ""
    if "contrib" in segments:  # of R packages: sources, and binaries in bin/<platform>/contrib
        place = min((segments.index(one) for one in ("src", "bin") if one in segments), default=0)
        return "/".join([upstream.url, *segments[:place], "src/contrib/PACKAGES"])
    if "simple" in segments:
        return "/".join([upstream.url, *segments[: segments.index("simple") + 1], ""])
    is_of_python = target.kind in {ResourceKind.INDEX_PAGE, ResourceKind.FILE} and len(segments) > 2  # noqa: PLR2004
    return f"{upstream.url}/{segments[0]}/{segments[1]}/simple/" if is_of_python else ""


async def _is_public(session: UpstreamSession, root: str) -> bool:
    seen_at, shows = session.is_public.get(root, (float("-inf"), False))
    if 0 <= session.now() - seen_at < VISIBLE_FOR:  # below 0: the clock was set back
        return shows
    async with session.client.send(UpstreamRequest("HEAD", root, [("Accept", "text/html")])) as response:
        shows = response.status not in REFUSALS
    while len(session.is_public) >= MOST_REMEMBERED:
        del session.is_public[next(iter(session.is_public))]
    session.is_public[root] = (session.now(), shows)
    return shows
