"""What every answer of the stand-in may look at: its knobs, its stock, its tokens, and who may do what."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.answers import FakeResponse, json_answer
from ppmproxy.testing.package_manager.behaviour import Accepts, Links
from ppmproxy.testing.package_manager.tokens import presented_token

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.behaviour import Behaviour
    from ppmproxy.testing.package_manager.seen import ReceivedRequest
    from ppmproxy.testing.package_manager.sign_in import DeviceFlows
    from ppmproxy.testing.package_manager.stock import Stock
    from ppmproxy.testing.package_manager.tokens import IssuedTokens


@dataclass(frozen=True, eq=False)
class Site:
    """The parts of one stand-in."""

    behaviour: Behaviour
    stock: Stock
    tokens: IssuedTokens
    sign_in: DeviceFlows
    admin_requests: list[ReceivedRequest] = field(
        default_factory=list
    )  # what reached the administration, allowed or not
    admin_changes: list[ReceivedRequest] = field(default_factory=list)  # what of it was allowed, and changed the server


@dataclass(frozen=True)
class Need:
    """What a request needs a scope for: an action on a name."""

    action: str
    name: str


def objection(site: Site, seen: ReceivedRequest, need: Need, accepts: Accepts | None = None) -> FakeResponse | None:
    """The answer to somebody who may not; None when they may."""
    behaviour = site.behaviour
    if behaviour.refuses_authorization:
        return None
    if seen.authorization is None:
        return _unauthorized(behaviour, behaviour.anonymous_status, "authentication is required")
    token = presented_token(seen.authorization, accepts or behaviour.accepts)
    permit = None if token is None else site.tokens.permit(token)
    if permit is None:
        return _unauthorized(behaviour, behaviour.rejected_status, "the token is unknown, revoked or expired")
    if not permit.allows(need.action, need.name):
        return json_answer({"error": f"the token has no scope {need.action} for {need.name}"}, 403)
    return None


def reading_objection(site: Site, seen: ReceivedRequest, repo: str) -> FakeResponse | None:
    """The answer to somebody who may not read a repository; None when they may."""
    if repo in site.behaviour.open_repos:
        return None
    return objection(site, seen, Need("repos:read", repo))


def link(behaviour: Behaviour, seen: ReceivedRequest, path: str) -> str:
    """A link to a path below the base, as this server writes links."""
    target = behaviour.base_path + path
    if behaviour.links is Links.ABSOLUTE:
        return address(behaviour, seen) + target
    if behaviour.links is Links.RELATIVE:
        slash = "/" if target.endswith("/") else ""
        return posixpath.relpath(target, posixpath.dirname(seen.path)) + slash
    return target


def address(behaviour: Behaviour, seen: ReceivedRequest) -> str:
    """The server's origin as it believes it to be: as configured, else by the headers that reached it."""
    if behaviour.address is not None:
        return behaviour.address
    scheme = seen.header("X-Forwarded-Proto") or ("https" if behaviour.tls else "http")
    return f"{scheme}://{seen.header('X-Forwarded-Host') or seen.header('Host')}"


def not_found(what: str) -> FakeResponse:
    """404, in words."""
    return json_answer({"error": f"{what} not found"}, 404)


def method_not_allowed(allowed: str) -> FakeResponse:
    """405."""
    return json_answer({"error": "method not allowed"}, 405).with_headers(("Allow", allowed))


def _unauthorized(behaviour: Behaviour, status: int, words: str) -> FakeResponse:
    answer = json_answer({"error": "not found" if status == 404 else words}, status)  # noqa: PLR2004
    if status != 401:  # noqa: PLR2004
        return answer
    scheme = "Bearer" if behaviour.accepts is Accepts.BEARER else "Basic"
    return answer.with_headers(("WWW-Authenticate", f'{scheme} realm="Posit Package Manager"'))
