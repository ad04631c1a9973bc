"""What leads to each upstream: its pool, its credentials, its sign-in, put together.

To change which objects exist for an upstream, open this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ppmproxy.browser import has_visible_browser, open_browser
from ppmproxy.credential_sources import CredentialChain, Network, Surroundings, links_of
from ppmproxy.credentials import Credential, Secret
from ppmproxy.exchange import Way
from ppmproxy.logs import Mask
from ppmproxy.routing import LinkMap
from ppmproxy.settings import Upstream
from ppmproxy.sign_in import Clock, DeviceGrant, exchange, github_identity_token, patient
from ppmproxy.sign_in_desk import Presenter, SignInDesk
from ppmproxy.status import SignInPage, Standing, Tally
from ppmproxy.token_store import store_for
from ppmproxy.upstream import UpstreamClient

Ways = Mapping[str, Way]


@dataclass(frozen=True, slots=True)
class Person:
    """Who may be asked to sign in: somebody at a terminal, and what else is shown to them."""

    has_terminal: bool = False
    also_show: Callable[[DeviceGrant], None] = field(default=lambda _grant: None, repr=False)


def ways_to(upstreams: Sequence[Upstream], around: Surroundings, mask: Mask, person: Person, tally: Tally) -> Ways:
    """Everything that each upstream needs, by its name; `ConfigError` when a certificate cannot be used."""
    made: dict[str, Way] = {}
    for upstream in upstreams:
        others = tuple(other for other in upstreams if other is not upstream)
        links = LinkMap(upstream, others)
        made[upstream.name] = _way_to(links, around, mask, person, tally.standing(upstream.name))
    return made


def _way_to(links: LinkMap, around: Surroundings, mask: Mask, person: Person, standing: Standing) -> Way:
    upstream = links.upstream
    client = UpstreamClient(upstream)
    chain = CredentialChain(links_of(upstream, around, _network(upstream, client, around, mask)), _masked(mask))
    standing.searches = chain.searches
    patient_client = UpstreamClient(patient(upstream))  # the server may hold its answer until the person has confirmed
    desk = SignInDesk(upstream, patient_client, _presenter(upstream, around, mask, person, standing), Clock())
    return Way(upstream, client, chain, links, desk, standing)


def _masked(mask: Mask) -> Callable[[Credential], None]:
    return lambda credential: mask.add(credential.secret, credential.user)


def _network(upstream: Upstream, client: UpstreamClient, around: Surroundings, mask: Mask) -> Network:
    async def exchanged(identity: Secret) -> Secret:
        return await exchange(client, upstream.url, identity, mask.add)

    async def from_github(audience: str) -> Secret:
        return await github_identity_token(around.environ, audience, mask.add)

    return Network(exchanged, from_github, mask.add)


def _presenter(upstream: Upstream, around: Surroundings, mask: Mask, person: Person, standing: Standing) -> Presenter:
    def show(grant: DeviceGrant | None) -> None:
        standing.sign_in = SignInPage(grant.page, grant.user_code) if grant else None
        if grant is None:
            return
        person.also_show(grant)
        if has_visible_browser(around.environ):
            open_browser(grant.page, around.environ)

    def save(address: str, token: Secret) -> None:
        store_for(upstream, around.environ, around.home).save(address, token)

    return Presenter(lambda: person.has_terminal or has_visible_browser(around.environ), show, mask.add, save)
