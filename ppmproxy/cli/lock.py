"""`ppmproxy lock`: lock files that name the Package Manager, for everybody, or the proxy, for this machine.

To change how lock files are found, checked before they are written, and reported, open this file; which URLs change is
in `lock_files`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ppmproxy.cli.context import Context, load_config
from ppmproxy.cli.lock_project import leads_out, left_alone
from ppmproxy.clients.editing.apply import BrokenText, Language
from ppmproxy.clients.editing.diff import shown_change
from ppmproxy.clients.editing.json import JSON
from ppmproxy.clients.editing.toml import TOML
from ppmproxy.clients.lock_urls import KNOWN_NAMES, Rewriting, canonical_rewriting, local_rewriting, proxy_urls_in
from ppmproxy.config.model import Settings
from ppmproxy.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError
from ppmproxy.files import FileSnapshot, read

_REWRITINGS: dict[str, Callable[[Settings], Rewriting]] = {"canonical": canonical_rewriting, "local": local_rewriting}
_ERRORS = "surrogateescape"  # whatever the encoding, every byte comes back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which files."""
    parser.add_argument(
        "action",
        choices=(*_REWRITINGS, "check"),
        help="canonical: name the Package Manager; local: name the proxy; "
        "check: say where a file names the proxy, and end with 1 if one does",
    )
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="lock files; a folder stands for all that are in it"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would change, as a diff, and change nothing")


def run(arguments: argparse.Namespace, context: Context) -> int:
    """Rewrite or check the files; `UsageError` for one that cannot be, `ConfigError`."""
    settings = load_config(arguments, context).settings
    files, outside = _read(arguments.files)
    for file in outside:
        context.print_err(f"ppmproxy: {left_alone(file)}")
    if not files and not outside:
        context.print_err("there is no lock file")
        return EXIT_OK
    if arguments.action == "check":
        return _check(files, settings, context)
    changes = [_change(file, _REWRITINGS[arguments.action](settings)) for file in files]
    for change in changes:
        (_show if arguments.dry_run else _write)(change, context)
    return EXIT_OK


def lock_files_in(folder: Path) -> list[Path]:
    """The lock files of a project, by their names; `UsageError`."""
    try:
        return sorted(path for path in folder.iterdir() if KNOWN_NAMES.fullmatch(path.name) and path.is_file())
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise UsageError(f"{folder} cannot be read: {reason}", "check its permissions") from error


@dataclass(frozen=True, slots=True)
class _Change:
    file: FileSnapshot
    data: bytes
    urls: int  # how many were rewritten


def _read(paths: Sequence[Path]) -> tuple[list[FileSnapshot], list[FileSnapshot]]:
    """All of them, each once, before anything is written, and the links that lead out of a project; `UsageError`."""
    named = [path for name in paths for path in (lock_files_in(name) if name.is_dir() else [name])]
    files = [read(path, UsageError) for path in {os.path.realpath(path): path for path in named}.values()]
    outside = [file for file in files if leads_out(file)]
    files = [file for file in files if file not in outside]
    for file in files:
        if file.data is None:
            raise UsageError(f"there is no file {file.path}", "name a lock file, or a folder for all that are in it")
        if b"\0" in file.data:
            raise UsageError(f"{file.path} is not a text file", "lock files are UTF-8 text")
    return files, outside


def _text(file: FileSnapshot) -> str:
    return (file.data or b"").decode("utf-8", _ERRORS)


def _check(files: Sequence[FileSnapshot], settings: Settings, context: Context) -> int:
    found = [(file.path, *place) for file in files for place in proxy_urls_in(_text(file), settings)]
    for path, line, url in found:
        context.print(f"{path}:{line}: names the proxy: {url}")
    if not found:
        return EXIT_OK
    names = " ".join(dict.fromkeys(str(path) for path, _, _ in found))
    context.print_err(f"only this machine can install from there; run: ppmproxy lock canonical {names}")
    return EXIT_CHECK_FAILED


def _change(file: FileSnapshot, rewriting: Rewriting) -> _Change:
    text = _text(file)
    urls = rewriting.count(text)
    if urls:
        _check_whole(file, text)
    return _Change(file, rewriting.of(text).encode("utf-8", _ERRORS), urls)


def _check_whole(file: FileSnapshot, text: str) -> None:
    """Not half of a file that its own tool is just writing: what that tool still has to write would be lost."""
    language = _language_of(file.path.name)
    try:
        if language is not None:
            language.tree(text.removeprefix("\ufeff"))
    except BrokenText as error:
        where = f"{file.path}, line {error.line}" if error.line else str(file.path)
        hint = "if something is writing it, try again when that is done; nothing was written"
        raise UsageError(f"{where}: not {language.name if language else ''}: {error}", hint) from error


def _language_of(name: str) -> Language | None:
    if not KNOWN_NAMES.fullmatch(name) or name.endswith(".txt"):
        return None
    return JSON if name == "Pipfile.lock" else TOML


def _show(change: _Change, context: Context) -> None:
    path = change.file.path
    context.print(shown_change(path, change.file.data, change.data) or f"{path}: nothing would change")


def _write(change: _Change, context: Context) -> None:
    if change.data != change.file.data:
        change.file.replace(change.data)
    context.print(f"{change.file.path}: {change.urls or 'no'} URL{'' if change.urls == 1 else 's'} rewritten")
