"""Checks on this machine: the daemon, its addresses, the token file and the project's lock files."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmproxy.access.daemon_identity import ListenerIdentity, list_daemons
from ppmproxy.access.discovery import DaemonInfo, local_urls, probe_daemon
from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.access.port_owner import owner_of
from ppmproxy.cache.folder import CacheFolder, cache_folder
from ppmproxy.cli.doctor.checks import CheckResult, failed, failed_by, ok, warning
from ppmproxy.cli.lock import project_files_shown
from ppmproxy.clients.file_rewriting import proxy_references
from ppmproxy.clients.project_files import project_owners
from ppmproxy.config.local_address import TcpAddress, UnixAddress, address_of_url
from ppmproxy.config.model import Settings
from ppmproxy.credentials.token_file import TokenFile, token_file_for
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

START = "ppmproxy run"
_CONFIGURED = ("pyproject.toml", "Pipfile")  # where `configure` may have written; the clients' checks read them


@dataclass(frozen=True, slots=True)
class DoctorContext:
    """The settings, the runtime folders, and the folder of the project."""

    settings: Settings
    runtime_folders: Sequence[Path]
    environment: Environment
    folder: Path


def local_checks(context: DoctorContext) -> Iterator[CheckResult]:
    """All checks on this machine."""
    sockets = [one.url for one in context.settings.listen if isinstance(one, UnixAddress)]
    urls = [*local_urls(context.settings), *sockets]
    found = [probe_daemon(url, context.runtime_folders) for url in urls]
    yield from _daemon(found, context)
    yield from _ports(found)
    yield from _cache(found, context)
    yield from _tokens_file(context)
    yield from _locks(context)


# --- the daemon and its addresses -------------------------------------------------------------------------------------


def _daemon(found: Sequence[DaemonInfo], context: DoctorContext) -> Iterator[CheckResult]:
    ours = [one for one in found if one.identity is ListenerIdentity.OURS]
    if ours:
        yield from _running(ours[0], context.settings)
        return
    known = {one.url for one in found}
    for notice in list_daemons(context.runtime_folders):
        for url in notice.urls:
            if url not in known and probe_daemon(url, context.runtime_folders).identity is ListenerIdentity.OURS:
                what = f"it is running at {url}, and the settings that hold here name {_names(found, ' and ')}"
                yield failed("daemon", what, "start it with the same listen, or drop --listen and PPMPROXY_LISTEN")
                return
    yield failed("daemon", f"it is not running at {_names(found, ' nor ')}", START)


def _names(found: Sequence[DaemonInfo], link: str) -> str:
    return link.join(one.url for one in found) or "any known address"


def _running(one: DaemonInfo, settings: Settings) -> Iterator[CheckResult]:
    if one.url.startswith("http") and not one.serves(settings):
        what = f"it is running at {one.url} with other upstreams or uploads than the settings that hold here"
        yield failed("daemon", what, f"stop it, and start it anew with these settings: {START}")
        return
    yield ok("daemon", f"it is running at {one.url}, and proved to be this user's")
    access: Any = one.status.get("access")
    if isinstance(access, dict) and not access.get("kept", True):
        what = f"other users cannot be told apart: {access.get('why_not')}"
        yield warning("access", what, 'listen on a Unix socket alone, or say access = "any" if that is meant')
    served: Any = one.status.get("upstreams")
    for upstream in served if isinstance(served, list) else ():
        for trouble in upstream.get("troubles", ()):
            yield warning("token", f"{upstream.get('url')}: not renewed: {trouble}", "see `ppmproxy status`")
        if since := upstream.get("silent_since"):
            who, asked, why = upstream.get("url"), upstream.get("silent_until"), upstream.get("silent_why")
            what = f"it has had no good answer from {who} since {since}, last asked {asked}: {why}"
            fix = f"where `upstream` and `certificate` are ok below, try again; if it fails, start it anew: {START}"
            yield warning("daemon", what, fix)


def _cache(found: Sequence[DaemonInfo], context: DoctorContext) -> Iterator[CheckResult]:
    """Whether the cache can be used: by the running daemon, else by this process."""
    if not any(upstream.cache for upstream in context.settings.upstreams):
        return
    running = [one.status.get("cache") for one in found if one.identity is ListenerIdentity.OURS]
    reports = [report for report in running if isinstance(report, dict)]
    folder = cache_folder(context.settings, context.environment)
    trouble = str(reports[0].get("trouble", "")) if reports else _trouble_with(folder)
    if trouble:
        fix = "ppmproxy cache clear, or name another folder with cache_dir; then start the daemon anew"
        yield warning("cache", f"it is not in use: {trouble}", fix)
    else:
        yield ok("cache", f"{reports[0].get('folder') if reports else folder.path}; `ppmproxy cache info` says more")


def _trouble_with(folder: CacheFolder) -> str:
    """What is wrong with a cache that is there; "" where nothing is, or where there is none."""
    if not folder.path.exists():
        return ""
    import sqlite3  # noqa: PLC0415 - only where there is a cache

    from ppmproxy.cache.catalog import CacheCatalog  # noqa: PLC0415

    try:
        folder.prepare()
        CacheCatalog(folder.database).close()
    except (PpmProxyError, sqlite3.Error) as error:
        return str(error)
    return ""


def _ports(found: Sequence[DaemonInfo]) -> Iterator[CheckResult]:
    is_running = any(one.identity is ListenerIdentity.OURS for one in found)
    for one in found:
        if one.identity in {ListenerIdentity.OTHER_PROGRAM, ListenerIdentity.UNPROVEN, ListenerIdentity.SILENT}:
            what = f"{one.url} is held by {_holder(one.url)}: {one.identity.value}"
            yield failed("port", what, "stop that program; until then clients may send their requests to it")
        elif one.identity is ListenerIdentity.OURS:
            yield ok("port", f"{one.url} is ours")
        elif is_running and _exists(one.url):
            what = f"nobody listens at {one.url}, so another user's program may"
            yield warning("port", what, f"restart the daemon ({START}): it holds both families")
        elif not is_running:
            yield ok("port", f"{one.url} is free")


def _holder(url: str) -> str:
    address = address_of_url(url)
    return owner_of(address.host, address.port) if isinstance(address, TcpAddress) else "another program"


def _exists(url: str) -> bool:
    """Whether this machine has the address: not every one has IPv6."""
    address = address_of_url(url)
    if isinstance(address, UnixAddress):
        return True
    with contextlib.suppress(OSError):
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.bind((address.host, 0))
            return True
    return False


# --- files ------------------------------------------------------------------------------------------------------------


def _tokens_file(context: DoctorContext) -> Iterator[CheckResult]:
    for store in _stores(context):
        try:
            danger = store.posit_keyring_warning()
        except PpmProxyError as error:
            yield failed_by("tokens-file", error)
            continue
        if danger:
            yield warning("tokens-file", danger, "remove that entry, or write it anew with `ppmproxy login`")
        else:
            yield ok("tokens-file", f"posit-keyring can use {store.path}")


def _stores(context: DoctorContext) -> list[TokenFile]:
    upstreams = [upstream for upstream in context.settings.upstreams if upstream.configured]
    return list(dict.fromkeys(token_file_for(upstream, context.environment) for upstream in upstreams))


def _locks(context: DoctorContext) -> Iterator[CheckResult]:
    check = "lock-files"
    try:
        found = project_files_shown(context.folder, project_owners(context.environment.environ, own_uid()))
        locks = [path for path in found.paths if path.name not in _CONFIGURED]
        read_locks = [(path, read(context.folder / path, ConfigError).data or b"") for path in locks]
    except PpmProxyError as error:
        yield failed_by(check, error)
        return
    named = [(path, next(proxy_references(path, data, context.settings), None)) for path, data in read_locks]
    for path, place in named:
        if place:
            what = f"{path}, line {place[0]} names the proxy: only this machine can install from there"
            yield warning(check, what, f"ppmproxy lock canonical {path}")
    for skipped in found.skipped:
        yield warning(check, str(skipped), f"look at {skipped.path} yourself")
    if not any(place for _, place in named):
        yield ok(check, f"no lock file of this project names the proxy ({len(locks)} looked at)")
