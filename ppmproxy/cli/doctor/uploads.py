"""The check of clients' repositories for uploads: which of them is the Package Manager itself, past the proxy."""

from __future__ import annotations

from collections.abc import Iterator

from ppmproxy.cli.doctor.checks import CheckResult, ok, warning
from ppmproxy.clients.index_settings import origin_shown
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.upload_repositories import REPOSITORIES, Repository
from ppmproxy.environment import Environment


def upload_checks(environment: Environment, urls: LocalUrls, *clients: str) -> Iterator[CheckResult]:
    """One result for each such repository, of these clients or of all; nothing where no upstream takes uploads."""
    if not any(upstream.uploads for upstream in urls.upstreams):
        return
    check = "direct-upload"
    found = [one for name in clients or REPOSITORIES for one in REPOSITORIES.get(name, _none)(environment)]
    direct = [one for one in found if urls.takes_uploads(one.url)]
    for one in direct:
        what = f"{one.where} has uploads go to {origin_shown(one.url)} directly, not through the proxy"
        yield warning(
            check, what, f"write {urls.local(one.url)} there, or upload by `ppmproxy exec --intercept -- ...`"
        )
    if not direct:
        yield ok(check, "no client's own file has uploads go past the proxy")


def _none(_: Environment) -> Iterator[Repository]:
    return iter(())
