"""The work for one request: look up the credential, fetch, wait for a sign-in, prepare the response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from ppmproxy.credentials.fetching import Fetcher
from ppmproxy.credentials.lookup import LookupResult
from ppmproxy.credentials.running_requests import RunningRequest
from ppmproxy.errors import SILENT, CredentialError, OfflineError, PpmProxyError, UpstreamError
from ppmproxy.index.routing import Target
from ppmproxy.server.authenticated_send import AuthenticatedFetcher
from ppmproxy.server.download_slots import DownloadLimitError, QueuedFetcher, is_download
from ppmproxy.server.preparing import Preparation, PreparedResponse, prepare
from ppmproxy.server.reload import InFlight
from ppmproxy.server.session import UpstreamSession
from ppmproxy.server.waiting import request_key
from ppmproxy.upstream.messages import UpstreamRequest, UpstreamResponse
from ppmproxy.upstream.retries import PATIENCE

Running = RunningRequest[PreparedResponse]


@dataclass(frozen=True, slots=True)
class RequestWork:
    """What one request takes, whether or not its client waits all the time."""

    session: UpstreamSession
    target: Target
    request: UpstreamRequest
    in_flight: InFlight  # of the services that it uses

    @property
    def key(self) -> Hashable:
        """What makes two requests the same: an upstream may be known by two mounts and by its real URL, too."""
        target = self.target
        place = (target.upstream.name, target.local, target.keeps_links)
        return place, request_key(self.request.method, self.request.url, self.request.headers)

    async def is_for(self, running: Running, timeout: float) -> bool:
        """Whether a running request has the credential that is found now, or that is not known in time."""
        try:
            return running.is_for(await asyncio.wait_for(self.session.credential_for(self.target), timeout))
        except asyncio.TimeoutError:
            return True

    @asynccontextmanager
    async def __call__(self, running: Running) -> AsyncIterator[PreparedResponse]:
        """The prepared response; raises the `PpmProxyError` for the client."""
        answered_at = self.session.state.answered_at
        with self.in_flight:
            async with AsyncExitStack() as stack:
                try:
                    prepared = await self._prepared(running, stack)
                except PpmProxyError as error:
                    self._record_outcome(error, running, answered_at)
                    raise
                yield prepared

    def _record_outcome(self, error: PpmProxyError, running: Running, answered_at: float | None) -> None:
        """Record whether the upstream has answered, for readiness; a rejection is an answer."""
        session = self.session
        if isinstance(error, (DownloadLimitError, OfflineError)):
            return  # the upstream has not been asked
        if not session.may_carry_token(self.target.url) or session.state.answered_at != answered_at:
            return
        if isinstance(error, SILENT):
            session.record_failure(str(error), asyncio.get_running_loop().time() - running.started_at)
        else:
            session.record_success()

    async def _prepared(self, running: Running, stack: AsyncExitStack) -> PreparedResponse:
        """The prepared response; what is cut before the client has any of it is fetched once more."""
        preparation = await self._preparation(running, stack)
        try:
            return await prepare(preparation)
        except UpstreamError as error:
            is_late = asyncio.get_running_loop().time() >= running.started_at + PATIENCE
            if is_late or not (error.may_pass and self.request.is_repeatable):
                raise
        await stack.aclose()
        return await prepare(await self._preparation(running, stack))

    async def _preparation(self, running: Running, stack: AsyncExitStack) -> Preparation:
        received = await self._fetched(running, stack)
        if not received.cache.startswith("hit"):
            self.session.record_success()
        return Preparation(received, self.target, self.request.method, self.session.links, running.attended)

    async def _fetched(self, running: Running, stack: AsyncExitStack) -> UpstreamResponse:
        fetcher = self._fetcher(running)
        lookup = await self.looked_up(running)
        try:
            received = await stack.enter_async_context(fetcher.fetch(self.target, self.request, lookup))
        except CredentialError as error:
            await self._wait_for_sign_in(error, running)
            lookup = await self.looked_up(running)
            received = await stack.enter_async_context(fetcher.fetch(self.target, self.request, lookup))
        running.lookup = LookupResult(received.credential)
        return received

    def _fetcher(self, running: Running) -> Fetcher:
        """What gets the answer: from the upstream, in its turn, or from the cache in front of it."""
        session, place_until = self.session, running.started_at + self.session.upstream.read_timeout

        def until(deadline: float | None) -> Fetcher:
            fetcher = AuthenticatedFetcher(session, deadline)
            if not is_download("GET", self.target):  # the cache may ask by another method than the client
                return fetcher
            return QueuedFetcher(fetcher, session.slots, running, place_until)

        return session.cache.in_front_of(until) if session.cache else until(None)

    async def looked_up(self, running: Running) -> LookupResult:
        """The credential for the request, from now on that of the running request."""
        running.lookup = await self.session.credential_for(self.target)
        return running.lookup

    async def _wait_for_sign_in(self, error: CredentialError, running: Running) -> None:
        await self.looked_up(running)  # without the rejected one
        if self.request.method != "GET" or not self.session.can_sign_in_for(self.target):
            raise error
        running.sign_in_error = error
        try:
            await self.session.sign_in.wait(error)
        finally:
            running.sign_in_error = None
