"""Responses to the API, to uploads, and the page where a person approves a sign-in."""

from __future__ import annotations

import asyncio
import html
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, parse_qsl

from aiohttp import BodyPartReader, MultipartReader, StreamReader, hdrs
from aiohttp.base_protocol import BaseProtocol

from ppmproxy.testing.package_manager.catalog import Distribution, normalized
from ppmproxy.testing.package_manager.options import Accepts
from ppmproxy.testing.package_manager.responses import FakeResponse, json_response, text
from ppmproxy.testing.package_manager.server_state import Need, ServerState, method_not_allowed, not_found, refusal_for
from ppmproxy.testing.package_manager.sign_in import FlowState

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.received import ReceivedRequest

VERSION = "2026.04.0"


async def api_response(server: ServerState, received: ReceivedRequest, rest: list[str], body: bytes) -> FakeResponse:
    """The response below `/__api__/`: sign-in, the read-only part, or administration."""
    match received.method, rest:
        case "GET" | "HEAD", ["status"]:
            return _status(server)
        case "POST", ["device" | "device_access" | "token" as call]:
            received.fields = _url_encoded(body)
            return await _sign_in(server, received, call)
        case "GET" | "HEAD", ["repos", *repo]:
            return refusal_for(server, received, Need("repos:read", "*"), Accepts.EITHER) or _repos(server, repo)
        case "POST", ["filter", "packages"]:
            return refusal_for(server, received, Need("repos:read", "*"), Accepts.EITHER) or _filter(server, body)
    return _administer(server, received, rest)


async def upload_response(server: ServerState, received: ReceivedRequest, source: str, body: bytes) -> FakeResponse:
    """Publish a file that is uploaded as twine does."""
    if received.method != "POST":
        return method_not_allowed("POST")
    refused = refusal_for(server, received, Need("sources:write", source))
    if refused is not None:
        return refused
    repo = server.options.sources.get(source)
    if repo is None:
        return not_found("source")
    received.fields, file = await _form(received.header("Content-Type") or "", body)
    return (
        json_response({"error": "no file in the form"}, 400)
        if file is None
        else _publish(server, repo, received.fields, file)
    )


def device_page_response(server: ServerState, received: ReceivedRequest, body: bytes) -> FakeResponse:
    """The page where a person enters the user code and approves; no password is needed."""
    if received.method == "POST":
        code = _url_encoded(body).get("user_code", "").strip().upper()
        try:
            server.sign_in.finish_flow(FlowState.APPROVED, code, "someone@example.com")
        except LookupError:
            return text("<!DOCTYPE html>\n<p>No such code.</p>\n", "text/html; charset=utf-8", 404)
        return text("<!DOCTYPE html>\n<p>You are signed in. Close this page.</p>\n", "text/html; charset=utf-8")
    code = parse_qs(received.target.partition("?")[2]).get("user_code", [""])[0]
    field = f'<input name="user_code" value="{html.escape(code)}">'
    page = f'<!DOCTYPE html>\n<form method="post" action="?">Code: {field} <button>Approve</button></form>\n'
    return text(page, "text/html; charset=utf-8")


def _status(server: ServerState) -> FakeResponse:
    return json_response({"version": VERSION, "auth_available": True, "sso_enabled": server.options.sso})


async def _sign_in(server: ServerState, received: ReceivedRequest, call: str) -> FakeResponse:
    if call == "token":
        return server.sign_in.exchange(received.fields)
    if not (server.options.sso and server.options.offers_device):
        return not_found("page")
    if call == "device_access":
        return await server.sign_in.access(received.fields)
    return server.sign_in.start(received.fields, f"{_own_address(server, received)}{server.options.base_path}")


def _own_address(server: ServerState, received: ReceivedRequest) -> str:
    scheme = "https" if server.options.tls else "http"
    return server.options.address or f"{scheme}://{received.header('Host')}"


def _repos(server: ServerState, rest: list[str]) -> FakeResponse:
    options = server.options
    kinds = [(name, "Python") for name in options.repos] + [(name, "R") for name in options.r_repos]
    repos = [{"id": number, "name": name, "type": kind} for number, (name, kind) in enumerate(kinds, 1)]
    match rest:
        case [] | [""]:
            return json_response(repos)
        case [wanted] if found := [repo for repo in repos if wanted in (repo["name"], str(repo["id"]))]:
            return json_response(found[0])
    return not_found("repository")


def _filter(server: ServerState, body: bytes) -> FakeResponse:
    """The named packages that a repository has: `{"repo": …, "names": […]}`."""
    try:
        question = json.loads(body)
        repo, names = str(question["repo"]), [str(name) for name in question.get("names", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return json_response({"error": "repo and names are required"}, 400)
    files = {name: server.catalog.files(repo, normalized(name)) for name in names}
    found = [{"name": name, "version": files[name][-1].version} for name in names if files[name]]
    found += [{"name": p.name, "version": p.version} for p in server.catalog.r[repo].values() if p.name in names]
    return json_response(found)


def _administer(server: ServerState, received: ReceivedRequest, rest: list[str]) -> FakeResponse:
    """The response to everything else, which changes the server: DELETE of a repository removes it."""
    server.admin_requests.append(received)
    refused = refusal_for(server, received, Need("global:admin", "*"), Accepts.EITHER)
    if refused is not None:
        return refused
    server.admin_changes.append(received)
    match received.method, rest:
        case "DELETE", ["repos", name]:
            server.options.repos = tuple(repo for repo in server.options.repos if repo != name)
    return json_response({"changed": "/".join(rest)})


def _publish(server: ServerState, repo: str, fields: dict[str, str], upload: tuple[str, bytes]) -> FakeResponse:
    if fields.get(":action") != "file_upload":
        return json_response({"error": ":action must be file_upload"}, 400)
    file = Distribution(*upload, requires_python=fields.get("requires_python") or None)
    if fields.get("sha256_digest", file.sha256) != file.sha256:
        return json_response({"error": "sha256_digest does not match the file"}, 400)
    project = normalized(fields.get("name") or file.project)
    if any(other.filename == file.filename for other in server.catalog.files(repo, project)):
        return json_response({"error": f"{file.filename} exists already"}, 409)
    server.catalog.add(file, repo, project)
    return json_response({"uploaded": file.filename})


def _url_encoded(body: bytes) -> dict[str, str]:
    """The fields of an application/x-www-form-urlencoded body."""
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


async def _form(content_type: str, body: bytes) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    """The fields of a multipart/form-data body, and the name and content of its file; nothing when it is not one."""
    fields: dict[str, str] = {}
    file: tuple[str, bytes] | None = None
    if not content_type.startswith("multipart/form-data"):
        return fields, file
    stream = StreamReader(BaseProtocol(asyncio.get_running_loop()), len(body))
    stream.feed_data(body)
    stream.feed_eof()
    try:
        reader = MultipartReader({hdrs.CONTENT_TYPE: content_type}, stream)
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader) or part.name is None:
                continue
            if part.filename is None:
                fields[part.name] = await part.text()
            else:
                file = part.filename, bytes(await part.read())
    except ValueError:  # no boundary, or none in the body
        return {}, None
    return fields, file
