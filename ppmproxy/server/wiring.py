"""The wiring: which objects serve each upstream, and what lives as long as one reading of the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ppmproxy.access.descriptors import DescriptorShares
from ppmproxy.access.hardening import open_file_limit
from ppmproxy.access.policy import allowed_hosts
from ppmproxy.auth.child_env import child_environment
from ppmproxy.auth.credential import Credential
from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.auth.storage_secrets import storage_secrets
from ppmproxy.config.model import Settings, Upstream
from ppmproxy.credentials.browser import has_visible_browser, open_browser
from ppmproxy.credentials.chain import CredentialChain
from ppmproxy.credentials.configured_sources import SourceServices, build_chain
from ppmproxy.credentials.device_flow import Clock, exchange_token, github_identity_token, with_long_timeout
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.credentials.interactive import InteractiveSignIn, SignInPrompt
from ppmproxy.credentials.running_requests import RunningRequests
from ppmproxy.credentials.sign_in_token import SignInTokenStore
from ppmproxy.credentials.token_file import token_file_for
from ppmproxy.environment import Environment
from ppmproxy.errors import PpmProxyError
from ppmproxy.index.link_map import LinkMap
from ppmproxy.server.preparing import PreparedResponse
from ppmproxy.server.reload import InFlight
from ppmproxy.server.session import UpstreamSession
from ppmproxy.server.set_up_checks import Diagnose
from ppmproxy.server.state import State
from ppmproxy.server.upstream_state import SignInEnd, SignInPage, UpstreamState
from ppmproxy.server.waiting import WaitingLimits
from ppmproxy.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from ppmproxy.cache.fetcher import Cache
    from ppmproxy.cache.shared_tier import SharedTier
    from ppmproxy.cache.store import Store


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that serves requests under one reading of the settings.

    A reload keeps the redactor, the state and the running requests.
    """

    settings: Settings
    sessions: Mapping[str, UpstreamSession]  # by the upstream's name
    allowed_hosts: frozenset[str]
    redactor: Redactor
    state: State
    in_flight: InFlight = field(default_factory=InFlight)
    running: RunningRequests[PreparedResponse] = field(default_factory=RunningRequests)
    limits: WaitingLimits = field(default_factory=WaitingLimits)
    store: Store | None = None  # of the cache
    shared: SharedTier | None = None  # its tier that machines share

    async def close(self) -> None:
        """Close the connections to the upstreams."""
        for session in self.sessions.values():
            await session.close()


@dataclass(frozen=True, slots=True)
class SignInUi:
    """How a person may be asked to sign in: at a terminal, and where else the sign-in page is shown."""

    has_terminal: bool = False
    also_show: Callable[[DeviceGrant], None] = field(default=lambda _grant: None, repr=False)


@dataclass(frozen=True, slots=True)
class Wiring:
    """What sessions are made of besides the settings."""

    environment: Environment
    redactor: Redactor
    sign_in_ui: SignInUi = field(default_factory=SignInUi)
    diagnose: Diagnose | None = None  # the checks that the page offers
    sign_in_tokens: dict[str, SignInTokenStore] = field(default_factory=dict)  # by the upstream's URL; kept by a reload
    stores: list[Store] = field(default_factory=list)  # of the cache: one, once it is needed; kept by a reload
    shared: list[SharedTier] = field(default_factory=list)  # likewise: the tier of the cache that machines share
    sign_in_ended: Callable[[PpmProxyError | None], None] = field(default=lambda _error: None, repr=False)
    notify: Callable[[Upstream, DeviceGrant | None], None] = field(default=lambda _upstream, _grant: None, repr=False)

    def cut(self) -> None:
        """Wait no longer for uploads, also where `close` does."""
        for tier in self.shared:
            tier.cut()

    async def close(self, deadline: float = 0.0) -> None:
        """Write the sign-ins' tokens that are only in memory, if that is possible by now.

        Files are uploaded to the shared cache until the `deadline` on the monotonic clock.
        """
        for token_store in self.sign_in_tokens.values():
            await token_store.close()
        for tier in self.shared:
            await tier.close(deadline)
        for store in self.stores:
            await store.close()

    def services(self, settings: Settings, state: State) -> Services:
        """Everything for new settings; `ConfigError` when a certificate cannot be used."""
        for value in storage_secrets(self.environment.environ, settings.cache_url):
            self.redactor.add(Secret(value))
        caches = self._caches(settings, state)
        sessions = {
            upstream.name: self.session(
                upstream,
                tuple(other for other in settings.upstreams if other is not upstream),
                state.upstream(upstream.name),
                settings.cache_url,
                caches.get(upstream.name),
            )
            for upstream in settings.upstreams
        }
        store = self.stores[0] if caches else None
        shared = self.shared[0] if caches and self.shared else None
        return Services(settings, sessions, allowed_hosts(settings), self.redactor, state, store=store, shared=shared)

    def session(
        self,
        upstream: Upstream,
        others: tuple[Upstream, ...],
        state: UpstreamState,
        cache_url: str,
        cache: Cache | None = None,
    ) -> UpstreamSession:
        """Everything that serves one upstream beside others; `ConfigError` when a certificate cannot be used."""
        child_environ = child_environment(self.environment.environ, (upstream, *others), cache_url)
        share = max(1, DescriptorShares.of(open_file_limit()).upstream // (1 + len(others)))
        client = UpstreamClient(replace(upstream, max_connections=min(upstream.max_connections, share)), self.redactor)
        services = self._source_services(upstream, client)
        chain = CredentialChain(build_chain(upstream, self.environment, services, child_environ), self._mask)
        # The server may hold its response until the person has confirmed.
        sign_in_client = UpstreamClient(with_long_timeout(upstream), self.redactor)
        prompt = self._prompt(upstream, child_environ, state)
        sign_in = InteractiveSignIn(upstream, sign_in_client, prompt, Clock())
        links, in_ci = LinkMap(upstream, others), self.environment.is_ci
        return UpstreamSession(upstream, client, chain, links, sign_in, state, cache=cache, in_ci=in_ci)

    def _caches(self, settings: Settings, state: State) -> dict[str, Cache]:
        """The caches in front of the upstreams that have one; they share one store."""
        cached = [upstream for upstream in settings.upstreams if upstream.cache or upstream.offline]
        if not cached:
            return {}
        from ppmproxy.cache.fetcher import Cache  # noqa: PLC0415 - a twentieth of the start, with a cache alone
        from ppmproxy.cache.folder import cache_folder  # noqa: PLC0415
        from ppmproxy.cache.store import Store  # noqa: PLC0415

        if not self.stores:
            self.stores.append(Store(cache_folder(settings, self.environment), settings.cache_max_size))
        if settings.cache_url and not self.shared:
            from ppmproxy.cache.shared_tier import SharedTier  # noqa: PLC0415
            from ppmproxy.cache.stores.opening import store_for  # noqa: PLC0415

            place = store_for(settings, self.environment.environ)
            self.shared.append(SharedTier.of(settings, self.stores[0], place))
        return {
            upstream.name: Cache.of(
                upstream,
                tuple(other for other in settings.upstreams if other is not upstream),
                self.stores[0],
                _silence_recorder(state.upstream(upstream.name)),
                self.shared[0] if self.shared else None,
            )
            for upstream in cached
        }

    def _mask(self, credential: Credential) -> None:
        self.redactor.add(credential.secret, credential.user)

    def _source_services(self, upstream: Upstream, client: UpstreamClient) -> SourceServices:
        mask, environ = self.redactor.add, self.environment.environ

        async def exchanged(identity: Secret) -> Secret:
            return await exchange_token(client, upstream.url, identity, mask)

        async def from_github(audience: str) -> Secret:
            return await github_identity_token(environ, audience, mask)

        return SourceServices(exchanged, from_github, mask, self._token_store(upstream))

    def _token_store(self, upstream: Upstream) -> SignInTokenStore:
        return self.sign_in_tokens.setdefault(upstream.url, SignInTokenStore(upstream.url))

    def _prompt(self, upstream: Upstream, child_environ: Mapping[str, str], state: UpstreamState) -> SignInPrompt:
        environ, ui = self.environment.environ, self.sign_in_ui

        def show(grant: DeviceGrant | None) -> None:
            state.record_sign_in(_sign_in_page(grant) if grant else None)
            if grant is None:
                self.notify(upstream, None)
                return
            ui.also_show(grant)

        def open_page(grant: DeviceGrant) -> None:
            self.notify(upstream, grant)
            if has_visible_browser(environ):
                open_browser(grant.page, environ, child_environ)

        def report(error: PpmProxyError | None) -> None:
            state.record_sign_in_end(SignInEnd(time.time(), "" if error is None else error.detail))
            self.sign_in_ended(error)

        async def save(token: Secret) -> None:
            await self._token_store(upstream).save(token_file_for(upstream, self.environment), token)

        async def forget() -> bool:
            return await self._token_store(upstream).forget(token_file_for(upstream, self.environment))

        def is_visible() -> bool:
            return ui.has_terminal or has_visible_browser(environ)

        stored_in = str(token_file_for(upstream, self.environment).path) if upstream.configured else ""
        return SignInPrompt(is_visible, show, open_page, report, self.redactor.add, save, forget, stored_in)


def _sign_in_page(grant: DeviceGrant) -> SignInPage:
    return SignInPage(grant.page, grant.user_code, time.time() + grant.expires_at - Clock().now())


def _silence_recorder(state: UpstreamState) -> Callable[[str], None]:
    def record(why: str) -> None:
        state.record_failure(time.time(), why)

    return record
