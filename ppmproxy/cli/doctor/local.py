"""Checks of files on this machine: the cache, the token file and the project's lock files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmproxy.access.discovery import DaemonInfo
from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.cache.advice import advice_for, is_passing
from ppmproxy.cache.folder import CacheFolder, cache_folder
from ppmproxy.cli.doctor.checks import CheckResult, failed_by, guarded, ok, warning
from ppmproxy.cli.lock import project_files_shown
from ppmproxy.clients.file_rewriting import proxy_references
from ppmproxy.clients.project_files import project_owners
from ppmproxy.config.model import Settings
from ppmproxy.credentials.token_file import TokenFile, token_file_for
from ppmproxy.environment import Environment
from ppmproxy.errors import ConfigError, PpmProxyError
from ppmproxy.files import read

_EMPTY_IT = "run `ppmproxy cache clear`"
_CONFIGURED = ("pyproject.toml", "Pipfile")  # where `configure` may have written; the clients' checks read them


@dataclass(frozen=True, slots=True)
class DoctorContext:
    """The settings that hold, the environment with the folder of the project, and the daemon where one runs."""

    settings: Settings
    environment: Environment
    daemon: DaemonInfo | None = None

    @property
    def folder(self) -> Path:
        """The folder of the project."""
        return self.environment.cwd


def local_checks(context: DoctorContext) -> Iterator[CheckResult]:
    """All checks of files; a check that cannot be made is one that failed."""
    yield from guarded("cache", lambda: _cache(context))
    yield from guarded("tokens-file", lambda: _tokens_file(context))
    yield from guarded("lock-files", lambda: _locks(context))


def _cache(context: DoctorContext) -> Iterator[CheckResult]:
    """Whether the cache can be used: by the running daemon, else by this process."""
    if not any(upstream.cache for upstream in context.settings.upstreams):
        return
    running: Any = context.daemon.status.get("cache") if context.daemon else None
    reports = [running] if isinstance(running, dict) else []
    folder = cache_folder(context.settings, context.environment)
    found = _trouble_with(folder)  # where the daemon reports it, for what to do about it
    trouble = str(reports[0].get("trouble", "")) if reports else str(found or "")
    if trouble:
        way = found.hint if found else f"{advice_for(trouble)}, or set cache = false"
        restart = f"; then {context.daemon.restart_command}" if context.daemon and not is_passing(trouble) else ""
        yield warning("cache", f"it is not in use: {trouble}", f"{way}{restart}")
    else:
        yield ok("cache", f"{reports[0].get('folder') if reports else folder.path}; `ppmproxy cache info` says more")


def _trouble_with(folder: CacheFolder) -> PpmProxyError | None:
    """What is wrong with a cache that is there; None where nothing is, or where there is none."""
    try:
        if not folder.exists():
            return None
    except PpmProxyError as error:
        return error
    import sqlite3  # noqa: PLC0415 - only where there is a cache

    from ppmproxy.cache.catalog import CacheCatalog  # noqa: PLC0415

    try:
        folder.prepare()
        CacheCatalog(folder.database).close()
    except sqlite3.Error as error:
        way = advice_for(str(error)) if isinstance(error, sqlite3.OperationalError) else _EMPTY_IT
        return PpmProxyError(f"cannot use the cache's database {folder.database}: {error}", way)
    except PpmProxyError as error:
        return error
    return None


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
    if [one.path for one in found.skipped] == [context.folder]:  # as `/` in a container: no project of this user's
        yield ok(check, f"{context.folder} is another user's folder, and was not looked at")
        return
    for skipped in found.skipped:
        yield warning(check, str(skipped), f"look at {skipped.path} yourself")
    if not any(place for _, place in named):
        yield ok(check, f"no lock file of this project names the proxy ({len(locks)} looked at)")
