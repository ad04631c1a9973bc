"""What leads to each upstream: its pool, its credentials, its sign-in, put together.

To change which objects exist for an upstream, open this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ppmproxy.auth.child_env import child_environment
from ppmproxy.auth.credential import Credential
from ppmproxy.auth.redaction import Redactor
from ppmproxy.auth.secret import Secret
from ppmproxy.config.model import Upstream
from ppmproxy.credentials.browser import has_visible_browser, open_browser
from ppmproxy.credentials.chain import CredentialChain, TokenEndpoints, build_chain
from ppmproxy.credentials.device_flow import (
    Clock,
    exchange_token,
    github_identity_token,
    with_long_timeout,
)
from ppmproxy.credentials.device_flow_responses import DeviceGrant
from ppmproxy.credentials.interactive import InteractiveSignIn, SignInPrompt
from ppmproxy.credentials.token_file import token_file_for
from ppmproxy.environment import Environment
from ppmproxy.index.routing import LinkMap
from ppmproxy.server.authenticated_send import UpstreamSession
from ppmproxy.server.state import Metrics, SignInPage, UpstreamState
from ppmproxy.upstream.client import UpstreamClient

UpstreamSessions = Mapping[str, UpstreamSession]


@dataclass(frozen=True, slots=True)
class SignInUi:
    """Who may be asked to sign in: somebody at a terminal, and what else is shown to them."""

    has_terminal: bool = False
    also_show: Callable[[DeviceGrant], None] = field(default=lambda _grant: None, repr=False)


def build_sessions(
    upstreams: Sequence[Upstream], environment: Environment, redactor: Redactor, person: SignInUi, metrics: Metrics
) -> UpstreamSessions:
    """Everything that each upstream needs, by its name; `ConfigError` when a certificate cannot be used."""
    made: dict[str, UpstreamSession] = {}
    for upstream in upstreams:
        others = tuple(other for other in upstreams if other is not upstream)
        links = LinkMap(upstream, others)
        made[upstream.name] = build_session(links, environment, redactor, person, metrics.upstream_state(upstream.name))
    return made


def build_session(
    links: LinkMap, environment: Environment, redactor: Redactor, person: SignInUi, upstream_state: UpstreamState
) -> UpstreamSession:
    """Everything that one upstream needs, beside the others of `links`; `ConfigError` as for all of them."""
    upstream = links.upstream
    client = UpstreamClient(upstream)
    endpoints = _token_endpoints(upstream, client, environment, redactor)
    chain = CredentialChain(
        build_chain(upstream, environment, endpoints, _child_environ(links, environment)), _masked(redactor)
    )
    upstream_state.lookups = chain.lookups
    # The server may hold its response until the person has confirmed.
    sign_in_client = UpstreamClient(with_long_timeout(upstream))
    sign_in = InteractiveSignIn(
        upstream, sign_in_client, _prompt(links, environment, redactor, person, upstream_state), Clock()
    )
    return UpstreamSession(upstream, client, chain, links, sign_in, upstream_state)


def _child_environ(links: LinkMap, environment: Environment) -> dict[str, str]:
    return child_environment(environment.environ, (links.upstream, *links.others))


def _masked(redactor: Redactor) -> Callable[[Credential], None]:
    return lambda credential: redactor.add(credential.secret, credential.user)


def _token_endpoints(
    upstream: Upstream, client: UpstreamClient, environment: Environment, redactor: Redactor
) -> TokenEndpoints:
    async def exchanged(identity: Secret) -> Secret:
        return await exchange_token(client, upstream.url, identity, redactor.add)

    async def from_github(audience: str) -> Secret:
        return await github_identity_token(environment.environ, audience, redactor.add)

    return TokenEndpoints(exchanged, from_github, redactor.add)


def _prompt(
    links: LinkMap, environment: Environment, redactor: Redactor, person: SignInUi, upstream_state: UpstreamState
) -> SignInPrompt:
    def show(grant: DeviceGrant | None) -> None:
        upstream_state.sign_in = SignInPage(grant.page, grant.user_code) if grant else None
        if grant is None:
            return
        person.also_show(grant)
        if has_visible_browser(environment.environ):
            open_browser(grant.page, environment.environ, _child_environ(links, environment))

    def save(address: str, token: Secret) -> None:
        token_file_for(links.upstream, environment.environ, environment.home).save(address, token)

    return SignInPrompt(
        lambda: person.has_terminal or has_visible_browser(environment.environ), show, redactor.add, save
    )
