"""Routing of the fake Package Manager: from a URL to the code that makes its response."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from ppmproxy.testing.package_manager.api import api_response, device_page_response, upload_response
from ppmproxy.testing.package_manager.repository import repository_response
from ppmproxy.testing.package_manager.responses import FakeResponse, json_response, text
from ppmproxy.testing.package_manager.server_state import Need, method_not_allowed, not_found, refusal_for

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.received import ReceivedRequest
    from ppmproxy.testing.package_manager.server_state import ServerState

HOME = "<!DOCTYPE html>\n<title>Package Manager</title>\n<h1>Package Manager</h1>\n"


async def correct_response(server: ServerState, received: ReceivedRequest, body: bytes) -> FakeResponse:
    """The response of a server without faults, with the headers that all responses share."""
    response = await _response(server, received, body)
    return response.with_headers(*_shared_headers(server))


def segments_of(server: ServerState, received: ReceivedRequest) -> list[str] | None:
    """The decoded parts of a path below the base; None when it is not below it."""
    base = server.options.base_path
    if received.path == base:
        return [""]
    if not received.path.startswith(f"{base}/"):
        return None
    return [unquote(part) for part in received.path.removeprefix(f"{base}/").split("/")]


async def _response(server: ServerState, received: ReceivedRequest, body: bytes) -> FakeResponse:
    if server.options.refuses_authorization and received.authorization is not None:
        return text("<Error><Code>InvalidArgument</Code></Error>", "application/xml", 400)
    segments = segments_of(server, received)
    match segments:
        case None:
            return not_found("page")
        case [""]:
            return _home(server, received)
        case ["__ping__"]:
            return json_response({})
        case ["__api__", *rest]:
            return await api_response(server, received, rest, body)
        case ["__device__"]:
            return device_page_response(server, received, body)
        case ["upload", "pypi", source]:
            return await upload_response(server, received, source, body)
        case _ if received.method not in ("GET", "HEAD"):
            return method_not_allowed("GET, HEAD")
    return repository_response(server, received, segments)


def _home(server: ServerState, received: ReceivedRequest) -> FakeResponse:
    """The page for people; clients check their token here, so a bad one is refused although none is needed."""
    if received.authorization is not None:
        refused = refusal_for(server, received, Need("repos:read", "*"))
        if refused is not None and refused.status == server.options.rejected_status:
            return refused
    return text(HOME, "text/html; charset=utf-8")


def _shared_headers(server: ServerState) -> tuple[tuple[str, str], ...]:
    cookie = ("Set-Cookie", "session=fake; Path=/; HttpOnly")
    if not server.options.tls:
        return (cookie,)
    return (cookie, ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"))
