"""State of the fake Package Manager that its responses read, and the decision who may do what."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ppmproxy.testing.package_manager.options import Accepts, LinkStyle
from ppmproxy.testing.package_manager.responses import FakeResponse, json_response
from ppmproxy.testing.package_manager.tokens import presented_token

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.catalog import Catalog
    from ppmproxy.testing.package_manager.options import ServerOptions
    from ppmproxy.testing.package_manager.received import ReceivedRequest
    from ppmproxy.testing.package_manager.sign_in import DeviceFlows
    from ppmproxy.testing.package_manager.tokens import IssuedTokens


@dataclass(frozen=True, eq=False)
class ServerState:
    """Options, packages, tokens and sign-ins of one server."""

    options: ServerOptions
    catalog: Catalog
    tokens: IssuedTokens
    sign_in: DeviceFlows
    admin_requests: list[ReceivedRequest] = field(default_factory=list)
    admin_changes: list[ReceivedRequest] = field(default_factory=list)  # of them, those that were allowed


@dataclass(frozen=True)
class Need:
    """The scope that a request needs: an action on a name."""

    action: str
    name: str


def refusal_for(
    server: ServerState, received: ReceivedRequest, need: Need, accepts: Accepts | None = None
) -> FakeResponse | None:
    """The response to a client without that scope; None when it has it."""
    options = server.options
    if options.refuses_authorization:
        return None
    if received.authorization is None:
        return _unauthorized(options, options.anonymous_status, "authentication is required")
    token = presented_token(received.authorization, accepts or options.accepts)
    permissions = None if token is None else server.tokens.permissions(token)
    if permissions is None:
        return _unauthorized(options, options.rejected_status, "the token is unknown, revoked or expired")
    if not permissions.allows(need.action, need.name):
        return json_response({"error": f"the token has no scope {need.action} for {need.name}"}, 403)
    return None


def reading_refusal(server: ServerState, received: ReceivedRequest, repo: str) -> FakeResponse | None:
    """The response to a client that may not read a repository; None when it may."""
    if repo in server.options.open_repos:
        return None
    return refusal_for(server, received, Need("repos:read", repo))


def link(options: ServerOptions, received: ReceivedRequest, path: str) -> str:
    """A link to a path below the base path, in the style of this server."""
    target = options.base_path + path
    if options.links is LinkStyle.ABSOLUTE:
        return address(options, received) + target
    if options.links is LinkStyle.RELATIVE:
        slash = "/" if target.endswith("/") else ""
        return posixpath.relpath(target, posixpath.dirname(received.path)) + slash
    return target


def address(options: ServerOptions, received: ReceivedRequest) -> str:
    """The server's origin: as configured, else from the request's headers."""
    if options.address is not None:
        return options.address
    scheme = received.header("X-Forwarded-Proto") or ("https" if options.tls else "http")
    return f"{scheme}://{received.header('X-Forwarded-Host') or received.header('Host')}"


def not_found(what: str) -> FakeResponse:
    """404 with a message."""
    return json_response({"error": f"{what} not found"}, 404)


def method_not_allowed(allowed: str) -> FakeResponse:
    """405."""
    return json_response({"error": "method not allowed"}, 405).with_headers(("Allow", allowed))


def _unauthorized(options: ServerOptions, status: int, words: str) -> FakeResponse:
    response = json_response({"error": "not found" if status == 404 else words}, status)  # noqa: PLR2004
    if status != 401:  # noqa: PLR2004
        return response
    scheme = "Bearer" if options.accepts is Accepts.BEARER else "Basic"
    return response.with_headers(("WWW-Authenticate", f'{scheme} realm="Posit Package Manager"'))
