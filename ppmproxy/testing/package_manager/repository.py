"""Responses of a repository: index pages, files, and R packages."""

from __future__ import annotations

import gzip
import re
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import quote

from ppmproxy.testing.package_manager.catalog import DEFAULT_UPLOAD_TIME, RPackage, normalized
from ppmproxy.testing.package_manager.content import Memory, Stream
from ppmproxy.testing.package_manager.packages import r_index
from ppmproxy.testing.package_manager.pages import ProjectPage, index_pieces, negotiated_form, project_page
from ppmproxy.testing.package_manager.responses import FakeResponse, File, file_response, page_response, redirect, text
from ppmproxy.testing.package_manager.server_state import link, not_found, reading_refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppmproxy.testing.package_manager.catalog import Distribution
    from ppmproxy.testing.package_manager.content import Content
    from ppmproxy.testing.package_manager.received import ReceivedRequest
    from ppmproxy.testing.package_manager.server_state import ServerState

SNAPSHOT = re.compile(r"latest|\d{4}-\d{2}-\d{2}")
R_VERSION = re.compile(r"\bR[ (/]+(\d+\.\d+)")  # in the User-Agent: "R (4.3.1 x86_64-pc-linux-gnu …)", "R/4.3.1 …"
GENERATED = re.compile(r"project-(\d{7})")
COMMON = (("X-Repository-Type", "RSPM"),)


def repository_response(server: ServerState, received: ReceivedRequest, segments: list[str]) -> FakeResponse:
    """The response to any path below a repository."""
    repo, *rest = segments
    refused = reading_refusal(server, received, repo)
    if refused is not None:
        return refused
    if repo in server.options.repos:
        response = _python_response(server, received, repo, rest)
    elif repo in server.options.r_repos:
        response = _r_response(server, received, repo, rest)
    else:
        response = not_found("repository")
    return response.with_headers(*COMMON)


def _python_response(server: ServerState, received: ReceivedRequest, repo: str, rest: list[str]) -> FakeResponse:
    match rest:
        case [snapshot, "simple", *project] if SNAPSHOT.fullmatch(snapshot):
            return _simple_response(server, received, (repo, snapshot), project)
        case [snapshot, "packages", file_id, filename] if SNAPSHOT.fullmatch(snapshot):
            return _packages_response(
                server, received, server.catalog.find(repo, file_id, filename.removesuffix(".metadata"))
            )
    return not_found("page")


def _simple_response(
    server: ServerState, received: ReceivedRequest, where: tuple[str, str], rest: list[str]
) -> FakeResponse:
    root = f"/{where[0]}/{where[1]}/simple/"
    match rest:
        case []:
            return redirect(link(server.options, received, root), 301)
        case [""]:
            return _index(server, received, where)
        case [name, ""] if name == normalized(name):
            return _project(server, received, where, name)
        case [name] | [name, ""]:
            return redirect(link(server.options, received, f"{root}{quote(normalized(name))}/"), 301)
    return not_found("page")


def _index(server: ServerState, received: ReceivedRequest, where: tuple[str, str]) -> FakeResponse:
    form = negotiated_form(received.header("Accept"), offers_json=server.options.offers_json)
    if form is None:
        return text("none of the accepted types is offered", status=406)
    own = server.catalog.projects(where[0], _day(where[1]))
    count = server.options.generated_projects
    root = f"/{where[0]}/{where[1]}/simple/"

    def pieces() -> Iterator[bytes]:
        names = chain(own, (f"project-{number:07}" for number in range(count)))
        return index_pieces(names, form, lambda name: link(server.options, received, f"{root}{name}/"))

    content: Content = Stream(pieces) if count else Memory(b"".join(pieces()))
    return _page(server, received, FakeResponse(200, (("Content-Type", form.content_type),), content))


def _project(server: ServerState, received: ReceivedRequest, where: tuple[str, str], name: str) -> FakeResponse:
    form = negotiated_form(received.header("Accept"), offers_json=server.options.offers_json)
    if form is None:
        return text("none of the accepted types is offered", status=406)
    repo, snapshot = where
    files = server.catalog.files(repo, name, _day(snapshot))
    generated = GENERATED.fullmatch(name)
    if not files and not (generated and int(generated[1]) < server.options.generated_projects):
        return not_found("project")
    links = tuple((_file_link(server, received, where, file), file) for file in files)
    page = project_page(ProjectPage(name, links, server.options.offers_metadata), form)
    return _page(server, received, FakeResponse(200, (("Content-Type", form.content_type),), Memory(page)))


def _page(server: ServerState, received: ReceivedRequest, page: FakeResponse) -> FakeResponse:
    options = server.options
    if options.page_cache_control is not None:
        page = page.with_headers(("Cache-Control", options.page_cache_control))
    return page_response(page, received, gzip_pages=options.gzip_pages, offers_etags=options.offers_etags)


def _file_link(server: ServerState, received: ReceivedRequest, where: tuple[str, str], file: Distribution) -> str:
    if file.href is not None:
        return file.href
    return link(server.options, received, f"/{where[0]}/{where[1]}/packages/{file.id}/{quote(file.filename)}")


def _packages_response(
    server: ServerState, received: ReceivedRequest, distribution: Distribution | None
) -> FakeResponse:
    options = server.options
    if distribution is None:
        return not_found("file")
    if options.files_redirect_to is not None:
        query = f"?{options.redirect_query}" if options.redirect_query else ""
        return redirect(f"{options.files_redirect_to}{received.path}{query}")
    if not received.path.endswith(".metadata"):
        return _file(server, received, distribution, "application/octet-stream")
    if not options.offers_metadata or distribution.metadata is None:
        return not_found("metadata")
    etag = f'"{distribution.id}.metadata"' if options.offers_etags else None
    file = File(
        content=Memory(distribution.metadata),
        content_type="text/plain; charset=utf-8",
        modified=distribution.uploaded,
        etag=etag,
        cache_control=options.file_cache_control,
        offers_ranges=options.offers_ranges,
    )
    return file_response(file, received)


def _file(
    server: ServerState, received: ReceivedRequest, distribution: Distribution, content_type: str
) -> FakeResponse:
    options = server.options
    file = File(
        content=distribution.content,
        content_type=content_type,
        modified=distribution.uploaded,
        etag=f'"{distribution.id}"' if options.offers_etags else None,
        cache_control=options.file_cache_control,
        offers_ranges=options.offers_ranges,
    )
    return file_response(file, received)


def _r_response(server: ServerState, received: ReceivedRequest, repo: str, rest: list[str]) -> FakeResponse:
    """Source packages; below `__linux__` a binary when the User-Agent names an R version."""
    found = R_VERSION.search(received.header("User-Agent") or "")
    match rest:
        case ["__linux__", distro, snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot) and found:
            binary = (("X-Package-Type", "binary"), ("X-Package-Binary-Tag", f"{found[1]}-{distro}"))
            return _r_file(server, received, (repo, filename), found[1]).with_headers(*binary)
        case ["__linux__", _, snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot):
            return _r_file(server, received, (repo, filename)).with_headers(("X-Package-Type", "source"))
        case [snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot):
            return _r_file(server, received, (repo, filename)).with_headers(("X-Package-Type", "source"))
    return not_found("page")


def _r_file(
    server: ServerState, received: ReceivedRequest, what: tuple[str, str], built: str | None = None
) -> FakeResponse:
    repo, filename = what
    packages = tuple(server.catalog.r[repo].values())
    if filename == "PACKAGES":
        return _page(server, received, text(r_index(packages).decode(), "text/plain; charset=utf-8"))
    if filename == "PACKAGES.gz":
        return _r_bytes(server, received, gzip.compress(r_index(packages), mtime=0))
    package = _r_package(packages, filename)
    return not_found("package") if package is None else _r_bytes(server, received, package.tarball(built))


def _r_bytes(server: ServerState, received: ReceivedRequest, data: bytes) -> FakeResponse:
    """R files have Cache-Control and Last-Modified, and no ETag."""
    file = File(
        content=Memory(data),
        content_type="application/x-gzip",
        modified=DEFAULT_UPLOAD_TIME,
        etag=None,
        cache_control=server.options.file_cache_control,
        offers_ranges=False,
    )
    return file_response(file, received)


def _r_package(packages: tuple[RPackage, ...], filename: str) -> RPackage | None:
    return next((package for package in packages if package.filename == filename), None)


def _day(snapshot: str) -> date | None:
    return None if snapshot == "latest" else date.fromisoformat(snapshot)
