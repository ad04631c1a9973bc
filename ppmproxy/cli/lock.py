"""`ppmproxy lock`: a project's files name the Package Manager, for everybody, or the proxy, for this machine.

Which files those are is in `clients.project_files`, and what is rewritten in `clients.file_rewriting`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ppmproxy.access.peer_credentials import own_uid
from ppmproxy.cli.context import Context, current_folder, load_config
from ppmproxy.clients.editing.apply import BrokenText
from ppmproxy.clients.editing.diff import shown_change
from ppmproxy.clients.file_rewriting import (
    FileRewriting,
    RewrittenFile,
    canonical_files,
    local_files,
    proxy_references,
    with_hash_of,
)
from ppmproxy.clients.lock_hashes import PROJECT_FILES
from ppmproxy.clients.project_files import ProjectFiles, files_named, project_files, project_owners
from ppmproxy.config.model import Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError
from ppmproxy.files import FileSnapshot, read

_REWRITINGS: Mapping[str, Callable[[Settings], FileRewriting]] = {"canonical": canonical_files, "local": local_files}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which files."""
    parser.add_argument(
        "action",
        choices=(*_REWRITINGS, "check"),
        help="canonical: rewrite URLs to the Package Manager's; local: rewrite them to the proxy's; "
        "check: print where a file names the proxy, and exit with 1 if one does",
    )
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="lock, project or requirements file, or a folder of them (default: those of the project)",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the change as a diff and write nothing")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Rewrite or check the files; `UsageError` for one that cannot be read or written, `ConfigError`."""
    settings = load_config(arguments, context).settings
    owners = project_owners(context.environ, own_uid())
    found = files_named(arguments.files, owners) if arguments.files else project_files_shown(current_folder(), owners)
    files = _read(found)
    for skipped in found.skipped:
        context.print_err(f"ppmproxy: {skipped}")
    if arguments.action == "check":
        return _check(files, settings, context) if found.roots else EXIT_CHECK_FAILED
    if not files and not found.skipped:
        context.print_err("this project has no lock file")
        return EXIT_OK
    rewriting = _REWRITINGS[arguments.action](settings)
    changes = [_LockChange(file, _rewritten(file, rewriting)) for file in files]
    for change in _with_project_hashes(changes, settings):
        (_show if arguments.dry_run else _write)(change, context)
    return EXIT_OK


def project_files_shown(folder: Path, owners: Collection[int]) -> ProjectFiles:
    """The files of the project around a folder, by paths relative to that folder."""
    found = project_files(folder, owners)
    skipped = tuple(
        one if one.path == folder else replace(one, path=_relative(one.path, folder)) for one in found.skipped
    )
    return ProjectFiles(tuple(_relative(path, folder) for path in found.paths), skipped, found.roots)


def _relative(path: Path, folder: Path) -> Path:
    return Path(os.path.relpath(path, folder))


@dataclass(frozen=True, slots=True)
class _LockChange:
    file: FileSnapshot
    rewritten: RewrittenFile


def _read(found: ProjectFiles) -> list[FileSnapshot]:
    """All files, before anything is written; `UsageError`."""
    files = [read(path, UsageError, found.roots) for path in found.paths]
    for file in files:
        if file.data is None:
            raise UsageError(f"the file {file.path} does not exist", "name a lock file, or a folder with lock files")
        if b"\0" in file.data:
            raise UsageError(f"{file.path} is not a text file", "name a lock file in UTF-8")
    return files


def _check(files: Sequence[FileSnapshot], settings: Settings, context: Context) -> int:
    found = [(file.path, *place) for file in files for place in proxy_references(file.path, file.data or b"", settings)]
    for path, line, url in found:
        context.print(f"{path}:{line}: names the proxy: {url}")
    named = dict.fromkeys(str(path) for path, _, _ in found)
    which = "none names" if not named else "1 names" if len(named) == 1 else f"{len(named)} name"
    looked_at = f"looked at {_count(len(files), 'file')}"
    context.print(f"{looked_at}, of which {which} the proxy" if files else f"{looked_at}: none here names an index")
    if not named:
        return EXIT_OK
    context.print_err(f"only this machine can install from there; run: ppmproxy lock canonical {' '.join(named)}")
    return EXIT_CHECK_FAILED


def _rewritten(file: FileSnapshot, rewriting: FileRewriting) -> RewrittenFile:
    try:
        return rewriting.of(file.path, file.data or b"")
    except BrokenText as error:
        where = f"{file.path}, line {error.line}" if error.line else str(file.path)
        hint = "correct it, or try again when the program that writes it has finished; nothing was written"
        raise UsageError(f"{where}: {error}", hint) from error


def _with_project_hashes(changes: Sequence[_LockChange], settings: Settings) -> Iterator[_LockChange]:
    """The changes, with the hashes in lock files following the project files beside them."""
    rewritten = {change.file.target: change.rewritten.data for change in changes}
    for change in changes:
        path, data = change.file.path, change.rewritten.data
        if path.name in PROJECT_FILES:
            project = change.file.target.with_name(PROJECT_FILES[path.name])
            project_data = rewritten.get(project) or read(project, UsageError).data or b""
            data = with_hash_of(project_data, path, data, settings)
        yield replace(change, rewritten=replace(change.rewritten, data=data))


def _show(change: _LockChange, context: Context) -> None:
    path = change.file.path
    context.print(shown_change(path, change.file.data, change.rewritten.data) or f"{path}: nothing would change")


def _write(change: _LockChange, context: Context) -> None:
    if change.rewritten.data != change.file.data:
        change.file.replace(change.rewritten.data)
    context.print(f"{change.file.path}: {_count(change.rewritten.urls, 'URL')} rewritten")


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
