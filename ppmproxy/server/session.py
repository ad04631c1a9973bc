"""The session with one upstream: its connections, its credentials, its sign-in, and what is remembered of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ppmproxy.auth.credential import Credential, Use
from ppmproxy.auth.policy import REFUSALS, Scheme, may_carry_token, schemes_to_try
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.chain import CredentialChain
from ppmproxy.credentials.interactive import InteractiveSignIn
from ppmproxy.credentials.lookup import LookupResult, TokenRequest
from ppmproxy.errors import PpmProxyError
from ppmproxy.index.link_map import LinkMap
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server.download_slots import DownloadSlots
from ppmproxy.server.rejections import Rejection, error_for
from ppmproxy.server.upstream_state import UpstreamState
from ppmproxy.upstream.client import UpstreamClient
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

if TYPE_CHECKING:
    from ppmproxy.cache.fetcher import Cache

MAX_INDEXES = 1000  # whose visibility is remembered
VISIBILITY_LASTS = 60.0  # seconds

_SNAPSHOT = re.compile(r"/(?:latest|\d{4}-\d{2}-\d{2}[^/]*)(?=/(?:simple/|src/contrib/PACKAGES)\Z)")


class SchemeMemory:
    """Which authentication scheme each repository accepted last."""

    def __init__(self) -> None:
        self._accepted: dict[str, Scheme] = {}

    def accepted_by(self, repo: str) -> Scheme | None:
        """The scheme that was accepted last; None when none is known."""
        return self._accepted.get(repo)

    def record_accepted(self, repo: str, scheme: Scheme) -> None:
        self._accepted[repo] = scheme

    def record_refused(self, repo: str) -> None:
        """No scheme was accepted: the next request tries them all."""
        self._accepted.pop(repo, None)


class VisibilityMemory:
    """Which indexes could be read without a token a moment ago.

    One that can be read shows that its repository is public, in all its snapshots. One that cannot shows nothing of
    others: a snapshot may be missing.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, bool]] = {}

    def is_public(self, index_url: str, now: float) -> bool | None:
        """Whether it can be read without a token; None when that was not tried lately."""
        for place in (_repository_of(index_url), index_url):
            seen_at, is_public = self._seen.get(place, (float("-inf"), False))
            if 0 <= now - seen_at < VISIBILITY_LASTS:  # below 0: the clock was set back
                return is_public
        return None

    def record(self, index_url: str, now: float, *, is_public: bool) -> None:
        while len(self._seen) >= MAX_INDEXES:
            del self._seen[next(iter(self._seen))]
        self._seen[_repository_of(index_url) if is_public else index_url] = (now, is_public)


def _repository_of(index_url: str) -> str:
    """What the URLs of all snapshots of an index have in common."""
    return _SNAPSHOT.sub("/*", index_url, count=1)


@dataclass(frozen=True, slots=True)
class UpstreamSession:
    """Everything that serves one upstream, for as long as its settings are in force."""

    upstream: Upstream
    client: UpstreamClient
    chain: CredentialChain
    links: LinkMap
    sign_in: InteractiveSignIn
    state: UpstreamState = field(default_factory=UpstreamState)
    now: Callable[[], float] = time.time
    schemes: SchemeMemory = field(default_factory=SchemeMemory)
    visibility: VisibilityMemory = field(default_factory=VisibilityMemory)
    cache: Cache | None = None
    in_ci: bool = False  # whether this is a job of a build server, where nobody can sign in
    slots: DownloadSlots = field(init=False)

    def __post_init__(self) -> None:
        slots = DownloadSlots(self.upstream.max_connections, self.state.record_downloads)
        object.__setattr__(self, "slots", slots)
        self.sign_in.on_stored = self._find_credentials_again
        self.client.on_response = self.record_latency

    async def close(self) -> None:
        """Cancel a running sign-in and the downloads, and close the connections."""
        await self.sign_in.close()
        if self.cache is not None:
            await self.cache.close()
        await self.client.close()

    # credentials

    def token_request_for(self, target: Target) -> TokenRequest:
        """What a credential for a target must be good for."""
        use = Use.UPLOAD if target.kind is ResourceKind.UPLOAD else Use.READ
        return TokenRequest(self.upstream.url, target.repo, use)

    async def credential_for(self, target: Target) -> LookupResult:
        """The credential to use for a target; an upstream that nobody configured is never given one."""
        if not self.upstream.configured or not self.may_carry_token(target.url):
            return LookupResult(None)
        return await self.find_credential(self.token_request_for(target))

    async def find_credential(self, token_request: TokenRequest) -> LookupResult:
        """The credential for a purpose; the state of the upstream shows what was found."""
        lookup = await self.chain.find(token_request)
        self.state.record_lookup(token_request, lookup, self.chain.source_warnings)
        return lookup

    async def find_first_credential(self) -> None:
        """Look for a credential before anybody needs one, so that the state shows whether there is any."""
        if self.upstream.configured and self.state.snapshot().lookup is None:
            await self.find_credential(TokenRequest(self.upstream.url))

    async def _find_credentials_again(self) -> None:
        """A token was stored or forgotten: the state of the upstream shows what is found now."""
        for token_request in [*self.state.snapshot().lookups] or [TokenRequest(self.upstream.url)]:
            await self.find_credential(token_request)

    def can_sign_in_for(self, target: Target) -> bool:
        """Whether a token that a sign-in stores would be found for this target."""
        return self.chain.finds_sign_in_token(self.token_request_for(target))

    def may_carry_token(self, url: str) -> bool:
        """Whether the upstream's token may go to this URL."""
        return may_carry_token(url, self.upstream.url)

    def schemes_for(self, target: Target, credential: Credential | None) -> tuple[Scheme, ...]:
        """The schemes in which to offer a credential, the most promising one first."""
        if credential is None:
            return (Scheme.BEARER,)  # nothing to offer in any scheme
        known = schemes_to_try(self.upstream.scheme, self.schemes.accepted_by(target.repo))
        others = schemes_to_try(self.upstream.scheme, None)
        schemes = (*known, *(scheme for scheme in others if scheme not in known))  # a server may change its mind
        if target.kind is ResourceKind.UPLOAD and len(schemes) > 1:
            return (Scheme.BASIC,)  # a streamed body goes once; Basic is what is documented for uploads
        return schemes

    # requests and their outcome

    def send(
        self, request: UpstreamRequest, deadline: float | None = None
    ) -> AbstractAsyncContextManager[UpstreamResponse]:
        """The upstream's response; `UpstreamError` when there is none by the deadline, as `UpstreamClient.send`."""
        return self.client.send(request, deadline)

    def record_latency(self, seconds: float) -> None:
        """The head of a response has come after so many seconds."""
        self.state.record_latency(seconds, self.now())

    async def is_public(self, index_url: str) -> bool:
        """Whether an index can be read without a token; asked at most once in `VISIBILITY_LASTS`."""
        known = self.visibility.is_public(index_url, self.now())
        if known is not None:
            return known
        async with self.send(UpstreamRequest("HEAD", index_url, [("Accept", "text/html")])) as response:
            is_public = response.status not in REFUSALS
        # Another request may have read a page of the index meanwhile, which says more than a missing root.
        is_public = is_public or self.visibility.is_public(index_url, self.now()) is True
        self.visibility.record(index_url, self.now(), is_public=is_public)
        return is_public

    def error_for(self, rejection: Rejection, target: Target, lookup: LookupResult) -> PpmProxyError:
        """The error that explains why the upstream rejected a request for this target."""
        use = self.token_request_for(target).use
        return error_for(replace(rejection, use=use), self.upstream, lookup, self.now(), in_ci=self.in_ci)

    def record_success(self) -> None:
        """The upstream has answered."""
        self.state.record_success(self.now())

    def record_failure(self, why: str, silent_for: float = 0.0) -> None:
        """The upstream has not answered, for so many seconds."""
        self.state.record_failure(self.now(), why, silent_for)
