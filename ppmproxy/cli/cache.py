"""`ppmproxy cache`: how much there is, empty it, check it, fill it."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ppmproxy.auth.credential import moment
from ppmproxy.cli import cache_shared
from ppmproxy.cli.context import Context, load_config
from ppmproxy.config.sizes import size_text
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from ppmproxy.cache.catalog import CacheCatalog
    from ppmproxy.cache.folder import CacheFolder
    from ppmproxy.config.model import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with what."""
    parser.add_argument(
        "action",
        choices=("info", "clear", "verify", "prefetch"),
        help="info: show size, files and hits; clear: remove all files, or those of a PROJECT; "
        "verify: check the hash of every file; prefetch: download the files of lock and requirements files",
    )
    parser.add_argument("words", nargs="*", metavar="PROJECT | FILE", help="what to clear or to prefetch")
    parser.add_argument("--json", action="store_true", help="print info as JSON")
    parser.add_argument("--for-offline", action="store_true", help="prefetch index pages in every format, too")
    parser.add_argument("--repo", metavar="NAME", default="", help="repository to prefetch from (default: pypi)")
    parser.add_argument(
        "--snapshot", metavar="DATE", default="latest", help="snapshot to prefetch from (default: latest)"
    )


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Do it; `UsageError`, `CacheUnusableError`."""
    from ppmproxy.cache.folder import cache_folder  # noqa: PLC0415 - only for this command

    loaded = load_config(arguments, context)
    folder = cache_folder(loaded.settings, context.environment)
    if arguments.action == "prefetch":
        from ppmproxy.cli.cache_prefetch import prefetch  # noqa: PLC0415 - a whole server

        return prefetch(arguments, loaded.settings, context)
    if arguments.action == "clear":
        return _clear(folder, arguments.words, context)
    if arguments.words:
        raise UsageError(f"cache {arguments.action} takes no file and no project", "see `ppmproxy cache --help`")
    if arguments.action == "verify":
        return _verify(folder, context)
    return _info(folder, loaded.settings, context, as_json=arguments.json)


@contextmanager
def _catalog(folder: CacheFolder) -> Iterator[CacheCatalog]:
    """The catalog; `CacheUnusableError` where it cannot be used."""
    import sqlite3  # noqa: PLC0415

    from ppmproxy.cache.advice import advice_for  # noqa: PLC0415
    from ppmproxy.cache.catalog import CacheCatalog  # noqa: PLC0415
    from ppmproxy.cache.folder import CacheUnusableError  # noqa: PLC0415

    folder.prepare()
    try:
        with closing(CacheCatalog(folder.database)) as catalog:
            yield catalog
    except sqlite3.Error as error:
        what = f"cannot use the cache's database {folder.database}: {error}"
        is_damaged = not isinstance(error, sqlite3.OperationalError)
        way = "empty it: ppmproxy cache clear" if is_damaged else advice_for(str(error))
        raise CacheUnusableError(what, way) from error


# --- info ---


def _info(folder: CacheFolder, settings: Settings, context: Context, *, as_json: bool) -> int:
    found = _described(folder, settings, context)
    if as_json:
        context.print(json.dumps(found))
        return EXIT_OK
    state = "in use" if found["enabled"] else "switched off (cache = false)"
    size = _sizes(found)
    context.print(f"{folder.path}: {state}, {size['bytes']} of {size['max_size']}")
    context.print(f"  {found['files']} files, {size['file_bytes']}; {found['pages']} index pages")
    context.print(f"  {found['hits']} hits, {found['misses']} misses, {size['saved_bytes']} not fetched again")
    if found["oldest_use"]:
        context.print(f"  used least recently: {found['oldest_use']}")
    if isinstance(shared := found["shared"], dict):
        for line in cache_shared.lines(shared, _sizes(shared)):
            context.print(line)
    doubled = found["client_caches"]
    if isinstance(doubled, dict) and any(doubled.values()):
        listed = ", ".join(f"{name} {size_text(count)}" for name, count in doubled.items() if count)
        context.print(f"  the clients' own caches, which duplicate much of it: {listed}")
    return EXIT_OK


def _sizes(document: Mapping[str, object]) -> dict[str, str]:
    """The numbers of a document, as sizes."""
    return {name: size_text(number) for name, number in document.items() if isinstance(number, int)}


def _described(folder: CacheFolder, settings: Settings, context: Context) -> dict[str, object]:
    from ppmproxy.cache.catalog_rows import Totals  # noqa: PLC0415

    totals = Totals(0, 0, 0, 0, 0, 0, 0, None)
    if folder.exists() and folder.database.exists():
        with _catalog(folder) as catalog:
            totals = catalog.totals()
    return {
        "path": str(folder.path),
        "enabled": any(upstream.cache for upstream in settings.upstreams),
        "max_size": settings.cache_max_size,
        "bytes": totals.size,
        "files": totals.files,
        "file_bytes": totals.file_bytes,
        "pages": totals.pages,
        "page_bytes": totals.page_bytes,
        "hits": totals.hits,
        "misses": totals.misses,
        "saved_bytes": totals.saved_bytes,
        "oldest_use": None if totals.oldest_use is None else moment(totals.oldest_use),
        "client_caches": _client_caches(context),
        "shared": cache_shared.described(settings, context.environ, totals),
    }


def _client_caches(context: Context) -> dict[str, int]:
    """The size of pip's and uv's own caches, in bytes."""
    home, environ = context.environment.cache_home(), context.environ
    places = {"pip": environ.get("PIP_CACHE_DIR") or home / "pip", "uv": environ.get("UV_CACHE_DIR") or home / "uv"}
    return {name: _size_of(Path(place)) for name, place in places.items()}


def _size_of(folder: Path) -> int:
    """The bytes of all files below a folder, each counted once however many names it has."""
    seen: dict[tuple[int, int], int] = {}
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                found = (Path(where) / name).lstat()
            except OSError:
                continue
            seen[found.st_dev, found.st_ino] = found.st_size
    return sum(seen.values())


# --- clear and verify ---


def _clear(folder: CacheFolder, projects: list[str], context: Context) -> int:
    from ppmproxy.cache.blobs import Blobs  # noqa: PLC0415
    from ppmproxy.cache.folder import CacheUnusableError  # noqa: PLC0415
    from ppmproxy.index.project_names import normalized  # noqa: PLC0415

    if not folder.exists():
        context.print("the cache is empty")
        return EXIT_OK
    blobs = Blobs(folder)
    if projects:
        with _catalog(folder) as catalog:
            digests = [digest for project in projects for digest in catalog.digests_of(normalized(project))]
            for project in projects:
                catalog.clear_project(normalized(project))
            catalog.forget_blobs(digests)
        _removed(digests, blobs.remove)
        context.print(f"{len(digests)} files of {', '.join(projects)} removed")
        return EXIT_OK
    found = [digest for digest, _ in blobs.digests()]
    try:
        with _catalog(folder) as catalog:
            catalog.clear()
    except CacheUnusableError:
        folder.prepare()
        _remove_database(folder)
    _removed(found, blobs.remove)
    context.print(f"{len(found)} files removed; the cache is empty")
    return EXIT_OK


def _removed(digests: list[str], remove: Callable[[str], None]) -> None:
    for digest in digests:
        remove(digest)


def _remove_database(folder: CacheFolder) -> None:
    for path in folder.path.glob(f"{folder.database.name}*"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _verify(folder: CacheFolder, context: Context) -> int:
    from ppmproxy.cache.blobs import Blobs  # noqa: PLC0415

    if not folder.exists():
        context.print("the cache is empty")
        return EXIT_OK
    blobs, wrong, right = Blobs(folder), [], {}
    for digest, size in blobs.digests():
        if blobs.verify(digest):
            right[digest] = size
        else:
            wrong.append(digest)
            context.print_err(f"ppmproxy: {digest} was damaged and has been removed")
    with _catalog(folder) as catalog:
        catalog.set_blobs(right)
    context.print(f"{len(right)} files are intact, {len(wrong)} were damaged and have been removed")
    return EXIT_CHECK_FAILED if wrong else EXIT_OK
