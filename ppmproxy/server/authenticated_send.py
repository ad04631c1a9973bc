"""Sending a request with a credential: which one, in which scheme, and what to do when the upstream rejects it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urlsplit

from ppmproxy.auth.policy import REFUSALS, Scheme
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.errors import TokenRejectedError
from ppmproxy.index.routing import ResourceKind, Target
from ppmproxy.server.error_bodies import read_rejection
from ppmproxy.server.rejections import Rejection, more_specific, rejected_elsewhere
from ppmproxy.server.session import UpstreamSession
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse

MAX_CREDENTIALS = 3  # offered for one request: each is another request, but a chain may be long


@dataclass(frozen=True, slots=True)
class AuthenticatedFetcher:
    """The `Fetcher` that asks the upstream.

    A credential that the upstream rejects is looked up again, once for all requests that wait, and the request is sent
    again if that brings another credential and the body has not been sent.
    """

    session: UpstreamSession
    deadline: float | None = None  # until when what may pass is tried again; see `UpstreamClient.send`

    @asynccontextmanager
    async def fetch(
        self, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> AsyncIterator[UpstreamResponse]:
        """The upstream's response, once it has accepted the request; raises the error that explains a rejection."""
        rejection: Rejection | None = None
        for _ in range(MAX_CREDENTIALS):
            async with self._try_schemes(target, request, lookup) as outcome:
                if isinstance(outcome, UpstreamResponse):
                    yield outcome
                    return
                rejection = outcome
            renewed = await self._renewed(target, rejection, lookup)
            if renewed.credential is None or isinstance(request.body, AsyncIterator):
                break
            lookup = renewed
        assert rejection is not None  # noqa: S101 - the loop ran
        error = self.session.error_for(rejection, target, lookup)
        is_upload = target.kind is ResourceKind.UPLOAD
        if is_upload and self.session.upstream.scheme is Scheme.AUTO and isinstance(error, TokenRejectedError):
            error.hint += '; it was sent as Basic: if the server wants uploads with Bearer, set scheme = "bearer"'
        raise error

    async def _renewed(self, target: Target, rejection: Rejection, lookup: LookupResult) -> LookupResult:
        """What the sources have now, without the rejected credential; nothing when another one would not help."""
        session, credential = self.session, lookup.credential
        if credential is None:
            return LookupResult(None)
        if rejection.status == HTTPStatus.FORBIDDEN and not credential.has_expired(session.now()):
            return LookupResult(None)
        session.chain.reject(credential, session.token_request_for(target))
        return await session.credential_for(target)

    @asynccontextmanager
    async def _try_schemes(
        self, target: Target, request: UpstreamRequest, lookup: LookupResult
    ) -> AsyncIterator[UpstreamResponse | Rejection]:
        """The response to a request with one credential, offered in each scheme that may be the right one."""
        session = self.session
        rejection: Rejection | None = None
        schemes = session.schemes_for(target, lookup.credential)
        remembered = session.schemes.accepted_by(target.repo)
        for scheme in schemes:
            async with session.send(request.offering(lookup.credential, scheme), self.deadline) as response:
                is_elsewhere = not session.may_carry_token(response.url)
                is_settled = scheme in {remembered, schemes[-1]} or is_elsewhere
                if response.status not in REFUSALS or (is_settled and response.status == HTTPStatus.NOT_FOUND):
                    if response.has_carried_token and response.status not in REFUSALS:
                        session.schemes.record_accepted(target.repo, scheme)
                    await self._check_not_hidden_by_auth(target, lookup, response)
                    yield response
                    self._record_public(
                        target, request, response
                    )  # only now: a sign-in page with 200 raises on delivery
                    return
                rejection = more_specific(rejection, await read_rejection(response))
                if is_elsewhere:
                    raise rejected_elsewhere(rejection, urlsplit(response.url).netloc, session.upstream)
                if scheme is remembered and response.status == HTTPStatus.FORBIDDEN:
                    break  # the token was understood: another scheme would say no more
        session.schemes.record_refused(target.repo)
        assert rejection is not None  # noqa: S101 - there is at least one scheme
        yield rejection

    def _record_public(self, target: Target, request: UpstreamRequest, response: UpstreamResponse) -> None:
        """Record that the target's repository is public when the upstream has given something of it without a token.

        That may be the address of a file in a storage, as long as what is there was found to be no sign-in page.
        """
        is_success = response.status < HTTPStatus.MULTIPLE_CHOICES or response.status == HTTPStatus.NOT_MODIFIED
        is_storage = target.kind is ResourceKind.FILE and request.method == "GET"
        is_evidence = self.session.may_carry_token(request.url) and (
            is_storage or self.session.may_carry_token(response.url)
        )
        if response.has_carried_token or not is_success or not is_evidence:
            return
        index_url = _index_of(target, self.session.upstream)
        if index_url:
            self.session.visibility.record(index_url, self.session.now(), is_public=True)

    async def _check_not_hidden_by_auth(self, target: Target, lookup: LookupResult, response: UpstreamResponse) -> None:
        """Tell a missing project from a repository that hides itself from clients without a token.

        Some servers answer 404 where others answer 401. An authentication failure must not look like a missing package:
        with a second index configured, pip would take the name from there.
        """
        session = self.session
        is_valid = lookup.credential is not None and not lookup.credential.has_expired(session.now())
        if response.status != HTTPStatus.NOT_FOUND or is_valid or not session.upstream.configured:
            return
        if not session.may_carry_token(response.url):
            return
        index_url = _index_of(target, session.upstream)
        is_hidden = not await session.is_public(index_url) if index_url else target.kind is ResourceKind.UPLOAD
        if is_hidden:
            raise session.error_for(Rejection(HTTPStatus.NOT_FOUND), target, lookup)


def _index_of(target: Target, upstream: Upstream) -> str:
    """URL of the index that the target belongs to; "" when its path does not show that."""
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
