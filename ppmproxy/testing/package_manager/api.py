"""What the stand-in answers below `/__api__/`, to uploads, and on the page where people approve a sign-in."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from ppmproxy.testing.package_manager.answers import FakeResponse, json_answer, text
from ppmproxy.testing.package_manager.behaviour import Accepts
from ppmproxy.testing.package_manager.content import Memory
from ppmproxy.testing.package_manager.forms import Part, multipart, small_fields, url_encoded
from ppmproxy.testing.package_manager.sign_in import FlowState
from ppmproxy.testing.package_manager.site import Need, Site, method_not_allowed, not_found, objection
from ppmproxy.testing.package_manager.stock import Distribution, normalized

if TYPE_CHECKING:
    from ppmproxy.testing.package_manager.seen import Received, ReceivedRequest

VERSION = "2026.04.0"


async def api_answer(site: Site, seen: ReceivedRequest, rest: list[str], body: Received) -> FakeResponse:
    """Sign-in, the read-only part, or administration."""
    match seen.method, rest:
        case "GET" | "HEAD", ["status"]:
            return _status(site)
        case "POST", ["device" | "device_access" | "token" as call]:
            seen.fields = url_encoded(body)
            return await _sign_in(site, seen, call)
        case "GET" | "HEAD", ["repos", *repo]:
            return objection(site, seen, Need("repos:read", "*"), Accepts.EITHER) or _repos(site, repo)
        case "POST", ["filter", "packages"]:
            return objection(site, seen, Need("repos:read", "*"), Accepts.EITHER) or _filtered(site, body)
    return _administer(site, seen, rest)


def upload_answer(site: Site, seen: ReceivedRequest, source: str, body: Received) -> FakeResponse:
    """Take a file the way twine sends it, and offer it."""
    if seen.method != "POST":
        return method_not_allowed("POST")
    refusal = objection(site, seen, Need("sources:write", source))
    if refusal is not None:
        return refusal
    repo = site.behaviour.sources.get(source)
    if repo is None:
        return not_found("source")
    parts = multipart(seen.header("Content-Type"), body)
    seen.fields = small_fields(parts)
    part = next((part for part in parts if part.name == "content" and part.filename), None)
    return _publish(site, repo, seen.fields, part)


def device_page(site: Site, seen: ReceivedRequest, body: Received) -> FakeResponse:
    """Where a person enters the user code and approves; whoever reaches the page is signed in."""
    if seen.method == "POST":
        code = url_encoded(body).get("user_code", "").strip().upper()
        try:
            site.sign_in.decide(FlowState.APPROVED, code, "someone@example.com")
        except LookupError:
            return text("<!DOCTYPE html>\n<p>No such code.</p>\n", "text/html; charset=utf-8", 404)
        return text("<!DOCTYPE html>\n<p>You are signed in. Close this page.</p>\n", "text/html; charset=utf-8")
    code = parse_qs(seen.target.partition("?")[2]).get("user_code", [""])[0]
    field = f'<input name="user_code" value="{html.escape(code)}">'
    page = f'<!DOCTYPE html>\n<form method="post" action="?">Code: {field} <button>Approve</button></form>\n'
    return text(page, "text/html; charset=utf-8")


def _status(site: Site) -> FakeResponse:
    return json_answer({"version": VERSION, "auth_available": True, "sso_enabled": site.behaviour.sso})


async def _sign_in(site: Site, seen: ReceivedRequest, call: str) -> FakeResponse:
    if call == "token":
        return site.sign_in.exchange(seen.fields)
    if not (site.behaviour.sso and site.behaviour.offers_device):
        return not_found("page")
    if call == "device_access":
        return await site.sign_in.access(seen.fields)
    return site.sign_in.start(seen.fields, f"{_own_address(site, seen)}{site.behaviour.base_path}")


def _own_address(site: Site, seen: ReceivedRequest) -> str:
    scheme = "https" if site.behaviour.tls else "http"
    return site.behaviour.address or f"{scheme}://{seen.header('Host')}"


def _repos(site: Site, rest: list[str]) -> FakeResponse:
    knobs = site.behaviour
    kinds = [(name, "Python") for name in knobs.repos] + [(name, "R") for name in knobs.r_repos]
    repos = [{"id": number, "name": name, "type": kind} for number, (name, kind) in enumerate(kinds, 1)]
    match rest:
        case [] | [""]:
            return json_answer(repos)
        case [token_request] if found := [repo for repo in repos if token_request in (repo["name"], str(repo["id"]))]:
            return json_answer(found[0])
    return not_found("repository")


def _filtered(site: Site, body: Received) -> FakeResponse:
    """Which of the named packages a repository has: `{"repo": …, "names": […]}`."""
    try:
        question = json.loads(bytes(body))
        repo, names = str(question["repo"]), [str(name) for name in question.get("names", [])]
    except (ValueError, KeyError, TypeError, AttributeError):
        return json_answer({"error": "repo and names are required"}, 400)
    files = {name: site.stock.files(repo, normalized(name)) for name in names}
    found = [{"name": name, "version": files[name][-1].version} for name in names if files[name]]
    found += [{"name": p.name, "version": p.version} for p in site.stock.r[repo].values() if p.name in names]
    return json_answer(found)


def _administer(site: Site, seen: ReceivedRequest, rest: list[str]) -> FakeResponse:
    """Everything else changes the server: DELETE of a repository really removes it."""
    site.admin_requests.append(seen)
    refusal = objection(site, seen, Need("global:admin", "*"), Accepts.EITHER)
    if refusal is not None:
        return refusal
    site.admin_changes.append(seen)
    match seen.method, rest:
        case "DELETE", ["repos", name]:
            site.behaviour.repos = tuple(repo for repo in site.behaviour.repos if repo != name)
    return json_answer({"changed": "/".join(rest)})


def _publish(site: Site, repo: str, fields: dict[str, str], part: Part | None) -> FakeResponse:
    if part is None or part.filename is None or fields.get(":action") != "file_upload":
        return json_answer({"error": "no file in the form"}, 400)
    data = b"".join(part.content.pieces()) if isinstance(part.content, Memory) else part.content
    file = Distribution(part.filename, data, requires_python=fields.get("requires_python") or None)
    if fields.get("sha256_digest", file.sha256) != file.sha256:
        return json_answer({"error": "sha256_digest does not match the file"}, 400)
    project = normalized(fields.get("name") or file.project)
    if any(other.filename == file.filename for other in site.stock.files(repo, project)):
        return json_answer({"error": f"{file.filename} exists already"}, 409)
    site.stock.add(file, repo, project)
    return json_answer({"uploaded": file.filename})
