"""`ppmproxy cache prefetch`: fetch all files of a lock through the proxy, so that its cache has them."""

from __future__ import annotations

import argparse
import http.client
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, urlsplit

from ppmproxy.access.discovery import find_daemon
from ppmproxy.access.runtime_dir import runtime_folders
from ppmproxy.cache.page_names import METADATA, NoIndexPageError, canonical_url, names_on
from ppmproxy.cli.context import Context
from ppmproxy.cli.rich_terminal import bar_on
from ppmproxy.cli.shared_daemon import prompt_on
from ppmproxy.clients.index_url import chosen_index
from ppmproxy.clients.local_urls import LocalUrls
from ppmproxy.clients.locked_files import LockedProject, LockedProjects, is_file_of, locked_projects
from ppmproxy.config.local_address import TcpAddress, address_of_url
from ppmproxy.config.model import DEFAULT_REPO, LogLevel, Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError
from ppmproxy.index.rewriter import page_format

AT_ONCE = 8  # requests
TIMEOUT = 120.0  # seconds without a byte
MOST_REDIRECTS = 20  # to the same URL, while the Package Manager is slow
_PIECE = 1 << 18
_JSON, _HTML = "application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.v1+html"
# As pip and uv ask, in their order.
_FORMS = (f"{_JSON}, {_HTML};q=0.2, text/html;q=0.01", "text/html")
_PATH_SAFE = "/:@!$&'()*+,;=~-._"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the proxy answered."""

    status: int
    reason: str
    content_type: str
    body: bytes


class _Proxy:
    """A client of the proxy."""

    def __init__(self, settings: Settings, *, for_offline: bool) -> None:
        self.urls = LocalUrls.of_settings(settings)
        self.settings = settings
        self.forms = _FORMS if for_offline else _FORMS[:1]

    def get(self, url: str, accept: str = "*/*", *, is_kept: bool = False) -> _Reply:
        """Ask for a local URL; the body only with `is_kept`."""
        parts = urlsplit(url)
        for _ in range(MOST_REDIRECTS):
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT)
            try:
                connection.request("GET", url[url.index(parts.netloc) + len(parts.netloc) :], headers=_headers(accept))
                response = connection.getresponse()
                body = [piece for piece in iter(lambda: response.read(_PIECE), b"") if is_kept]  # noqa: B023
                if response.length:
                    raise OSError("the transfer was cut")
            finally:
                connection.close()
            if response.status != http.client.TEMPORARY_REDIRECT:
                break
        return _Reply(response.status, response.reason, response.getheader("Content-Type", ""), b"".join(body))

    def files_of(self, project: LockedProject, index: str) -> list[str]:
        """The local URLs of a project's files, with their metadata; `OSError` where its page cannot be had."""
        url = f"{index.rstrip('/')}/{quote(project.name)}/"
        named: dict[str, str] = {}
        for form in self.forms:
            reply = self.get(url, form, is_kept=True)
            found = page_format(reply.content_type)
            if reply.status != http.client.OK or found is None:
                raise OSError(f"{project.name}: {reply.status} {reply.reason}")
            try:
                named.update(names_on(reply.body, found, url, replace(self.settings.upstreams[0], url=_origin(url))))
            except NoIndexPageError:
                raise OSError(f"{project.name}: its index page is none") from None
        if not project.urls:
            return [_written(one) for one in named if is_file_of(_filename(one), project)]
        local = [self.urls.local(one) for one in project.urls]
        metadata = [one + METADATA for one in local if canonical_url(one + METADATA) in named]
        return [one for one in local if self.urls.is_local(one)] + metadata


def prefetch(arguments: argparse.Namespace, settings: Settings, context: Context) -> int:
    """Fetch everything; exit code 1 where something could not be had."""
    if not arguments.words:
        raise UsageError("cache prefetch needs a file", "name one, as in `ppmproxy cache prefetch uv.lock`")
    locked = [locked_projects(Path(word)) for word in arguments.words]
    for name in dict.fromkeys(name for one in locked for name in one.skipped):
        context.print_err(f"ppmproxy: {name} has no version in the file, so it is skipped")
    failed: list[str] = []
    with _serving(settings, context) as serving, _threads() as pool:
        proxy = _Proxy(serving, for_offline=arguments.for_offline)
        index = chosen_index(serving, arguments.repo or DEFAULT_REPO, arguments.snapshot).simple_url
        files = _files(pool, proxy, locked, index, failed)
        with bar_on(context.err, "prefetch", len(files)) as advance:
            replies = pool.map(lambda url: (url, _fetched(proxy, url, advance)), files)
            failed += [f"{_filename(url)}: {why}" for url, why in replies if why]
    for line in failed:
        context.print_err(f"ppmproxy: {line}")
    context.print(f"{len(files)} files requested, {len(failed)} failed")
    return EXIT_CHECK_FAILED if failed else EXIT_OK


def _files(
    pool: ThreadPoolExecutor, proxy: _Proxy, locked: list[LockedProjects], index: str, failed: list[str]
) -> list[str]:
    """The files of all projects, each once."""

    def files_of(project: LockedProject) -> list[str] | str:
        local = proxy.urls.local(project.index)
        try:
            return proxy.files_of(project, local if proxy.urls.is_local(local) else index)
        except (OSError, http.client.HTTPException) as error:
            return str(error)

    projects = dict.fromkeys(project for one in locked for project in one.projects)
    found: dict[str, None] = {}
    for files in pool.map(files_of, projects):
        if isinstance(files, str):
            failed.append(files)
        else:
            found.update(dict.fromkeys(files))
    return list(found)


def _fetched(proxy: _Proxy, url: str, advance: Progress) -> str:
    """Why a file could not be had; "" where it was."""
    try:
        reply = proxy.get(url)
    except (OSError, http.client.HTTPException) as error:
        return str(error)
    finally:
        advance(_filename(url))
    return "" if reply.status == http.client.OK else f"{reply.status} {reply.reason}"


@contextmanager
def _serving(settings: Settings, context: Context) -> Iterator[Settings]:
    """The user's running daemon, or one for the length of this command."""
    quiet = replace(settings, log_level=LogLevel.ERROR)
    if found := find_daemon(settings, runtime_folders(context.environment)):
        yield replace(quiet, listen=(address_of_url(found.url),))
        return
    from ppmproxy.cli.daemon_thread import DaemonThread  # noqa: PLC0415 - a whole server

    thread = DaemonThread.start(replace(quiet, listen=(TcpAddress("127.0.0.1", 0),)), context, prompt_on(context))
    try:
        yield replace(quiet, listen=thread.addresses)
    except BaseException:
        thread.cut()
        raise
    finally:
        thread.stop()


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for the requests; where the command is interrupted, those under way are not waited for."""
    pool = ThreadPoolExecutor(AT_ONCE)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _headers(accept: str) -> Mapping[str, str]:
    return {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "ppmproxy-prefetch", "Connection": "close"}


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _written(canonical: str) -> str:
    """A canonical URL as it can be asked for."""
    origin, path = _origin(canonical), canonical[len(_origin(canonical)) :]
    return origin + quote(path, safe=_PATH_SAFE + "?%")


def _filename(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]
