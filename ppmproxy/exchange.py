"""One request and the upstream's answer: with which credential, in which scheme, and what its no means.

To change when a request is offered to the upstream again, open this file.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ppmproxy.authorization import REFUSALS, may_carry_token, schemes_to_try
from ppmproxy.codings import READABLE, BrokenCodingError, Decoder
from ppmproxy.credential_sources import CredentialChain
from ppmproxy.credentials import Search, Use, Wanted, encoded_forms
from ppmproxy.errors import TokenRejectedError, UpstreamError
from ppmproxy.refusals import Refusal, echoes, elsewhere, error_for, graver, words_of
from ppmproxy.routing import Kind, LinkMap, Target
from ppmproxy.settings import Scheme, Upstream
from ppmproxy.sign_in_desk import SignInDesk
from ppmproxy.status import Standing
from ppmproxy.upstream import Outgoing, Received, UpstreamClient

MOST_READ_OF_REFUSAL = 1 << 14  # bytes
LONGEST_ERROR_PAGE = 1 << 18  # bytes, as they come and without their coding
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404
MAX_CREDENTIALS = 3  # offered for one request: each is another one, but a chain may be long
MOST_REMEMBERED = 1000  # indexes
VISIBLE_FOR = 60.0  # seconds for which it is remembered whether a repository shows itself without a token


@dataclass(frozen=True, slots=True)
class Way:
    """Everything that leads to one upstream."""

    upstream: Upstream
    client: UpstreamClient
    chain: CredentialChain
    links: LinkMap
    desk: SignInDesk
    standing: Standing = field(default_factory=Standing)
    now: Callable[[], float] = time.time
    schemes: dict[str, Scheme] = field(default_factory=dict)  # what worked, by repository
    shows_itself: dict[str, tuple[float, bool]] = field(default_factory=dict)  # without a token, by index

    async def credential_for(self, target: Target) -> Search:
        """The credential to use for a target; an upstream nobody configured is never given one."""
        if not self.upstream.configured or not may_carry_token(target.url, self.upstream):
            return Search(None)
        return await self.chain.find(self.wanted_for(target))

    async def look_around(self) -> None:
        """Look for a credential before anybody needs one, so that it can be said whether there is any."""
        if self.upstream.configured and self.standing.search is None:
            self.standing.search = await self.chain.find(Wanted(self.upstream.url))

    async def close(self) -> None:
        """Give up a sign-in that nobody waits for any more, and close the connections."""
        await self.desk.close()
        await self.client.close()

    def wanted_for(self, target: Target) -> Wanted:
        """What a credential for a target must be good for."""
        return Wanted(self.upstream.url, target.repo, Use.UPLOAD if target.kind is Kind.UPLOAD else Use.READ)


@asynccontextmanager
async def answer_from(way: Way, target: Target, outgoing: Outgoing, search: Search) -> AsyncIterator[Received]:
    """The upstream's answer, once it has taken the request; raises the `PpmProxyError` that explains a refusal.

    A credential that the upstream refuses is looked up again, once for all who wait, and the request is sent again if
    that brings another one and the body has not gone.
    """
    refusal: Refusal | None = None
    for _ in range(MAX_CREDENTIALS):
        async with _offered(way, target, replace(outgoing, credential=search.credential), search) as answer:
            if isinstance(answer, Received):
                yield answer
                return
            refusal = answer
        renewed = await _renewed(way, target, refusal, search)
        if renewed.credential is None or isinstance(outgoing.body, AsyncIterator):
            break
        search = renewed
    assert refusal is not None  # noqa: S101 - the loop ran
    error = error_for(refusal, way.upstream, search, way.now(), way.wanted_for(target).use)
    if target.kind is Kind.UPLOAD and way.upstream.scheme is Scheme.AUTO and isinstance(error, TokenRejectedError):
        error.hint += '; it was sent as Basic: if the server wants uploads with Bearer, set scheme = "bearer"'
    raise error


async def _renewed(way: Way, target: Target, refusal: Refusal, search: Search) -> Search:
    """What the sources have now, without the credential that was refused; nothing when another would not help."""
    credential = search.credential
    if credential is None or (refusal.status == FORBIDDEN and not credential.has_expired(way.now())):
        return Search(None)
    way.chain.reject(credential, way.wanted_for(target))
    return await way.credential_for(target)


@asynccontextmanager
async def _offered(way: Way, target: Target, outgoing: Outgoing, search: Search) -> AsyncIterator[Received | Refusal]:
    """The upstream's answer to a request with one credential, offered in each scheme that may be the right one."""
    refusal: Refusal | None = None
    schemes = _schemes(way, target, outgoing)
    remembered = way.schemes.get(target.repo)
    for scheme in schemes:
        async with way.client.send(replace(outgoing, scheme=scheme)) as received:
            is_elsewhere = not may_carry_token(received.url, way.upstream)
            is_settled = scheme in {remembered, schemes[-1]} or is_elsewhere
            if received.status not in REFUSALS or (is_settled and received.status == NOT_FOUND):
                _remember(way, target, scheme, received)
                await _check_not_hidden(way, target, search, received)
                yield received
                return
            refusal = graver(refusal, await _refusal(received))
            if is_elsewhere:
                raise elsewhere(refusal, urlsplit(received.url).netloc, way.upstream)
            if scheme is remembered and received.status == FORBIDDEN:
                break  # the token was understood: another scheme would say no more
    way.schemes.pop(target.repo, None)
    assert refusal is not None  # noqa: S101 - there is at least one scheme
    yield refusal


def _schemes(way: Way, target: Target, outgoing: Outgoing) -> tuple[Scheme, ...]:
    if outgoing.credential is None:
        return (Scheme.BEARER,)  # nothing to offer in any scheme
    known = schemes_to_try(way.upstream.scheme, way.schemes.get(target.repo))
    others = schemes_to_try(way.upstream.scheme, None)
    schemes = (*known, *(scheme for scheme in others if scheme not in known))  # a server may change its mind
    if target.kind is Kind.UPLOAD and len(schemes) > 1:
        return (Scheme.BASIC,)  # a streamed body goes once; Basic is what is documented for uploads
    return schemes


def _remember(way: Way, target: Target, scheme: Scheme, received: Received) -> None:
    if received.carried_token and received.status not in REFUSALS:
        way.schemes[target.repo] = scheme


async def _refusal(received: Received) -> Refusal:
    """The upstream's no, with as much of its body as explains it."""
    start: list[bytes] = []
    with suppress(UpstreamError):  # what came so far says enough
        await read_start(received.chunks(), start)
    return refusal_of(received, start)


async def read_start(chunks: AsyncIterator[bytes], start: list[bytes], most: int = MOST_READ_OF_REFUSAL) -> None:
    """Read the start of a body, `most` bytes and perhaps a few more; the rest is still to be read. `UpstreamError`."""
    async for chunk in chunks:
        start.append(chunk)
        if sum(map(len, start)) >= most:
            return


def refusal_of(received: Received, start: list[bytes]) -> Refusal:
    """The upstream's no, by its head and the start of its body."""
    body = _readable(received, start, MOST_READ_OF_REFUSAL)
    if len(body) >= MOST_READ_OF_REFUSAL:
        body = body[: max(body.rfind(b" "), 0)]  # the last word may be half a token, which no mask would know
    words = "" if _has_token(received, body) else words_of(body, received.header("Content-Type") or "")
    return Refusal(received.status, received.reason, words)


def may_tell_token(received: Received, body: list[bytes]) -> bool:
    """Whether a body may have the token of its request in it, as pages for debugging do.

    So may what is very long, and what cannot be read: in an unknown coding, or in UTF-16.
    """
    if (received.header("Content-Encoding") or "").strip().lower() not in READABLE:
        return any(body)
    try:
        readable = _readable(received, body, LONGEST_ERROR_PAGE, is_strict=True)
    except BrokenCodingError:
        return True
    is_too_long = max(sum(map(len, body)), len(readable)) >= LONGEST_ERROR_PAGE
    return is_too_long or b"\0" in readable or _has_token(received, readable)


def _has_token(received: Received, body: bytes) -> bool:
    credential = received.credential
    return credential is not None and echoes(body, encoded_forms(credential.secret.reveal(), credential.user))


def _readable(received: Received, start: list[bytes], most: int, *, is_strict: bool = False) -> bytes:
    """At most so many bytes of a body, without its coding; of one that is broken what there is, if not `is_strict`."""
    body = bytearray()
    try:
        decoder = Decoder((received.header("Content-Encoding") or "").strip().lower())
        for piece in (piece for chunk in start for piece in decoder.feed(chunk)):
            body += piece[: most - len(body)]
            if len(body) >= most:
                break  # the rest may inflate to a thousand times as much
    except BrokenCodingError:
        if is_strict:
            raise
    return bytes(body)


async def _check_not_hidden(way: Way, target: Target, search: Search, received: Received) -> None:
    """Tell a missing project from a repository that hides itself from those without a token.

    Some servers answer 404 where others say 401. An authentication failure must not look like a missing package: with
    a second index configured, pip would go and take the name from there.
    """
    is_valid = search.credential is not None and not search.credential.has_expired(way.now())
    if received.status != NOT_FOUND or is_valid or not way.upstream.configured:
        return
    if not may_carry_token(received.url, way.upstream):
        return
    root = _index_of(target, way.upstream)
    is_hidden = not await _shows_itself(way, root) if root else target.kind is Kind.UPLOAD
    if is_hidden:
        raise error_for(Refusal(NOT_FOUND), way.upstream, search, way.now(), way.wanted_for(target).use)


def _index_of(target: Target, upstream: Upstream) -> str:
    """URL of the index that the target belongs to; "" when that cannot be told from its path."""
    below = urlsplit(target.url).path[len(urlsplit(upstream.url).path) :]
    segments = below.split("/")[1:]
    if target.kind in {Kind.UPLOAD, Kind.API}:
        return ""
    if "contrib" in segments:  # of R packages: sources, and binaries in bin/<platform>/contrib
        place = min((segments.index(one) for one in ("src", "bin") if one in segments), default=0)
        return "/".join([upstream.url, *segments[:place], "src/contrib/PACKAGES"])
    if "simple" in segments:
        return "/".join([upstream.url, *segments[: segments.index("simple") + 1], ""])
    is_of_python = target.kind in {Kind.INDEX_PAGE, Kind.FILE} and len(segments) > 2  # noqa: PLR2004
    return f"{upstream.url}/{segments[0]}/{segments[1]}/simple/" if is_of_python else ""


async def _shows_itself(way: Way, root: str) -> bool:
    seen_at, shows = way.shows_itself.get(root, (float("-inf"), False))
    if 0 <= way.now() - seen_at < VISIBLE_FOR:  # below 0: the clock was set back
        return shows
    async with way.client.send(Outgoing("HEAD", root, [("Accept", "text/html")])) as received:
        shows = received.status not in REFUSALS
    while len(way.shows_itself) >= MOST_REMEMBERED:
        del way.shows_itself[next(iter(way.shows_itself))]
    way.shows_itself[root] = (way.now(), shows)
    return shows
