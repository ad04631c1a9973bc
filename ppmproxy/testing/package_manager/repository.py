"""What a repository of the stand-in answers: index pages, files, and the R tree."""

from __future__ import annotations

import gzip
import re
from datetime import date
from itertools import chain
from typing import TYPE_CHECKING
from urllib.parse import quote

from ppmproxy.testing.package_manager.answers import FakeResponse, File, file_answer, page_answer, redirect, text
from ppmproxy.testing.package_manager.content import Memory, Stream
from ppmproxy.testing.package_manager.packages import r_index
from ppmproxy.testing.package_manager.pages import ProjectPage, index_pieces, negotiated_form, project_page
from ppmproxy.testing.package_manager.site import link, not_found, reading_objection
from ppmproxy.testing.package_manager.stock import LONG_AGO, RPackage, normalized

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ppmproxy.testing.package_manager.content import Content
    from ppmproxy.testing.package_manager.seen import ReceivedRequest
    from ppmproxy.testing.package_manager.site import Site
    from ppmproxy.testing.package_manager.stock import Distribution

SNAPSHOT = re.compile(r"latest|\d{4}-\d{2}-\d{2}")
R_VERSION = re.compile(r"\bR[ (/]+(\d+\.\d+)")  # in the User-Agent: "R (4.3.1 x86_64-pc-linux-gnu …)", "R/4.3.1 …"
GENERATED = re.compile(r"project-(\d{7})")
COMMON = (("X-Repository-Type", "RSPM"),)


def repository_answer(site: Site, seen: ReceivedRequest, segments: list[str]) -> FakeResponse:
    """Answer anything that is not the server's own."""
    repo, *rest = segments
    refusal = reading_objection(site, seen, repo)
    if refusal is not None:
        return refusal
    if repo in site.behaviour.repos:
        answer = _python_answer(site, seen, repo, rest)
    elif repo in site.behaviour.r_repos:
        answer = _r_answer(site, seen, repo, rest)
    else:
        answer = not_found("repository")
    return answer.with_headers(*COMMON)


def _python_answer(site: Site, seen: ReceivedRequest, repo: str, rest: list[str]) -> FakeResponse:
    match rest:
        case [snapshot, "simple", *project] if SNAPSHOT.fullmatch(snapshot):
            return _simple_answer(site, seen, (repo, snapshot), project)
        case [snapshot, "packages", file_id, filename] if SNAPSHOT.fullmatch(snapshot):
            return _packages_answer(site, seen, site.stock.find(repo, file_id, filename.removesuffix(".metadata")))
    return not_found("page")


def _simple_answer(site: Site, seen: ReceivedRequest, where: tuple[str, str], rest: list[str]) -> FakeResponse:
    root = f"/{where[0]}/{where[1]}/simple/"
    match rest:
        case []:
            return redirect(link(site.behaviour, seen, root), 301)
        case [""]:
            return _index(site, seen, where)
        case [name, ""] if name == normalized(name):
            return _project(site, seen, where, name)
        case [name] | [name, ""]:
            return redirect(link(site.behaviour, seen, f"{root}{quote(normalized(name))}/"), 301)
    return not_found("page")


def _index(site: Site, seen: ReceivedRequest, where: tuple[str, str]) -> FakeResponse:
    form = negotiated_form(seen.header("Accept"), offers_json=site.behaviour.offers_json)
    if form is None:
        return text("none of the accepted types is offered", status=406)
    own = site.stock.projects(where[0], _day(where[1]))
    count = site.behaviour.generated_projects
    root = f"/{where[0]}/{where[1]}/simple/"

    def pieces() -> Iterator[bytes]:
        names = chain(own, (f"project-{number:07}" for number in range(count)))
        return index_pieces(names, form, lambda name: link(site.behaviour, seen, f"{root}{name}/"))

    content: Content = Stream(pieces) if count else Memory(b"".join(pieces()))
    return _page(site, seen, FakeResponse(200, (("Content-Type", form.content_type),), content))


def _project(site: Site, seen: ReceivedRequest, where: tuple[str, str], name: str) -> FakeResponse:
    form = negotiated_form(seen.header("Accept"), offers_json=site.behaviour.offers_json)
    if form is None:
        return text("none of the accepted types is offered", status=406)
    repo, snapshot = where
    files = site.stock.files(repo, name, _day(snapshot))
    generated = GENERATED.fullmatch(name)
    if not files and not (generated and int(generated[1]) < site.behaviour.generated_projects):
        return not_found("project")
    links = tuple((_file_link(site, seen, where, file), file) for file in files)
    page = project_page(ProjectPage(name, links, site.behaviour.offers_metadata), form)
    return _page(site, seen, FakeResponse(200, (("Content-Type", form.content_type),), Memory(page)))


def _page(site: Site, seen: ReceivedRequest, page: FakeResponse) -> FakeResponse:
    knobs = site.behaviour
    if knobs.page_cache_control is not None:
        page = page.with_headers(("Cache-Control", knobs.page_cache_control))
    return page_answer(page, seen, gzip_pages=knobs.gzip_pages, offers_etags=knobs.offers_etags)


def _file_link(site: Site, seen: ReceivedRequest, where: tuple[str, str], file: Distribution) -> str:
    if file.href is not None:
        return file.href
    return link(site.behaviour, seen, f"/{where[0]}/{where[1]}/packages/{file.id}/{quote(file.filename)}")


def _packages_answer(site: Site, seen: ReceivedRequest, distribution: Distribution | None) -> FakeResponse:
    knobs = site.behaviour
    if distribution is None:
        return not_found("file")
    if knobs.files_redirect_to is not None:
        query = f"?{knobs.redirect_query}" if knobs.redirect_query else ""
        return redirect(f"{knobs.files_redirect_to}{seen.path}{query}")
    if not seen.path.endswith(".metadata"):
        return _file(site, seen, distribution, "application/octet-stream")
    if not knobs.offers_metadata or distribution.metadata is None:
        return not_found("metadata")
    etag = f'"{distribution.id}.metadata"' if knobs.offers_etags else None
    file = File(
        content=Memory(distribution.metadata),
        content_type="text/plain; charset=utf-8",
        modified=distribution.uploaded,
        etag=etag,
        cache_control=knobs.file_cache_control,
        offers_ranges=knobs.offers_ranges,
    )
    return file_answer(file, seen)


def _file(site: Site, seen: ReceivedRequest, distribution: Distribution, content_type: str) -> FakeResponse:
    knobs = site.behaviour
    file = File(
        content=distribution.content,
        content_type=content_type,
        modified=distribution.uploaded,
        etag=f'"{distribution.id}"' if knobs.offers_etags else None,
        cache_control=knobs.file_cache_control,
        offers_ranges=knobs.offers_ranges,
    )
    return file_answer(file, seen)


def _r_answer(site: Site, seen: ReceivedRequest, repo: str, rest: list[str]) -> FakeResponse:
    """Source packages everywhere; below `__linux__` a binary for whoever's User-Agent names an R version."""
    found = R_VERSION.search(seen.header("User-Agent") or "")
    match rest:
        case ["__linux__", distro, snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot) and found:
            binary = (("X-Package-Type", "binary"), ("X-Package-Binary-Tag", f"{found[1]}-{distro}"))
            return _r_file(site, seen, (repo, filename), found[1]).with_headers(*binary)
        case ["__linux__", _, snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot):
            return _r_file(site, seen, (repo, filename)).with_headers(("X-Package-Type", "source"))
        case [snapshot, "src", "contrib", filename] if SNAPSHOT.fullmatch(snapshot):
            return _r_file(site, seen, (repo, filename)).with_headers(("X-Package-Type", "source"))
    return not_found("page")


def _r_file(site: Site, seen: ReceivedRequest, what: tuple[str, str], built: str | None = None) -> FakeResponse:
    repo, filename = what
    packages = tuple(site.stock.r[repo].values())
    if filename == "PACKAGES":
        return _page(site, seen, text(r_index(packages).decode(), "text/plain; charset=utf-8"))
    if filename == "PACKAGES.gz":
        return _r_bytes(site, seen, gzip.compress(r_index(packages), mtime=0))
    package = _r_package(packages, filename)
    return not_found("package") if package is None else _r_bytes(site, seen, package.tarball(built))


def _r_bytes(site: Site, seen: ReceivedRequest, data: bytes) -> FakeResponse:
    """Files of R come with Cache-Control and Last-Modified, and no ETag."""
    file = File(
        content=Memory(data),
        content_type="application/x-gzip",
        modified=LONG_AGO,
        etag=None,
        cache_control=site.behaviour.file_cache_control,
        offers_ranges=False,
    )
    return file_answer(file, seen)


def _r_package(packages: tuple[RPackage, ...], filename: str) -> RPackage | None:
    return next((package for package in packages if package.filename == filename), None)


def _day(snapshot: str) -> date | None:
    return None if snapshot == "latest" else date.fromisoformat(snapshot)
