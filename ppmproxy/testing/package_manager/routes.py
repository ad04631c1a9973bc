"""Which answer a request to the stand-in gets: the map of its URLs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from ppmproxy.testing.package_manager.answers import FakeResponse, json_answer, text
from ppmproxy.testing.package_manager.api import api_answer, device_page, upload_answer
from ppmproxy.testing.package_manager.repository import repository_answer
from ppmproxy.testing.package_manager.site import Need, method_not_allowed, not_found, objection

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.seen import Received, ReceivedRequest
    from ppmproxy.testing.package_manager.site import Site

HOME = "<!DOCTYPE html>\n<title>Package Manager</title>\n<h1>Package Manager</h1>\n"


async def right_answer(site: Site, seen: ReceivedRequest, body: Received) -> FakeResponse:
    """What a server that works answers, headers that all answers share included."""
    answer = await _answer(site, seen, body)
    return answer.with_headers(*_shared_headers(site))


def segments_of(site: Site, seen: ReceivedRequest) -> list[str] | None:
    """The decoded parts of a path below the base; None when it is not below it."""
    base = site.behaviour.base_path
    if seen.path == base:
        return [""]
    if not seen.path.startswith(f"{base}/"):
        return None
    return [unquote(part) for part in seen.path.removeprefix(f"{base}/").split("/")]


async def _answer(site: Site, seen: ReceivedRequest, body: Received) -> FakeResponse:
    if site.behaviour.refuses_authorization and seen.authorization is not None:
        return text("<Error><Code>InvalidArgument</Code></Error>", "application/xml", 400)
    segments = segments_of(site, seen)
    match segments:
        case None:
            return not_found("page")
        case [""]:
            return _home(site, seen)
        case ["__ping__"]:
            return json_answer({})
        case ["__api__", *rest]:
            return await api_answer(site, seen, rest, body)
        case ["__device__"]:
            return device_page(site, seen, body)
        case ["upload", "pypi", source]:
            return upload_answer(site, seen, source, body)
        case _ if seen.method not in ("GET", "HEAD"):
            return method_not_allowed("GET, HEAD")
    return repository_answer(site, seen, segments)


def _home(site: Site, seen: ReceivedRequest) -> FakeResponse:
    """The page for people: clients try their token here, so a bad one is refused although none is needed."""
    if seen.authorization is not None:
        refusal = objection(site, seen, Need("repos:read", "*"))
        if refusal is not None and refusal.status == site.behaviour.rejected_status:
            return refusal
    return text(HOME, "text/html; charset=utf-8")


def _shared_headers(site: Site) -> tuple[tuple[str, str], ...]:
    cookie = ("Set-Cookie", "session=stand-in; Path=/; HttpOnly")
    if not site.behaviour.tls:
        return (cookie,)
    return (cookie, ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"))
